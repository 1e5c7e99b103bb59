package receive

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/klauspost/compress/snappy"
	"github.com/zeebo/xxh3"
	"golang.org/x/sync/semaphore"

	"carillon/journal"
	"carillon/receive/remotewrite"
	"carillon/rejects"
	"carillon/series"
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
}

// scratch is what one body needs while it is worked on.
type scratch struct {
	compressed, body []byte
	scanner          remotewrite.Scanner
}

// NewRemoteWrite makes the receiver.
func NewRemoteWrite(w *Writer) *RemoteWrite {
	return &RemoteWrite{
		writer:   w,
		inFlight: semaphore.NewWeighted(maxInFlightBytes),
		scratch:  sync.Pool{New: func() any { return new(scratch) }},
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

func (d delivery) hash(body []byte) journal.Hash {
	if d.key != "" {
		return xxh3.HashString128("idempotency-key:" + d.key).Bytes()
	}
	return xxh3.Hash128(body).Bytes()
}

func (rw *RemoteWrite) release(s *scratch) {
	if cap(s.compressed)+cap(s.body) <= maxPooledBytes {
		rw.scratch.Put(s)
	}
}

// write decompresses, scans and commits a body.
func (rw *RemoteWrite) write(ctx context.Context, s *scratch, from delivery, compressed []byte) (Written, error) {
	size, err := checkSnappy(compressed)
	if err != nil {
		return Written{}, rw.refuse(from, err)
	}
	if !rw.inFlight.TryAcquire(int64(size)) {
		return Written{}, errTooMuchInFlight
	}
	defer rw.inFlight.Release(int64(size))
	if cap(s.body) < size {
		s.body = make([]byte, size)
	}
	body, err := snappy.DecodeStrict(s.body[:size], compressed)
	if err != nil {
		return Written{}, rw.refuse(from, malformed("snappy: the block is corrupt or cut off"))
	}
	in := intake{request: rw.writer.Begin(from.protocol), from: from.from}
	if err := in.read(&s.scanner, body); err != nil {
		in.request.Release()
		return Written{}, rw.refuse(from, err)
	}
	if err := in.request.Commit(ctx, from.hash(body)); err != nil {
		if errors.Is(err, journal.ErrTooLarge) {
			return Written{}, rw.refuse(from, tooLarge(err.Error()))
		}
		return Written{}, fmt.Errorf("journalling %d points: %w", in.request.points, err)
	}
	written := Written{Points: in.request.points, Refused: in.refused}
	in.request.Release()
	return written, in.conclude(rw.writer.rejects, from.protocol, written)
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

// intake is the visitor of one body: it turns what the scanner finds into a
// Request, and what is wrong into a tally.
type intake struct {
	request *Request
	from    string

	handle  Handle         // of the series announced last
	labels  []series.Label // of it
	refused int
	tally   tally // of what is refused
	ignored tally // of what is left out without complaint
	err     error // ErrTooLarge: the whole body is void
}

// read scans a body. The error is a *RefusedError about the body as a whole.
func (in *intake) read(scanner *remotewrite.Scanner, body []byte) error {
	if err := scanner.Scan(body, in); err != nil {
		return malformed("protobuf: this is no WriteRequest of remote write 1.0: " + err.Error())
	}
	if in.err != nil {
		return tooLarge(in.err.Error())
	}
	return nil
}

// Series implements remotewrite.Visitor.
func (in *intake) Series(labels []series.Label, has remotewrite.Counts) bool {
	if in.err != nil {
		return false
	}
	if has.Exemplars > 0 {
		in.count(&in.ignored, "exemplar_ignored", has.Exemplars, labels, "exemplars are not kept")
	}
	handle, err := in.resolve(labels)
	if errors.Is(err, ErrTooLarge) {
		in.err = err
		return false
	}
	if err != nil {
		in.refuse(seriesReason(err), max(1, has.Samples+has.Histograms), labels, err.Error())
		return false
	}
	if has.Histograms > 0 {
		in.refuse("native_histogram", has.Histograms, labels, "native histograms are not supported")
	}
	in.handle, in.labels = handle, labels
	return true
}

var errNoName = errors.New("series has no metric name")

func (in *intake) resolve(labels []series.Label) (Handle, error) {
	if n := len(labels); n > 0 && n <= series.MaxLabels && !hasName(labels) {
		return 0, errNoName
	}
	return in.request.Series(labels)
}

func hasName(labels []series.Label) bool {
	for i := range labels {
		if labels[i].Name == series.MetricName && labels[i].Value != "" {
			return true
		}
	}
	return false
}

// Sample implements remotewrite.Visitor.
func (in *intake) Sample(milliseconds int64, value float64) {
	switch {
	case in.err != nil:
	case !validTime(milliseconds):
		in.refuse("bad_time", 1, in.labels, "time is before 1970 or after 2262")
	case in.request.full():
		in.err = ErrTooLarge
	default:
		in.request.Point(in.handle, milliseconds, value)
	}
}

// Metadata implements remotewrite.Visitor.
func (in *intake) Metadata(m series.Metadata) {
	if in.err != nil {
		return
	}
	switch err := in.request.Describe(m); {
	case errors.Is(err, ErrTooLarge):
		in.err = err
	case err != nil:
		in.refuse("bad_metadata", 1, []series.Label{{Name: "family", Value: m.Family}}, err.Error())
	}
}

func (in *intake) refuse(reason string, n int, labels []series.Label, detail string) {
	in.refused += n
	in.count(&in.tally, reason, n, labels, detail)
}

func (in *intake) count(t *tally, reason string, n int, labels []series.Label, detail string) {
	if sample, isNew := t.add(reason, n); isNew {
		*sample = rejects.Sample{From: in.from, Input: shownSeries(labels), Detail: detail}
	}
}

// conclude counts what was not taken, and makes it the answer.
func (in *intake) conclude(ledger *rejects.Ledger, protocol Protocol, written Written) error {
	in.ignored.flush(ledger, protocol)
	if written.Refused == 0 {
		return nil
	}
	text := fmt.Sprintf("%d refused, the other %d points are kept; refused: %s", written.Refused, written.Points, in.tally.String())
	in.tally.flush(ledger, protocol)
	return &RefusedError{http.StatusBadRequest, text}
}

// seriesReason is the short name of an error of package series.
func seriesReason(err error) string {
	for _, r := range [...]struct {
		err    error
		reason string
	}{
		{errNoName, "no_name"},
		{series.ErrNoLabels, "no_labels"},
		{series.ErrTooManyLabels, "too_many_labels"},
		{series.ErrDuplicateLabel, "duplicate_label"},
		{series.ErrNotUTF8, "not_utf8"},
		{series.ErrLabelTooLong, "label_too_long"},
		{series.ErrNoLabelName, "empty_label_name"},
		{series.ErrKeyTooLong, "labels_too_long"},
	} {
		if errors.Is(err, r.err) {
			return r.reason
		}
	}
	return "bad_series"
}
