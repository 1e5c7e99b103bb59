// Package recording keeps what senders sent to a server, with its timing: remote-write
// requests and the bytes of line connections. A Recorder stands between senders and
// server and writes a file, a Player reads one and sends the same at the same pace.
// `carillon bench record` and `carillon bench replay` call it.
package recording

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"time"
)

// Kind says what an event is.
type Kind uint8

const (
	Request Kind = 1 // a remote-write request: header and body
	Open    Kind = 2 // a line connection was opened,
	Data    Kind = 3 // brought bytes,
	Close   Kind = 4 // and its sender was done
	end     Kind = 5 // of the recording
)

// Event is something that a sender did.
type Event struct {
	Kind       Kind
	At         time.Duration // since the recording began, whole microseconds
	Connection uint64        // Open, Data, Close: its number, from 1 on
	Header     []Field       // Request
	Body       []byte        // Request, Data
}

// Field is a line of a request's header.
type Field struct{ Name, Value string }

// The file is described in docs/format/recording.md.
const (
	magic   = "crr"
	version = 1

	frameHead = 8 // length and checksum

	// MaxBody is the most bytes of a request or a piece of a connection.
	MaxBody = 32 << 20

	maxFields     = 16
	maxFieldBytes = 1 << 10 // of a name or a value
	maxPayload    = MaxBody + 64 + maxFields*2*(maxFieldBytes+binary.MaxVarintLen16)
)

// ErrDamaged is wrapped by the error of what is no recording, or no longer one.
var ErrDamaged = errors.New("damaged recording")

// ErrCutOff is wrapped by the error of a recording that has no end: the recorder was
// killed. The events before are good.
var ErrCutOff = errors.New("the recording is cut off")

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// Writer writes a recording. One goroutine uses it.
type Writer struct {
	out     *bufio.Writer
	last    time.Duration
	events  uint64
	payload []byte
}

// NewWriter begins a recording.
func NewWriter(w io.Writer) (*Writer, error) {
	out := bufio.NewWriterSize(w, 1<<20)
	_, err := out.Write(append([]byte(magic), version))
	return &Writer{out: out}, err
}

// Write adds an event, which is not earlier than the one before.
func (w *Writer) Write(e *Event) error {
	payload, err := appendEvent(w.payload[:0], e, e.At-w.last)
	if err != nil {
		return err
	}
	w.payload, w.last = payload, e.At
	w.events++
	return w.frame(payload)
}

func (w *Writer) frame(payload []byte) error {
	var head [frameHead]byte
	binary.LittleEndian.PutUint32(head[:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(head[4:], checksum(payload))
	_, err1 := w.out.Write(head[:])
	_, err2 := w.out.Write(payload)
	return errors.Join(err1, err2)
}

// Close ends the recording. The file below is the caller's to close.
func (w *Writer) Close() error {
	return errors.Join(w.frame(binary.AppendUvarint([]byte{byte(end)}, w.events)), w.out.Flush())
}

// Flush hands what was written to the file below.
func (w *Writer) Flush() error { return w.out.Flush() }

func appendEvent(dst []byte, e *Event, since time.Duration) ([]byte, error) {
	switch {
	case since < 0:
		return nil, fmt.Errorf("an event %s before the last one", -since)
	case len(e.Body) > MaxBody:
		return nil, fmt.Errorf("%d bytes in an event: want at most %d", len(e.Body), MaxBody)
	case len(e.Header) > maxFields:
		return nil, fmt.Errorf("%d lines of header: want at most %d", len(e.Header), maxFields)
	}
	dst = append(dst, byte(e.Kind))
	dst = binary.AppendUvarint(dst, uint64(since/time.Microsecond))
	if e.Kind != Request {
		dst = binary.AppendUvarint(dst, e.Connection)
		return append(dst, e.Body...), nil
	}
	dst = binary.AppendUvarint(dst, uint64(len(e.Header)))
	for _, f := range e.Header {
		for _, text := range [...]string{f.Name, f.Value} {
			if len(text) > maxFieldBytes {
				return nil, fmt.Errorf("%d bytes in a line of header: want at most %d", len(text), maxFieldBytes)
			}
			dst = append(binary.AppendUvarint(dst, uint64(len(text))), text...)
		}
	}
	return append(dst, e.Body...), nil
}

// Reader reads a recording. One goroutine uses it.
type Reader struct {
	in     *bufio.Reader
	at     time.Duration
	events uint64
	open   map[uint64]bool
	done   bool
}

// NewReader begins to read.
func NewReader(r io.Reader) (*Reader, error) {
	in := bufio.NewReaderSize(r, 1<<20)
	var head [len(magic) + 1]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return nil, fmt.Errorf("read head: %w", errors.Join(ErrDamaged, err))
	}
	if string(head[:len(magic)]) != magic {
		return nil, fmt.Errorf("%q is not %q: %w", head[:len(magic)], magic, ErrDamaged)
	}
	if head[len(magic)] != version {
		return nil, fmt.Errorf("version %d, this program reads %d: %w", head[len(magic)], version, ErrDamaged)
	}
	return &Reader{in: in, open: make(map[uint64]bool)}, nil
}

// Next is the next event, or io.EOF behind the last one. The event is the caller's.
func (r *Reader) Next() (Event, error) {
	if r.done {
		return Event{}, io.EOF
	}
	payload, err := r.frame()
	if err != nil {
		return Event{}, fmt.Errorf("event %d: %w", r.events, err)
	}
	if Kind(payload[0]) == end {
		if count, rest, ok := uvarint(payload[1:]); !ok || len(rest) > 0 || count != r.events {
			return Event{}, fmt.Errorf("the end is not that of %d events: %w", r.events, ErrDamaged)
		}
		if _, err := r.in.ReadByte(); err != io.EOF {
			return Event{}, fmt.Errorf("bytes behind the end: %w", ErrDamaged)
		}
		r.done = true
		return Event{}, io.EOF
	}
	e, err := parseEvent(payload, r.at)
	if err == nil {
		err = r.follow(&e)
	}
	if err != nil {
		return Event{}, fmt.Errorf("event %d: %w", r.events, err)
	}
	r.at = e.At
	r.events++
	return e, nil
}

// frame is the next one's payload, which has at least one byte. It grows with what is there to be read, not with
// what a length promises.
func (r *Reader) frame() ([]byte, error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r.in, head[:]); err != nil {
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil, ErrCutOff
		}
		return nil, err
	}
	size := binary.LittleEndian.Uint32(head[:])
	if size == 0 || size > maxPayload {
		return nil, fmt.Errorf("%d bytes, want 1 to %d: %w", size, maxPayload, ErrDamaged)
	}
	payload, err := io.ReadAll(io.LimitReader(r.in, int64(size)))
	switch {
	case err != nil:
		return nil, err
	case len(payload) < int(size):
		return nil, ErrCutOff
	case checksum(payload) != binary.LittleEndian.Uint32(head[4:]):
		return nil, fmt.Errorf("checksum: %w", ErrDamaged)
	}
	return payload, nil
}

// follow keeps account of the connections: numbers count up, and what is not open brings
// nothing.
func (r *Reader) follow(e *Event) error {
	switch {
	case e.Kind == Request:
		return nil
	case e.Kind == Open && e.Connection != 0 && !r.open[e.Connection] && len(e.Body) == 0:
		if len(r.open) == maxConnections {
			return fmt.Errorf("more than %d connections at once: %w", maxConnections, ErrDamaged)
		}
		r.open[e.Connection] = true
		return nil
	case e.Kind == Data && r.open[e.Connection]:
		return nil
	case e.Kind == Close && r.open[e.Connection] && len(e.Body) == 0:
		delete(r.open, e.Connection)
		return nil
	}
	return fmt.Errorf("kind %d of connection %d: %w", e.Kind, e.Connection, ErrDamaged)
}

func parseEvent(b []byte, before time.Duration) (e Event, err error) {
	damaged := func(what string) (Event, error) { return Event{}, fmt.Errorf("%s: %w", what, ErrDamaged) }
	e.Kind = Kind(b[0])
	if e.Kind < Request || e.Kind > Close {
		return damaged(fmt.Sprintf("kind %d", e.Kind))
	}
	b = b[1:]
	since, b, ok := uvarint(b)
	if !ok || since > uint64(math.MaxInt64-before)/uint64(time.Microsecond) {
		return damaged("time")
	}
	e.At = before + time.Duration(since)*time.Microsecond
	if e.Kind != Request {
		if e.Connection, b, ok = uvarint(b); !ok {
			return damaged("connection")
		}
		e.Body = b
		return e, bodyFits(b)
	}
	count, b, ok := uvarint(b)
	if !ok || count > maxFields {
		return damaged("header")
	}
	for range count {
		var f Field
		if f.Name, b, ok = text(b); ok {
			f.Value, b, ok = text(b)
		}
		if !ok {
			return damaged("header")
		}
		e.Header = append(e.Header, f)
	}
	e.Body = b
	return e, bodyFits(b)
}

func bodyFits(b []byte) error {
	if len(b) > MaxBody {
		return fmt.Errorf("a body of %d bytes: %w", len(b), ErrDamaged)
	}
	return nil
}

// uvarint takes a number in its shortest form off b.
func uvarint(b []byte) (v uint64, rest []byte, ok bool) {
	v, n := binary.Uvarint(b)
	if n <= 0 || n > 1 && b[n-1] == 0 {
		return 0, nil, false
	}
	return v, b[n:], true
}

func text(b []byte) (string, []byte, bool) {
	n, b, ok := uvarint(b)
	if !ok || n > maxFieldBytes || n > uint64(len(b)) {
		return "", nil, false
	}
	return string(b[:n]), b[n:], true
}
