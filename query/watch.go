package query

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"carillon/series"
)

const (
	// keepAlive is how often a silent stream says that it lives.
	keepAlive = 15 * time.Second
	// sendWithin is how long a reader may take to accept what is sent.
	sendWithin = 30 * time.Second
	// liveRates bounds the series of a stream of which the previous bucket is
	// kept, which the rate of a counter starts from.
	liveRates = 100_000
)

// live answers /api/v1/live: the buckets of the series that match, as they are
// completed, as server-sent events. Series that appear later are in it too.
func (a *API) live(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		a.fail(w, r, &failure{badData, err})
		return
	}
	sets, err := a.selectors(r)
	if err == nil && len(sets) == 0 {
		err = errNoSelector
	}
	if err != nil {
		a.fail(w, r, err)
		return
	}
	if a.config.Live == nil {
		a.fail(w, r, &failure{unavailable, errors.New("live buckets are not served here")})
		return
	}
	s, err := a.config.Live.subscribe()
	if err != nil {
		a.fail(w, r, &failure{unavailable, err})
		return
	}
	defer a.config.Live.unsubscribe(s)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()

	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	matching := newQueue()
	go a.match(ctx, s, sets, matching)
	out := &stream{api: a, w: w, control: http.NewResponseController(w), previous: make(map[series.ID]row)}
	if err := out.run(ctx, s.closed, matching); err != nil {
		a.config.Logger.Debug("live stream ended", "remote", r.RemoteAddr, "error", err)
	}
}

// match moves the buckets that match from a subscription to a queue of their own,
// until ctx ends. It is a goroutine apart from the one that sends, so that a
// reader who is slow loses, and is told of, only buckets that it asked for.
func (a *API) match(ctx context.Context, s *subscription, sets [][]*labels.Matcher, matching *queue) {
	decided := decisions{catalogue: a.config.Catalogue, sets: sets}
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.queue.filled:
		}
		batches, lost := s.queue.take()
		if lost > 0 {
			matching.lose(lost)
		}
		for _, batch := range batches {
			var found []LiveBucket
			for _, b := range batch {
				if decided.match(b.ID) {
					found = append(found, b)
				}
			}
			if len(found) > 0 {
				matching.put(found)
			}
		}
	}
}

// decisions remembers of each series whether it matches: a series' labels never
// change. It takes two bits a series, so it is bounded by the series there are.
type decisions struct {
	catalogue Catalogue
	sets      [][]*labels.Matcher
	known     [][]uint64 // bitmaps a partition, by number
	yes       [][]uint64
}

func (d *decisions) match(id series.ID) bool {
	partition, word, bit := id.Partition(), int(id.Number()/64), uint64(1)<<(id.Number()%64)
	for len(d.known) <= partition {
		d.known, d.yes = append(d.known, nil), append(d.yes, nil)
	}
	known, yes := &d.known[partition], &d.yes[partition]
	if missing := word + 1 - len(*known); missing > 0 {
		*known = append(*known, make([]uint64, missing)...)
		*yes = append(*yes, make([]uint64, missing)...)
	}
	if (*known)[word]&bit != 0 {
		return (*yes)[word]&bit != 0
	}
	key, ok := d.catalogue.Key(id)
	if !ok {
		return false // not yet defined for readers; asked again next time
	}
	(*known)[word] |= bit
	if !matchesAny(key, d.sets) {
		return false
	}
	(*yes)[word] |= bit
	return true
}

func matchesAny(key series.Key, sets [][]*labels.Matcher) bool {
next:
	for _, set := range sets {
		for _, m := range set {
			if !m.Matches(key.Get(m.Name)) {
				continue next
			}
		}
		return true
	}
	return false
}

// stream writes one reader's events. One goroutine owns it.
type stream struct {
	api      *API
	w        http.ResponseWriter
	control  *http.ResponseController
	previous map[series.ID]row // of counters
}

// run sends until the reader leaves (ctx), does not keep up, or the hub closes.
func (s *stream) run(ctx context.Context, closed <-chan struct{}, matching *queue) error {
	ticker := time.NewTicker(keepAlive)
	defer ticker.Stop()
	if err := s.send([]byte(": live buckets\n\n")); err != nil {
		return err
	}
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-closed:
			return errLiveClosed
		case <-ticker.C:
			err = s.send([]byte(": still here\n\n"))
		case <-matching.filled:
			err = s.deliver(matching.take())
		}
		if err != nil {
			return err
		}
	}
}

func (s *stream) deliver(batches [][]LiveBucket, lost uint64) error {
	if lost > 0 {
		if err := s.send(fmt.Appendf(nil, "event: lost\ndata: {\"buckets\":%s}\n\n", strconv.FormatUint(lost, 10))); err != nil {
			return err
		}
	}
	resolution := s.api.config.Buckets.Tiers()[0].Resolution.Milliseconds()
	e := &encoder{}
	for _, batch := range batches {
		for i := range batch {
			if err := s.encode(e, &batch[i], resolution); err != nil {
				return err
			}
			if len(e.buf) < flushBytes {
				continue
			}
			if err := s.send(e.buf); err != nil {
				return err
			}
			e.buf = e.buf[:0]
		}
	}
	return s.send(e.buf)
}

// encode appends the event of one bucket. Buckets with only a staleness marker
// have none.
func (s *stream) encode(e *encoder, b *LiveBucket, resolution int64) error {
	if b.Bucket.Count == 0 {
		return nil
	}
	key, ok := s.api.config.Catalogue.Key(b.ID)
	if !ok {
		return nil
	}
	var scratch labels.ScratchBuilder
	set, err := labelsOf(key, &scratch)
	if err != nil {
		return fmt.Errorf("labels of series %d: %w", b.ID, err)
	}
	kind := s.api.config.Catalogue.Kind(b.ID)
	r := row{Bucket: b.Bucket, start: b.Bucket.Start(resolution), length: resolution}
	s.setRate(&r, b.ID, kind)
	e.raw("event: bucket\ndata: {\"metric\":")
	e.labels(set)
	e.raw(`,"kind":"` + kind.String() + `","bucket":`)
	e.row(&r, kind)
	e.raw("}\n\n")
	return nil
}

func (s *stream) setRate(r *row, id series.ID, kind series.Kind) {
	if kind != series.Counter {
		r.setRate(kind, nil)
		return
	}
	previous, ok := s.previous[id]
	if ok && previous.LastTime < r.FirstTime {
		r.setRate(kind, &previous)
	} else {
		r.setRate(kind, nil)
	}
	if ok || len(s.previous) < liveRates {
		s.previous[id] = *r
	}
}

// send writes and flushes. The deadline is by the clock of the connection.
func (s *stream) send(p []byte) error {
	if err := s.control.SetWriteDeadline(time.Now().Add(sendWithin)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("set a deadline: %w", err)
	}
	if _, err := s.w.Write(p); err != nil {
		return err
	}
	return s.control.Flush()
}
