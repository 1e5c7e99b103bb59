package receive

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/snappy"
	"github.com/zeebo/xxh3"
	"golang.org/x/sync/semaphore"

	"carillon/journal"
	"carillon/rejects"
)

const (
	maxCompressedBytes = 32 << 20 // of one body as it comes
	maxBodyBytes       = 64 << 20 // of one body decompressed
	// maxInFlightBytes bounds all bodies that are being worked on together,
	// compressed and decompressed.
	maxInFlightBytes = 256 << 20
	// maxSnappyRatio is more than snappy can shrink anything by: its densest
	// element writes 64 bytes and takes 3. A body that claims more is corrupt,
	// which is found before memory is taken for it.
	maxSnappyRatio = 22

	maxPooledBytes = 4 << 20 // a buffer larger than this is not used again
)

// RemoteWrite receives Prometheus remote write 1.0, as an http.Handler for POST
// /api/v1/write and as WriteRemote for the agent in the same process.
type RemoteWrite struct {
	writer   *Writer
	inFlight *semaphore.Weighted
	scratch  sync.Pool // of *scratch
	bodies   sync.Pool // of *[]byte
}

// scratch is what one request needs until it is answered.
type scratch struct {
	compressed []byte
	intake     intake
}

// NewRemoteWrite makes the receiver.
func NewRemoteWrite(w *Writer) *RemoteWrite {
	return &RemoteWrite{
		writer:   w,
		inFlight: semaphore.NewWeighted(maxInFlightBytes),
		scratch:  sync.Pool{New: func() any { return new(scratch) }},
		bodies:   sync.Pool{New: func() any { return new([]byte) }},
	}
}

// Written says what became of a body.
type Written struct {
	Points  int // acknowledged by the journal
	Refused int // samples, histograms and metadata not taken, see RefusedError
}

// RefusedError says that a body, or some of it, was not taken because it is
// wrong. Sending it again does not help.
type RefusedError struct {
	Status int // the HTTP status that says the same
	Text   string
}

func (e *RefusedError) Error() string { return e.Text }

// errTooMuchInFlight asks the sender to come again.
var errTooMuchInFlight = fmt.Errorf("more than %d MiB of requests at work: %w", maxInFlightBytes>>20, journal.ErrBusy)

// WriteRemote takes a body as it would be posted: a WriteRequest compressed by
// snappy's block format. When it returns, everything but what Written.Refused
// counts is in the journal, or the error says why not: a *RefusedError is final
// (with Points > 0 the rest was taken), journal.ErrBusy, ErrUnavailable and the
// like may pass. The same body sent again counts once.
func (rw *RemoteWrite) WriteRemote(ctx context.Context, compressed []byte) (Written, error) {
	s := rw.scratch.Get().(*scratch)
	defer rw.release(s)
	return rw.write(ctx, s, delivery{protocol: ProtocolAgent}, compressed)
}

// delivery is what is known about a body beside its bytes.
type delivery struct {
	protocol Protocol
	from     string // the sender's address, for samples of refused input
	key      string // the sender's idempotency key, if any
}

// hash tells a delivery from others: senders try again with the very same bytes.
func (d delivery) hash(compressed []byte) journal.Hash {
	if d.key != "" {
		return xxh3.HashString128("idempotency-key:" + d.key).Bytes()
	}
	return xxh3.Hash128(compressed).Bytes()
}

func (rw *RemoteWrite) release(s *scratch) {
	s.intake.request = nil
	if cap(s.compressed) <= maxPooledBytes {
		rw.scratch.Put(s)
	}
}

// write decompresses, scans and commits a body.
func (rw *RemoteWrite) write(ctx context.Context, s *scratch, from delivery, compressed []byte) (Written, error) {
	in := &s.intake
	in.begin(rw.writer.Begin(from.protocol), from.from)
	hash, err := rw.read(in, from, compressed)
	if err != nil {
		in.request.Release()
		return Written{}, rw.refuse(from, err)
	}
	if err := in.request.Commit(ctx, hash); err != nil {
		if errors.Is(err, journal.ErrTooLarge) {
			return Written{}, rw.refuse(from, tooLarge(err.Error()))
		}
		return Written{}, fmt.Errorf("journalling %d points: %w", in.request.points, err)
	}
	written := Written{Points: in.request.points, Refused: in.refused}
	in.request.Release()
	return written, in.conclude(rw.writer.rejects, from.protocol, written)
}

// read decompresses and scans a body. Its memory is the next one's when read returns,
// and not only when the journal has the points: so few bodies are about at a time that they
// stay in the core's caches.
func (rw *RemoteWrite) read(in *intake, from delivery, compressed []byte) (hash journal.Hash, err error) {
	size, err := checkSnappy(compressed)
	if err != nil {
		return hash, err
	}
	if !rw.inFlight.TryAcquire(int64(size)) {
		return hash, errTooMuchInFlight
	}
	defer rw.inFlight.Release(int64(size))
	buffer := rw.bodies.Get().(*[]byte)
	if cap(*buffer) < size {
		*buffer = make([]byte, size)
	}
	if cap(*buffer) <= maxPooledBytes {
		defer rw.bodies.Put(buffer)
	}
	body, err := snappy.Decode((*buffer)[:size], compressed)
	if err != nil {
		return hash, malformed("snappy: the block is corrupt or cut off")
	}
	return from.hash(compressed), in.read(body)
}

// checkSnappy trusts the length that the block claims only as far as its own
// length can bear it out.
func checkSnappy(compressed []byte) (size int, err error) {
	if len(compressed) > maxCompressedBytes {
		return 0, tooLarge(fmt.Sprintf("the body is larger than %d MiB", maxCompressedBytes>>20))
	}
	size, err = snappy.DecodedLen(compressed)
	switch {
	case err != nil:
		return 0, malformed("snappy: the block has no valid length")
	case size > maxBodyBytes:
		return 0, tooLarge(fmt.Sprintf("the decompressed body would be %d bytes, the limit is %d MiB", size, maxBodyBytes>>20))
	case size > maxSnappyRatio*len(compressed):
		return 0, malformed("snappy: the block is corrupt or cut off")
	}
	return size, nil
}

// refuse counts a body that was not taken at all.
func (rw *RemoteWrite) refuse(from delivery, err error) error {
	var refused *RefusedError
	if errors.As(err, &refused) {
		rw.writer.rejects.Add(string(from.protocol), reasonOf(refused.Status), 1,
			rejects.Sample{From: from.from, Input: "request", Detail: refused.Text})
	}
	return err
}
