package receive

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strconv"
	"time"

	"carillon/journal"
	"carillon/receive/graphite"
	"carillon/receive/istatd"
	"carillon/rejects"
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

// lines gathers lines of one protocol into a request, and journals it. One
// goroutine owns it.
type lines struct {
	writer   *Writer
	protocol Protocol

	request  *Request // nil while there is nothing to journal
	tally    tally
	graphite graphite.Line
	istatd   istatd.Line
	name     [1]series.Label // scratch for a series that is but a name
}

// addAll adds the lines of a datagram. Datagrams come whole or not at all, so
// the last line needs no LF.
func (l *lines) addAll(datagram []byte, from *session) {
	for len(datagram) > 0 {
		var line []byte
		line, datagram, _ = bytes.Cut(datagram, []byte{'\n'})
		l.add(line, from)
	}
}

// add adds one line, without its LF. A refused one is tallied and costs no other.
func (l *lines) add(line []byte, from *session) {
	if l.request == nil {
		l.request = l.writer.Begin(l.protocol)
	}
	if l.protocol == ProtocolGraphite {
		l.addGraphite(line, from)
	} else {
		l.addIstatd(line, from)
	}
}

func (l *lines) addGraphite(line []byte, from *session) {
	parsed := &l.graphite
	if reason := parsed.Parse(line); reason != "" {
		l.refuse(string(reason), line, from, "")
		return
	}
	if len(parsed.Labels) == 0 {
		return
	}
	if !validTime(parsed.Time) {
		l.refuse(string(graphite.BadTime), line, from, badTimeDetail)
		return
	}
	name := parsed.Labels[0].Value // Series sorts them
	handle, err := l.request.Series(parsed.Labels)
	switch {
	case err != nil:
		l.refuse(string(graphiteReason(err)), line, from, err.Error())
	case parsed.Now:
		l.request.Arrived(handle, l.writer.directory.KindOf(name), parsed.Value)
	default:
		l.request.Point(handle, parsed.Time, parsed.Value)
	}
}

// graphiteReason sorts the limits of package series into name and tags.
func graphiteReason(err error) graphite.Reason {
	var label *series.LabelError
	if errors.As(err, &label) && label.Name == series.MetricName {
		return graphite.BadName
	}
	return graphite.BadTag
}

const badTimeDetail = "time is before 1970 or after 2262"

func (l *lines) addIstatd(line []byte, from *session) {
	parsed := &l.istatd
	if reason := parsed.Parse(line); reason != "" {
		l.refuse(string(reason), line, from, "")
		return
	}
	switch parsed.Form {
	case istatd.Nothing:
		return
	case istatd.Remark:
		from.remark(parsed.Key, parsed.Text)
		return
	}
	if !validTime(parsed.Time) {
		l.refuse(string(istatd.BadTime), line, from, badTimeDetail)
		return
	}
	kind := series.Gauge
	if parsed.Event {
		kind = series.Event
	}
	for _, name := range parsed.Names {
		l.name[0] = series.Label{Name: series.MetricName, Value: name}
		handle, err := l.request.SeriesOf(kind, l.name[:])
		switch {
		case err != nil:
			l.refuse(string(istatd.BadName), line, from, err.Error())
		case parsed.Form == istatd.Aggregate:
			l.request.Aggregate(handle, parsed.Bucket)
		case parsed.Now:
			l.request.Arrived(handle, kind, parsed.Value)
		default:
			l.request.Point(handle, parsed.Time, parsed.Value)
		}
	}
}

func (l *lines) refuse(reason string, line []byte, from *session, detail string) {
	if sample, isNew := l.tally.add(reason, 1); isNew {
		*sample = rejects.Sample{From: from.from(), Input: shown(line), Detail: detail}
	}
}

// commit journals what was added, and waits while the journal's queue is full.
// After an error what was added is gone.
func (l *lines) commit(ctx context.Context) error {
	l.tally.flush(l.writer.rejects, l.protocol)
	request := l.request
	if request == nil {
		return nil
	}
	l.request = nil
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
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
}
