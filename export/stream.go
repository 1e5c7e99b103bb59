package export

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"carillon/series"
	"carillon/store/page"
)

const (
	streamMagic = "carbuck\x01" // the last byte is the version
	// maxFrameBytes bounds what is read on the word of a length: a chunk has at most
	// MaxChunk buckets.
	maxFrameBytes = (MaxChunk/page.MaxBuckets+1)*(page.MaxStripBytes+64) + series.MaxKeyBytes + 64
	maxErrorBytes = 4 << 10

	// MaxChunk is how many buckets a chunk of a stream may have.
	MaxChunk = 2 * page.MaxBuckets
)

// Frames of a stream begin with a byte: what they are.
const (
	frameChunk = iota + 1
	frameEnd
	frameError
)

// ErrCorrupt is wrapped by what is wrong with a stream.
var ErrCorrupt = errors.New("stream of buckets is corrupt")

// Writer writes a stream. What it writes is complete only with End or Fail behind it.
type Writer struct {
	out     io.Writer
	encoder page.Encoder
	builder page.Builder
	frame   []byte
	chunks  uint64
}

// NewWriter begins a stream of what so many series have, at most.
func NewWriter(out io.Writer, series uint64) (*Writer, error) {
	w := &Writer{out: out}
	_, err := out.Write(binary.AppendUvarint([]byte(streamMagic), series))
	return w, err
}

// Write writes a chunk of 1 to MaxChunk buckets.
func (w *Writer) Write(c *Chunk) error {
	w.frame = append(w.frame[:0], byte(c.Kind))
	w.frame = binary.AppendUvarint(w.frame, c.Done)
	w.frame = binary.AppendUvarint(w.frame, uint64(len(c.Key)))
	w.frame = append(w.frame, c.Key...)
	for rest := c.Buckets; len(rest) > 0; {
		n := min(len(rest), page.MaxBuckets)
		w.builder.AddBuckets(&w.encoder, 0, rest[:n])
		rest = rest[n:]
	}
	w.frame = append(w.frame, w.builder.Finish()...)
	w.chunks++
	return w.write(frameChunk, w.frame)
}

// End says that this was all.
func (w *Writer) End() error { return w.write(frameEnd, binary.AppendUvarint(nil, w.chunks)) }

// Fail says why there is no more.
func (w *Writer) Fail(why error) error {
	text := why.Error()
	return w.write(frameError, []byte(text[:min(len(text), maxErrorBytes)]))
}

func (w *Writer) write(kind byte, frame []byte) error {
	if _, err := w.out.Write(binary.AppendUvarint([]byte{kind}, uint64(len(frame)))); err != nil {
		return err
	}
	_, err := w.out.Write(frame)
	return err
}

// Reader reads a stream.
type Reader struct {
	Series uint64 // that the stream has, at most

	in      *bufio.Reader
	decoder page.Decoder
	frame   []byte
	chunk   Chunk
	chunks  uint64
}

// NewReader begins to read a stream.
func NewReader(in io.Reader) (*Reader, error) {
	r := &Reader{in: bufio.NewReaderSize(in, 64<<10)}
	magic := make([]byte, len(streamMagic))
	if _, err := io.ReadFull(r.in, magic); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, cutShort(err))
	}
	if string(magic) != streamMagic {
		return nil, fmt.Errorf("%w: it begins with %x, not with %x", ErrCorrupt, magic, streamMagic)
	}
	var err error
	if r.Series, err = binary.ReadUvarint(r.in); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, cutShort(err))
	}
	return r, nil
}

// cutShort makes an end where none may be an error.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Next is the next chunk, valid until the one after; io.EOF behind the last one. Other
// errors are those of the writer, or wrap ErrCorrupt.
func (r *Reader) Next() (*Chunk, error) {
	kind, err := r.in.ReadByte()
	var size uint64
	if err == nil {
		size, err = binary.ReadUvarint(r.in)
	}
	if err == nil && size > uint64(maxFrameBytes) {
		err = fmt.Errorf("a frame of %d bytes", size)
	}
	if err == nil {
		if uint64(cap(r.frame)) < size {
			r.frame = make([]byte, size)
		}
		r.frame = r.frame[:size]
		_, err = io.ReadFull(r.in, r.frame)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: behind %d chunks: %w", ErrCorrupt, r.chunks, cutShort(err))
	}
	switch kind {
	case frameChunk:
		if err := r.decode(); err != nil {
			return nil, fmt.Errorf("%w: chunk %d: %w", ErrCorrupt, r.chunks, err)
		}
		r.chunks++
		return &r.chunk, nil
	case frameError:
		return nil, errors.New(string(r.frame))
	case frameEnd:
		if n, size := binary.Uvarint(r.frame); size == len(r.frame) && n == r.chunks {
			return nil, io.EOF
		}
	}
	return nil, fmt.Errorf("%w: behind %d chunks stands a frame of kind %d", ErrCorrupt, r.chunks, kind)
}

var errShort = errors.New("it ends early")

// decode reads a chunk out of the frame.
func (r *Reader) decode() error {
	if len(r.frame) == 0 {
		return errShort
	}
	c, rest := &r.chunk, r.frame[1:]
	if c.Kind = series.Kind(r.frame[0]); c.Kind > series.Event {
		return fmt.Errorf("kind %d does not exist", c.Kind)
	}
	var n int
	if c.Done, n = binary.Uvarint(rest); n <= 0 {
		return errShort
	}
	rest = rest[n:]
	length, n := binary.Uvarint(rest)
	if n <= 0 || length > uint64(len(rest)-n) {
		return errShort
	}
	rest = rest[n:]
	if key := rest[:length]; string(key) != string(c.Key) {
		c.Key = series.Key(key)
		if _, err := c.Key.Labels(); err != nil {
			return err
		}
	}
	return r.buckets(rest[length:])
}

func (r *Reader) buckets(data []byte) error {
	c := &r.chunk
	c.Buckets = c.Buckets[:0]
	p, err := page.Open(data)
	for err == nil {
		var strip page.Strip
		var ok bool
		if strip, ok, err = p.Next(); err != nil || !ok {
			return err
		}
		if c.Buckets, err = r.decoder.Buckets(strip, c.Buckets); err == nil && len(c.Buckets) > MaxChunk {
			err = fmt.Errorf("more than %d buckets", MaxChunk)
		}
	}
	return err
}
