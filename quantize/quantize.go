// Package quantize aligns points to the beat: points of any series in any order
// come in, buckets of one segment each come out, together with the news of which
// segments are complete. One goroutine, the loop of a partition, owns a
// Quantizer and feeds it in journal order. It is pure: time is an argument,
// results are returned, there is no clock, no I/O and no lock.
package quantize

import (
	"iter"
	"math"

	"carillon/bucket"
	"carillon/series"
)

// Config holds the limits of one quantizer; all are milliseconds.
type Config struct {
	Resolution      int64 // length of a segment
	FinestRetention int64 // points older than this are counted as Older
	Retention       int64 // points older than this, which no tier covers, are refused
	FutureTolerance int64 // points further ahead than this are refused
	MinDelay        int64 // a segment is complete no sooner than this after its end,
	MaxDelay        int64 // and no later than this
}

// Point is one sample of a series.
type Point struct {
	Series uint32 // number of the series in its partition
	Time   int64  // milliseconds since the epoch
	Value  float64
}

// Verdict says what became of a point.
type Verdict uint8

const (
	OnTime    Verdict = iota // merged into the open segment
	Late                     // merged into an earlier segment, as a revision
	Older                    // beyond the finest tier: merged into the coarser ones
	Replaced                 // another value for the newest millisecond: it won
	Duplicate                // dropped: the same series, millisecond and value
	Future                   // refused: beyond the tolerance
	TooOld                   // refused: no tier reaches so far back
	Spanning                 // refused: an aggregate that crosses segments
	numVerdicts
)

// Verdicts is how many verdicts there are.
const Verdicts = int(numVerdicts)

// String is the reason under which the verdict is counted.
func (v Verdict) String() string {
	names := [...]string{"on_time", "late", "older", "replaced", "duplicate", "future", "too_old", "spanning"}
	return names[v]
}

// Refused tells whether the point was not taken. A dropped duplicate was taken
// before.
func (v Verdict) Refused() bool { return v >= Future }

// Counts is what a quantizer has seen.
type Counts struct {
	Verdicts     [Verdicts]uint64
	StaleMarkers uint64 // points that were staleness markers
	NotFinite    uint64 // points that were another NaN, or infinite; stored as they are
	Completed    uint64 // segments published
}

// ByReason yields every count under its name.
func (c *Counts) ByReason() iter.Seq2[string, uint64] {
	return func(yield func(string, uint64) bool) {
		for v, n := range c.Verdicts {
			if !yield(Verdict(v).String(), n) {
				return
			}
		}
		_ = yield("stale_marker", c.StaleMarkers) && yield("not_finite", c.NotFinite) && yield("completed", c.Completed)
	}
}

// Bucket is a bucket of a series.
type Bucket struct {
	Series uint32
	bucket.Bucket
}

// Output collects what leaves a quantizer. The caller empties it.
type Output struct {
	// Kept is for the store, in journal order: segments that closed because a
	// later one began, and revisions of earlier segments. They merge with what
	// the store already has of the same segment.
	Kept []Bucket
	// Completed is for whoever wants the newest value: whole segments for which
	// no more points are expected. Points that come later all the same still
	// count; they are in Kept.
	Completed []Bucket
}

// Reset empties the output and keeps its memory.
func (o *Output) Reset() {
	o.Kept = o.Kept[:0]
	o.Completed = o.Completed[:0]
}

const (
	never     = math.MinInt64 // no segment, no time
	nothing   = int32(-1)     // no entry in awaiting
	lagWeight = 16            // a lag falls towards a smaller one by a sixteenth a point
)

// state is what the quantizer knows of one series: its one open segment.
//
// The newest sample is kept apart from the rest of the segment. That makes a
// second value for the newest millisecond exact: it takes the place of the first
// before the first has been added to anything. rest is empty and newestKept is
// set after a seal, when the segment so far has moved to the store; newest then
// only serves to recognise a duplicate.
type state struct {
	rest        bucket.Bucket // the open segment without its newest sample
	segment     int64         // start of the open segment, or never
	newestTime  int64         // or never
	newestValue float64
	lag         int64 // how late points of this series come, ms: rises at once, falls slowly
	open        int32 // index in awaiting of the open segment, or nothing
	previous    int32 // and of the one before
	kind        series.Kind
	newestKept  bool // the newest sample is in the store already
}

// awaited is a segment that is not complete yet.
type awaited struct {
	series  uint32
	segment int64
	// moved is the part of the segment that is no longer in the series' state.
	moved bucket.Bucket
}

// Quantizer aligns the points of one partition.
type Quantizer struct {
	config   Config
	states   []state
	awaiting []awaited // in no order; states point into it
	counts   Counts
}

// New makes a quantizer without any series.
func New(config Config) *Quantizer { return &Quantizer{config: config} }

// Define adds the next series; its number is the count of those before it.
func (q *Quantizer) Define(kind series.Kind) {
	q.states = append(q.states, state{
		segment: never, newestTime: never, open: nothing, previous: nothing, kind: kind,
	})
}

// Series is how many series are defined.
func (q *Quantizer) Series() int { return len(q.states) }

// SetKind changes the kind of a series, from now on.
func (q *Quantizer) SetKind(number uint32, kind series.Kind) { q.states[number].kind = kind }

// Counts is what happened so far, by reason.
func (q *Quantizer) Counts() Counts { return q.counts }

// Add takes one point that the journal stored at the time now.
func (q *Quantizer) Add(now int64, p Point, out *Output) Verdict {
	verdict := q.place(now, p, out)
	q.counts.Verdicts[verdict]++
	if bits := math.Float64bits(p.Value); bits&infinity == infinity {
		if bits == bucket.StaleNaN {
			q.counts.StaleMarkers++
		} else {
			q.counts.NotFinite++
		}
	}
	return verdict
}

// infinity is the exponent of every float64 that is not finite.
const infinity = 0x7ff << 52

func (q *Quantizer) place(now int64, p Point, out *Output) Verdict {
	if v := q.age(now, p.Time); v.Refused() {
		return v
	}
	st := &q.states[p.Series]
	segment := bucket.Floor(p.Time, q.config.Resolution)
	st.observe(now - p.Time)
	if segment < st.segment {
		one := bucket.Of(p.Time, p.Value)
		return q.revise(st, now, segment, p.Series, &one, out)
	}
	if segment > st.segment {
		q.begin(st, p.Series, segment, out)
	}
	return st.add(p.Time, p.Value)
}

// AddAggregate takes points that were aggregated before they came. They must
// lie within one segment. Aggregates carry no identity: one that is sent twice
// is counted twice unless the request was recognised.
func (q *Quantizer) AddAggregate(now int64, number uint32, b *bucket.Bucket, out *Output) Verdict {
	verdict := q.placeAggregate(now, number, b, out)
	q.counts.Verdicts[verdict]++
	return verdict
}

func (q *Quantizer) placeAggregate(now int64, number uint32, b *bucket.Bucket, out *Output) Verdict {
	segment := b.Start(q.config.Resolution)
	if v := q.age(now, b.LastTime); v.Refused() {
		return v
	}
	if bucket.Floor(b.LastTime, q.config.Resolution) != segment {
		return Spanning
	}
	st := &q.states[number]
	st.observe(now - b.LastTime)
	if segment < st.segment {
		return q.revise(st, now, segment, number, b, out)
	}
	if segment > st.segment {
		q.begin(st, number, segment, out)
	}
	if b.LastTime >= st.newestTime {
		st.settle()
		st.newestTime = never
	}
	st.rest.Merge(st.kind, b)
	return OnTime
}

// age judges a time by itself: Future, TooOld, Older, or OnTime for all others.
func (q *Quantizer) age(now, time int64) Verdict {
	switch {
	case time > now+q.config.FutureTolerance:
		return Future
	case time < now-q.config.Retention:
		return TooOld
	case time < now-q.config.FinestRetention:
		return Older
	}
	return OnTime
}

// observe notes how late a point came.
func (st *state) observe(lag int64) {
	if lag > st.lag {
		st.lag = lag
	} else {
		st.lag -= (st.lag - lag) / lagWeight
	}
}

// add merges a sample into the open segment.
func (st *state) add(time int64, value float64) Verdict {
	if math.Float64bits(value) == bucket.StaleNaN {
		marker := bucket.Of(time, value)
		return verdictOf(st.rest.Merge(st.kind, &marker))
	}
	switch {
	case time > st.newestTime:
		st.settle()
		st.newestTime, st.newestValue = time, value
		return OnTime
	case time < st.newestTime:
		one := bucket.Of(time, value)
		return verdictOf(st.rest.Merge(st.kind, &one))
	case math.Float64bits(value) == math.Float64bits(st.newestValue):
		return Duplicate
	case st.kind == series.Event:
		st.settle()
		st.newestTime, st.newestValue = time, value
		return OnTime
	}
	st.newestValue, st.newestKept = value, false
	return Replaced
}

// settle adds the newest sample to the rest of the segment, so that another one
// can take its place.
func (st *state) settle() {
	if st.newestTime != never && !st.newestKept {
		one := bucket.Of(st.newestTime, st.newestValue)
		st.rest.Merge(st.kind, &one)
	}
	st.newestKept = false
}

// verdictOf is the verdict on a sample that was merged into the open segment.
func verdictOf(o bucket.Outcome) Verdict {
	switch o {
	case bucket.Duplicate:
		return Duplicate
	case bucket.Replaced:
		return Replaced
	}
	return OnTime
}

// whole is the part of the open segment that the store does not have yet.
func (st *state) whole() (bucket.Bucket, bool) {
	b := st.rest
	if st.newestTime != never && !st.newestKept {
		one := bucket.Of(st.newestTime, st.newestValue)
		b.Merge(st.kind, &one)
	}
	return b, !b.Empty()
}

// revise hands a bucket of an earlier segment to the store, and adds it to that
// segment's coming publication if it still awaits one.
func (q *Quantizer) revise(st *state, now, segment int64, number uint32, b *bucket.Bucket, out *Output) Verdict {
	verdict := Late
	if q.age(now, b.LastTime) == Older {
		verdict = Older
	}
	if st.previous != nothing && q.awaiting[st.previous].segment == segment {
		switch q.awaiting[st.previous].moved.Merge(st.kind, b) {
		case bucket.Duplicate:
			if b.Count <= 1 {
				return Duplicate
			}
		case bucket.Replaced:
			verdict = Replaced
		}
	}
	out.Kept = append(out.Kept, Bucket{number, *b})
	return verdict
}

// begin closes the open segment and opens a later one.
func (q *Quantizer) begin(st *state, number uint32, segment int64, out *Output) {
	if b, ok := st.whole(); ok {
		out.Kept = append(out.Kept, Bucket{number, b})
		if st.open != nothing {
			q.awaiting[st.open].moved.Merge(st.kind, &b)
		}
	}
	st.rest = bucket.Bucket{}
	st.newestTime, st.newestKept = never, false
	st.segment = segment
	st.previous, st.open = st.open, int32(len(q.awaiting))
	q.awaiting = append(q.awaiting, awaited{series: number, segment: segment})
}

// Advance completes the segments whose end lies further back than the lag seen
// on their series.
func (q *Quantizer) Advance(now int64, out *Output) {
	kept := q.awaiting[:0]
	for i := range q.awaiting {
		a := &q.awaiting[i]
		st := &q.states[a.series]
		isOpen := st.open == int32(i)
		delay := min(max(st.lag, q.config.MinDelay), q.config.MaxDelay)
		if now < a.segment+q.config.Resolution+delay {
			st.moveTo(int32(i), int32(len(kept)))
			kept = append(kept, *a)
			continue
		}
		st.moveTo(int32(i), nothing)
		b := a.moved
		if isOpen {
			if rest, ok := st.whole(); ok {
				b.Merge(st.kind, &rest)
			}
		}
		if b.Count > 0 {
			out.Completed = append(out.Completed, Bucket{a.series, b})
			q.counts.Completed++
		}
	}
	q.awaiting = kept
}

// moveTo follows an entry of awaiting from one index to another.
func (st *state) moveTo(from, to int32) {
	switch from {
	case st.open:
		st.open = to
	case st.previous:
		st.previous = to
	}
}

// Open is the part of a series' open segment that the store does not have yet.
func (q *Quantizer) Open(number uint32) (bucket.Bucket, bool) { return q.states[number].whole() }

// Seal yields every open segment as far as it has come. Afterwards the store has
// all that was ever added; what is added to the same segments from now on merges
// with it there.
func (q *Quantizer) Seal(yield func(number uint32, b bucket.Bucket) bool) {
	for i := range q.states {
		st := &q.states[i]
		b, ok := st.whole()
		if !ok {
			continue
		}
		if st.open != nothing {
			q.awaiting[st.open].moved.Merge(st.kind, &b)
		}
		st.rest = bucket.Bucket{}
		st.newestKept = true
		if !yield(uint32(i), b) {
			return
		}
	}
}
