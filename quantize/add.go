package quantize

import (
	"math"

	"carillon/bucket"
	"carillon/series"
)

// touchAhead is how many points have their records fetched at once: so many misses
// of the cache are waited for as one.
const touchAhead = 32

// infinity is the exponent of every float64 that is not finite.
const infinity = 0x7ff << 52

// AddPoints takes points that the journal stored at the time now, in order: point
// i is of series numbers[i], at times[i] in milliseconds since the epoch. What is
// refused stands in out. It panics if a series is not defined.
func (q *Quantizer) AddPoints(now int64, numbers []uint32, times []int64, values []float64, out *Output) {
	times, values = times[:len(numbers)], values[:len(numbers)]
	for len(numbers) > 0 {
		n := min(len(numbers), touchAhead)
		q.touch(numbers[:n])
		for i, number := range numbers[:n] {
			s := sample{times[i], values[i]}
			verdict := q.place(now, number, s, out)
			q.counts.Verdicts[verdict]++
			if bits := math.Float64bits(s.value); bits&infinity == infinity {
				q.countOdd(bits)
			}
		}
		numbers, times, values = numbers[n:], times[n:], values[n:]
	}
}

// touch reads from the records of some series, and from what they lead to, for no other
// reason than to have it in the cache. The reads do not depend on each other, so
// they overlap; where each point waits for its own, it waits all of the time that
// memory takes.
func (q *Quantizer) touch(numbers []uint32) {
	var parts, sum uint32
	var due int64
	for _, number := range numbers {
		parts |= q.record(number).rest
		due |= q.due[number/blockSeries]
	}
	if parts != 0 {
		for _, number := range numbers {
			if rest := q.records.At(number).rest; rest != 0 {
				sum += q.parts.At(rest).next
			}
		}
	}
	q.touched += uint64(parts+sum) + uint64(due)
}

func (q *Quantizer) countOdd(bits uint64) {
	if bits == bucket.StaleNaN {
		q.counts.StaleMarkers++
	} else {
		q.counts.NotFinite++
	}
}

func (q *Quantizer) place(now int64, number uint32, s sample, out *Output) Verdict {
	if s.time > now+q.config.FutureTolerance || s.time < now-q.config.Retention {
		return q.refuse(q.age(now, s.time), number, s.time, out)
	}
	r := q.records.At(number)
	faster := r.observe(now-s.time, q.config.MinDelay)
	var verdict Verdict
	if s.time < r.segment {
		one := s.bucket()
		if verdict = q.revise(now, r, &one); verdict != Duplicate {
			out.Kept.sample(number, s)
		}
	} else {
		if s.time >= r.segment+q.config.Resolution {
			q.begin(now, number, r, s.time, out)
		}
		if r.flags&limited != 0 && s.time != r.newest.time && q.full(number, r) {
			return q.refuse(TooMany, number, s.time, out)
		}
		verdict = q.add(r, s)
	}
	if faster {
		q.expedite(number, r)
	}
	return verdict
}

// refuse notes a point that is not taken.
func (q *Quantizer) refuse(verdict Verdict, number uint32, time int64, out *Output) Verdict {
	out.Refused = append(out.Refused, Refusal{number, verdict, time})
	return verdict
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

// add merges a sample into the open segment.
func (q *Quantizer) add(r *record, s sample) Verdict {
	switch {
	case math.Float64bits(s.value) == bucket.StaleNaN || s.time < r.newest.time:
		one := s.bucket()
		return verdictOf(q.mergeRest(r, &one))
	case r.newest.time == never && r.flags&newestKept == 0:
		r.newest = s
		return OnTime
	case s.time > r.newest.time:
		q.settle(r)
		r.newest = s
		return OnTime
	case math.Float64bits(s.value) == math.Float64bits(r.newest.value):
		return Duplicate
	case r.kind == series.Event:
		q.settle(r)
		r.newest = s
		return OnTime
	}
	q.unkeep(r)
	r.newest.value = s.value
	return Replaced
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

// begin closes the open segment and opens the one in which a time lies.
func (q *Quantizer) begin(now int64, number uint32, r *record, time int64, out *Output) {
	q.completeBeforeOpen(now, number, r, &out.Completed)
	if r.flags&previousAwaited != 0 {
		q.awaitEarlier(r, r.previous.bucket())
	}
	var closed flags
	switch {
	case r.rest|r.sealed != 0:
		q.closeParts(number, r, out)
	case r.newest.time != never:
		if r.flags&newestKept == 0 {
			out.Kept.sample(number, r.newest)
		}
		if r.flags&openAwaited != 0 {
			r.previous, closed = r.newest, previousAwaited
		}
	}
	next := r.segment + q.config.Resolution
	if time-next < 0 || time-next >= q.config.Resolution { // < 0: there was no segment
		next = bucket.Floor(time, q.config.Resolution)
	}
	if r.earlier != 0 {
		r.reach = uint16(min(int64(r.reach)+(next-r.segment)/q.config.Resolution, farReach))
	}
	r.segment, r.newest.time, r.flags = next, never, openAwaited|closed|r.flags&limited
	q.await(number, next+q.config.Resolution+q.delay(r))
}

// closeParts closes an open segment that consists of more than its newest sample.
func (q *Quantizer) closeParts(number uint32, r *record, out *Output) {
	unkept := q.unkept(r)
	if !unkept.Empty() {
		out.Kept.whole(number, &unkept)
	}
	if r.flags&openAwaited != 0 {
		q.awaitEarlier(r, q.whole(r))
	}
	q.freePart(r.rest)
	q.freePart(r.sealed)
	r.rest, r.sealed = 0, 0
}

// revise adds a bucket of an earlier segment to the coming publication of the
// last one, if it is of that and it is still awaited. Unless the verdict is
// Duplicate, it is also for the store.
func (q *Quantizer) revise(now int64, r *record, b *bucket.Bucket) Verdict {
	outcome := bucket.Merged
	switch {
	case r.flags&previousAwaited != 0:
		if bucket.Floor(r.previous.time, q.config.Resolution) == b.Start(q.config.Resolution) {
			outcome = q.mergePrevious(r, b)
		}
	case r.earlier != 0:
		p := q.parts.At(r.earlier)
		if p.Start(q.config.Resolution) == b.Start(q.config.Resolution) {
			outcome = p.Merge(r.kind, b)
		}
	}
	switch {
	case outcome == bucket.Duplicate && b.Count <= 1:
		return Duplicate
	case outcome == bucket.Replaced:
		return Replaced
	case q.age(now, b.LastTime) == Older:
		return Older
	}
	return Late
}

// mergePrevious merges into the previous segment, which is a single sample so far.
func (q *Quantizer) mergePrevious(r *record, b *bucket.Bucket) bucket.Outcome {
	merged := r.previous.bucket()
	outcome := merged.Merge(r.kind, b)
	if merged.Count == 1 && merged.StaleTime == 0 {
		r.previous = sample{merged.LastTime, merged.Last}
		return outcome
	}
	q.awaitEarlier(r, merged)
	r.flags &^= previousAwaited
	return outcome
}

// AddAggregate takes points that were aggregated before they came. They must
// lie within one segment. Aggregates carry no identity: one that is sent twice
// is counted twice unless the request was recognised.
func (q *Quantizer) AddAggregate(now int64, number uint32, b *bucket.Bucket, out *Output) {
	q.counts.Verdicts[q.placeAggregate(now, number, b, out)]++
}

func (q *Quantizer) placeAggregate(now int64, number uint32, b *bucket.Bucket, out *Output) Verdict {
	r := q.record(number)
	if v := q.age(now, b.LastTime); v.refused() {
		return q.refuse(v, number, b.LastTime, out)
	}
	segment := b.Start(q.config.Resolution)
	if bucket.Floor(b.LastTime, q.config.Resolution) != segment {
		return q.refuse(Spanning, number, b.LastTime, out)
	}
	if r.observe(now-b.LastTime, q.config.MinDelay) {
		defer q.expedite(number, r)
	}
	if segment < r.segment {
		verdict := q.revise(now, r, b)
		if verdict != Duplicate {
			out.Kept.whole(number, b)
		}
		return verdict
	}
	if segment > r.segment {
		q.begin(now, number, r, segment, out)
	}
	if b.LastTime >= r.newest.time {
		q.settle(r)
		r.newest.time = never
	}
	q.mergeRest(r, b)
	return OnTime
}
