// Package remotewrite reads dumps of remote-write bodies, as `carillon export` writes them. A
// file comes in, and samples and metadata go out, in the file's order. A File is a Stream of
// package importer, and `carillon import remote-write` opens it.
package remotewrite

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/s2"

	"carillon/importer"
	"carillon/receive/remotewrite"
	"carillon/series"
)

const (
	maxBodyBytes    = 32 << 20 // of a body in its block
	maxDecodedBytes = 32 << 20 // of a body
)

// File is a dump. It satisfies importer.Stream.
type File struct {
	path   string
	file   *os.File
	name   string
	size   int64
	ledger *importer.Ledger
}

// Open opens a dump.
func Open(path string, ledger *importer.Ledger) (f *File, err error) {
	f = &File{path: path, ledger: ledger}
	if f.file, err = os.Open(path); err != nil {
		return nil, err
	}
	if f.name, f.size, err = importer.NameOf("remote-write", f.file); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Close closes the file.
func (f *File) Close() error { return f.file.Close() }

// Name names the file by its contents.
func (f *File) Name() string { return f.name }

// Read reads the dump.
func (f *File) Read(ctx context.Context, to importer.Sink) error {
	r := &reader{path: f.path, to: to, ledger: f.ledger}
	progress := func(done int64) { to.Progress(done, f.size) }
	return r.read(ctx, io.NewSectionReader(f.file, 0, f.size), progress)
}

// reader reads a dump.
type reader struct {
	path   string
	to     importer.Sink
	ledger *importer.Ledger

	scanner  remotewrite.Scanner
	at       string // of the body at hand
	samples  []sample
	metadata []series.Metadata
}

type sample struct {
	key   series.Key
	time  int64
	value float64
}

func (r *reader) read(ctx context.Context, in io.Reader, progress func(int64)) error {
	file := bufio.NewReaderSize(in, 1<<20)
	var body, raw []byte
	for done := int64(0); ; progress(done) {
		if err := ctx.Err(); err != nil {
			return err
		}
		r.at = fmt.Sprintf("%s, byte %d", r.path, done)
		var length [4]byte
		if n, err := io.ReadFull(file, length[:]); err != nil {
			return r.ended(n, err)
		}
		size := binary.LittleEndian.Uint32(length[:])
		if size > maxBodyBytes {
			r.ledger.Refuse(importer.Unreadable, 1, r.at, fmt.Sprintf("a body of %d bytes: this is no dump, or it is damaged, and the rest cannot be read", size))
			return nil
		}
		if cap(body) < int(size) {
			body = make([]byte, size)
		}
		body = body[:size]
		if _, err := io.ReadFull(file, body); err != nil {
			return r.ended(len(length), err)
		}
		done += int64(len(length)) + int64(size)
		decoded, err := decode(raw, body)
		if err != nil {
			r.ledger.Refuse(importer.Unreadable, 1, r.at, err.Error())
			continue
		}
		raw = decoded
		if err := r.body(raw); err != nil {
			return err
		}
	}
}

// ended tells the end from a dump that is cut short.
func (r *reader) ended(n int, err error) error {
	switch {
	case errors.Is(err, io.EOF) && n == 0:
		return nil
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		r.ledger.Refuse(importer.Unreadable, 1, r.at, "the last body is cut short")
		return nil
	}
	return err
}

func decode(raw, body []byte) ([]byte, error) {
	size, err := s2.DecodedLen(body)
	if err != nil {
		return nil, err
	}
	if size > maxDecodedBytes {
		return nil, fmt.Errorf("a body of %d bytes, and at most %d are read", size, maxDecodedBytes)
	}
	return s2.Decode(raw[:cap(raw)], body)
}

// body hands out what a body has, or nothing if it is malformed.
func (r *reader) body(raw []byte) error {
	r.samples, r.metadata = r.samples[:0], r.metadata[:0]
	if err := r.scanner.Scan(raw, r); err != nil {
		r.ledger.Refuse(importer.Unreadable, 1, r.at, err.Error())
		return nil
	}
	for _, m := range r.metadata {
		if err := r.to.Describe(m); err != nil {
			return err
		}
	}
	for _, s := range r.samples {
		if err := r.to.Add(s.key, s.time, s.value); err != nil {
			return err
		}
	}
	return nil
}

// TimeSeries implements remotewrite.Visitor.
func (r *reader) TimeSeries(batch []remotewrite.Series) error {
	for i := range batch {
		labels, has, err := r.scanner.Labels(&batch[i])
		if err != nil {
			return err
		}
		r.ledger.Refuse(importer.Exemplar, uint64(has.Exemplars), r.at, "")
		r.ledger.Refuse(importer.Histogram, uint64(has.Histograms), r.at, "")
		key, err := series.NewKey(labels)
		if err != nil {
			r.ledger.Refuse(importer.BadSeries, 1, r.at, err.Error())
			continue
		}
		samples := r.scanner.Samples(&batch[i])
		for samples.Next() {
			r.samples = append(r.samples, sample{key, samples.Time, samples.Value})
		}
		if err := samples.Err(); err != nil {
			return err
		}
	}
	return nil
}

// Metadata implements remotewrite.Visitor.
func (r *reader) Metadata(m series.Metadata) error {
	m.Family, m.Help, m.Unit = strings.Clone(m.Family), strings.Clone(m.Help), strings.Clone(m.Unit)
	r.metadata = append(r.metadata, m)
	return nil
}
