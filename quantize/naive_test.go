package quantize_test

import (
	"math"

	"carillon/bucket"
	"carillon/quantize"
	"carillon/series"
)

// naive is what a Quantizer does, said as plainly as possible: whole buckets, one
// growing list of segments that await publication, and a walk over it each time.
type naive struct {
	config   quantize.Config
	states   []naiveState
	awaiting []*naiveSegment // in the order they began
	counts   quantize.Counts
	kept     []numbered
	complete []numbered
	refused  []quantize.Refusal
}

type numbered struct {
	number uint32
	bucket bucket.Bucket
}

type naiveState struct {
	kind        series.Kind
	rest        bucket.Bucket // the open segment without its newest sample
	segment     int64
	newestTime  int64
	newestValue float64
	newestKept  bool
	lag         int64
	open        *naiveSegment
	previous    *naiveSegment
}

type naiveSegment struct {
	number uint32
	start  int64
	moved  bucket.Bucket // what is no longer in the state
	done   bool
}

const naiveNever = math.MinInt64

func (q *naive) define(kind series.Kind) {
	q.states = append(q.states, naiveState{kind: kind, segment: naiveNever, newestTime: naiveNever})
}

func (q *naive) count(v quantize.Verdict) { q.counts.Verdicts[v]++ }

func (q *naive) refuse(number uint32, time int64, v quantize.Verdict) quantize.Verdict {
	q.refused = append(q.refused, quantize.Refusal{Series: number, Verdict: v, Time: time})
	return v
}

func (q *naive) age(now, time int64) quantize.Verdict {
	switch {
	case time > now+q.config.FutureTolerance:
		return quantize.Future
	case time < now-q.config.Retention:
		return quantize.TooOld
	case time < now-q.config.FinestRetention:
		return quantize.Older
	}
	return quantize.OnTime
}

// open begins a later segment if b needs one, or tells that b is late.
func (q *naive) opened(now int64, number uint32, b *bucket.Bucket) (st *naiveState, late bool) {
	st = &q.states[number]
	if lag := now - b.LastTime; lag > st.lag {
		st.lag = lag
	} else {
		st.lag -= (st.lag - lag) / 16
	}
	segment := b.Start(q.config.Resolution)
	if segment > st.segment {
		if p := st.previous; p != nil && !p.done && q.due(now, p) {
			q.finish(func(a *naiveSegment) bool { return a.number == number && a.start <= p.start })
		}
		if w := st.whole(); !w.Empty() {
			q.kept = append(q.kept, numbered{number, w})
			if st.open != nil {
				st.open.moved.Merge(st.kind, &w)
			}
		}
		st.rest, st.newestTime, st.newestKept, st.segment = bucket.Bucket{}, naiveNever, false, segment
		st.previous, st.open = st.open, &naiveSegment{number: number, start: segment}
		q.awaiting = append(q.awaiting, st.open)
	}
	return st, segment < st.segment
}

func (q *naive) add(now int64, number uint32, time int64, value float64) quantize.Verdict {
	if v := q.age(now, time); v != quantize.OnTime && v != quantize.Older {
		return q.refuse(number, time, v)
	}
	one := bucket.Of(time, value)
	st, late := q.opened(now, number, &one)
	switch {
	case late:
		return q.revise(st, now, number, &one)
	case math.Float64bits(value) == bucket.StaleNaN, time < st.newestTime:
		return [...]quantize.Verdict{quantize.OnTime, quantize.Duplicate, quantize.Replaced}[st.rest.Merge(st.kind, &one)]
	case time == st.newestTime && math.Float64bits(value) == math.Float64bits(st.newestValue):
		return quantize.Duplicate
	case time == st.newestTime && st.kind != series.Event:
		st.newestValue, st.newestKept = value, false
		return quantize.Replaced
	}
	st.settle()
	st.newestTime, st.newestValue = time, value
	return quantize.OnTime
}

func (q *naive) addAggregate(now int64, number uint32, b *bucket.Bucket) quantize.Verdict {
	if v := q.age(now, b.LastTime); v != quantize.OnTime && v != quantize.Older {
		return q.refuse(number, b.LastTime, v)
	}
	if bucket.Floor(b.LastTime, q.config.Resolution) != b.Start(q.config.Resolution) {
		return q.refuse(number, b.LastTime, quantize.Spanning)
	}
	st, late := q.opened(now, number, b)
	if late {
		return q.revise(st, now, number, b)
	}
	if b.LastTime >= st.newestTime {
		st.settle()
		st.newestTime = naiveNever
	}
	st.rest.Merge(st.kind, b)
	return quantize.OnTime
}

func (q *naive) revise(st *naiveState, now int64, number uint32, b *bucket.Bucket) quantize.Verdict {
	verdict := quantize.Late
	if q.age(now, b.LastTime) == quantize.Older {
		verdict = quantize.Older
	}
	if p := st.previous; p != nil && !p.done && p.start == b.Start(q.config.Resolution) {
		switch outcome := p.moved.Merge(st.kind, b); {
		case outcome == bucket.Duplicate && b.Count <= 1:
			return quantize.Duplicate
		case outcome == bucket.Replaced:
			verdict = quantize.Replaced
		}
	}
	q.kept = append(q.kept, numbered{number, *b})
	return verdict
}

func (st *naiveState) settle() {
	if st.newestTime != naiveNever && !st.newestKept {
		one := bucket.Of(st.newestTime, st.newestValue)
		st.rest.Merge(st.kind, &one)
	}
	st.newestKept = false
}

func (st *naiveState) whole() bucket.Bucket {
	b := st.rest
	if st.newestTime != naiveNever && !st.newestKept {
		one := bucket.Of(st.newestTime, st.newestValue)
		b.Merge(st.kind, &one)
	}
	return b
}

func (q *naive) advance(now int64) {
	q.finish(func(a *naiveSegment) bool { return q.due(now, a) })
}

func (q *naive) due(now int64, a *naiveSegment) bool {
	delay := min(max(q.states[a.number].lag, q.config.MinDelay), q.config.MaxDelay)
	return now >= a.start+q.config.Resolution+delay
}

// finish publishes some of the segments that await it.
func (q *naive) finish(which func(*naiveSegment) bool) {
	var left []*naiveSegment
	for _, a := range q.awaiting {
		st := &q.states[a.number]
		if !which(a) {
			left = append(left, a)
			continue
		}
		a.done = true
		b := a.moved
		if st.open == a {
			rest := st.whole()
			b.Merge(st.kind, &rest)
			st.open = nil
		}
		if b.Count > 0 {
			q.complete = append(q.complete, numbered{a.number, b})
			q.counts.Completed++
		}
	}
	q.awaiting = left
}

func (q *naive) seal() (sealed []numbered) {
	for i := range q.states {
		st := &q.states[i]
		b := st.whole()
		if b.Empty() {
			continue
		}
		if st.open != nil {
			st.open.moved.Merge(st.kind, &b)
		}
		st.rest, st.newestKept = bucket.Bucket{}, true
		sealed = append(sealed, numbered{uint32(i), b})
	}
	return sealed
}
