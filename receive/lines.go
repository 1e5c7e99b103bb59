package receive

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strconv"
	"time"

	"carillon/bucket"
	"carillon/journal"
	"carillon/pause"
	"carillon/rejects"
	"carillon/retention"
	"carillon/series"
)

const (
	minBusyWait = 10 * time.Millisecond // before a full journal is tried again
	maxBusyWait = time.Second

	maxRemarks     = 32  // metadata kept of one connection, in keys
	maxRemarkBytes = 128 // of a key, and of its text
)

// session is what is known about a sender: a connection, or one datagram.
type session struct {
	address  netip.AddrPort
	hostname string            // as the sender says; it is free to lie
	remarks  map[string]string // what else it says; nil before the first
}

// from names the sender in samples of refused lines.
func (s *session) from() string {
	if s.hostname == "" {
		return s.address.String()
	}
	return s.address.String() + " (" + s.hostname + ")"
}

// remark keeps metadata of the connection.
func (s *session) remark(key, text []byte) {
	clean := func(b []byte) string {
		quoted := strconv.QuoteToGraphic(string(b[:min(len(b), maxRemarkBytes)]))
		return quoted[1 : len(quoted)-1]
	}
	if string(key) == "hostname" {
		s.hostname = clean(text)
		return
	}
	if s.remarks == nil {
		s.remarks = make(map[string]string)
	}
	name := clean(key)
	if _, known := s.remarks[name]; known || len(s.remarks) < maxRemarks {
		s.remarks[name] = clean(text)
	}
}

// syntax is how the lines of one protocol are read.
type syntax interface {
	dialect() dialect
	// split reads a line that is written the usual way, but for what its name means.
	// False says nothing: parse knows.
	split(l *lines, line []byte, s *split) bool
	// parse deals with any line, whole. Where it is the i-th of the batch and its name
	// stands for one series, that is learnt; i is notInBatch for other lines.
	parse(l *lines, line []byte, i int)
	// kind is that of the series of a line that was split, as far as known.
	kind(l *lines, s *split) series.Kind
}

// lines gathers lines of one protocol into a request, and journals it. One
// goroutine owns it.
//
// Lines written the usual way wait in a batch, split but for what their names mean,
// until the batch is full or something else comes: then all names are looked up at
// once. What the cache does not know, and every unusual line, is parsed whole. So
// lines are dealt with in their order; those in the batch must stay where they are
// until settle.
type lines struct {
	writer   *Writer
	protocol Protocol
	syntax   syntax
	from     *session // who sends; the same up to settle
	tally    tally

	// nil while there is nothing to journal
	request *Request
	batch   *batch
}

// batch is the lines that wait.
type batch struct {
	lookups lookups
	lines   [batchSize]split
	n       int
	buckets []bucket.Bucket // of aggregates
}

const notInBatch = -1

// split is a line that was split.
type split struct {
	line   []byte
	name   []byte // as sent
	form   form
	bucket int32 // of an aggregate: index to buckets
	value  float64
	time   int64 // milliseconds since the epoch, valid
}

type form uint8

const (
	timed     form = iota
	untimed        // its time is that of arrival
	aggregate      // a bucket, and neither value nor time
)

func newLines(w *Writer, p Protocol, from *session) *lines {
	l := &lines{writer: w, protocol: p, from: from}
	switch p {
	case ProtocolGraphite:
		l.syntax = new(graphiteLines)
	case ProtocolIstatd:
		l.syntax = new(istatdLines)
	default:
		panic("receive: no lines in protocol " + string(p))
	}
	return l
}

// addAll adds the lines of a datagram. Datagrams come whole or not at all, so
// the last line needs no LF.
func (l *lines) addAll(datagram []byte) {
	for len(datagram) > 0 {
		var line []byte
		line, datagram, _ = bytes.Cut(datagram, []byte{'\n'})
		l.add(line)
	}
	l.settle()
}

// add adds one line, without its LF, which must stay where it is until settle. A
// refused one is tallied and costs no other.
func (l *lines) add(line []byte) {
	if l.request == nil {
		l.begin()
	}
	b := l.batch
	s := &b.lines[b.n]
	if !l.syntax.split(l, line, s) {
		l.settle()
		l.syntax.parse(l, line, notInBatch)
		return
	}
	s.line = line
	b.lookups.spell(b.n, l.syntax.dialect(), s.name)
	if b.n++; b.n == batchSize {
		l.settle()
	}
}

func (l *lines) begin() {
	l.request = l.writer.Begin(l.protocol)
	l.batch = l.writer.batches.Get().(*batch)
	l.batch.lookups.begin(l.writer.spellings)
}

// settle deals with the lines in the batch.
func (l *lines) settle() {
	b := l.batch
	if b == nil || b.n == 0 {
		return
	}
	n := b.n
	b.lookups.find(n)
	for i := range n {
		if handle, known := b.lookups.known(i); known {
			l.addKnown(handle, &b.lines[i])
		} else {
			l.syntax.parse(l, b.lines[i].line, i)
		}
	}
	b.lookups.end(n)
	b.lookups.begin(l.writer.spellings)
	b.n, b.buckets = 0, b.buckets[:0]
}

func (l *lines) addKnown(handle Handle, s *split) {
	switch s.form {
	case timed:
		l.request.Point(handle, s.time, s.value)
	case untimed:
		l.request.Arrived(handle, func() series.Kind { return l.syntax.kind(l, s) }, s.value)
	case aggregate:
		l.request.Aggregate(handle, &l.batch.buckets[s.bucket])
	}
}

// learn notes what the name of the i-th line in the batch stands for, if that is
// what was parsed.
func (l *lines) learn(i int, parsed []byte, handle Handle) {
	if i != notInBatch && bytes.Equal(parsed, l.batch.lines[i].name) {
		l.batch.lookups.learn(i, handle)
	}
}

const badTimeDetail = "time is before 1970 or after 2262"

func (l *lines) refuse(reason string, line []byte, detail string) {
	if sample, isNew := l.tally.add(reason, 1); isNew {
		*sample = rejects.Sample{From: l.from.from(), Input: shown(line), Detail: detail}
	}
}

// limitReason is why new series are refused that a retention rule has no place for.
const limitReason = "series_limit"

// refuseSeries refuses a line for its name, unless it is the limit that did.
func (l *lines) refuseSeries(reason string, line []byte, err error) {
	if errors.Is(err, retention.ErrSeriesLimit) {
		reason = limitReason
	}
	l.refuse(reason, line, err.Error())
}

// points is how many points wait to be journalled.
func (l *lines) points() int {
	if l.request == nil {
		return 0
	}
	return l.request.points
}

// commit journals what was added, and waits while the journal's queue is full.
// After an error what was added is gone.
func (l *lines) commit(ctx context.Context) error {
	l.settle()
	l.tally.flush(l.writer.rejects, l.protocol)
	request := l.request
	if request == nil {
		return nil
	}
	l.writer.batches.Put(l.batch)
	l.request, l.batch = nil, nil
	for wait := minBusyWait; ; wait = min(2*wait, maxBusyWait) {
		// No hash: a sender that repeats itself cuts its lines elsewhere.
		err := request.Commit(ctx, journal.Hash{})
		if err == nil {
			request.Release()
			return nil
		}
		if !errors.Is(err, journal.ErrBusy) {
			return err
		}
		if pause.For(ctx, wait) != nil {
			return err
		}
	}
}
