package quantize

import (
	"math"

	"carillon/bucket"
)

const (
	blockSeries = 8    // series that Advance looks at together
	enough      = 4096 // buckets after which Advance takes a break

	lagWeight = 16 // a lag falls towards a smaller one by a sixteenth a point
)

// observe notes how late a point came. It tells whether segments of the series may
// be complete earlier than it seemed before.
func (r *record) observe(lag, minDelay int64) (faster bool) {
	before := r.lag
	if lag > before {
		r.lag = lag
		return false
	}
	r.lag -= (before - lag) / lagWeight
	return before > minDelay
}

// delay is how long after its end a segment of the series is complete.
func (q *Quantizer) delay(r *record) int64 {
	return min(max(r.lag, q.config.MinDelay), q.config.MaxDelay)
}

// await notes that something of a series may be complete at a time.
func (q *Quantizer) await(number uint32, at int64) {
	if due := &q.due[number/blockSeries]; at < *due {
		*due = at
	}
}

// expedite notes that a series' lag fell while segments of it may await publication.
func (q *Quantizer) expedite(number uint32, r *record) {
	switch {
	case r.earlier != 0:
		if oldest := q.oldestEarlier(r); oldest == never {
			q.await(number, never)
		} else {
			q.await(number, oldest+q.config.Resolution+q.delay(r))
		}
	case r.flags&previousAwaited != 0:
		q.await(number, q.previousSegment(r)+q.config.Resolution+q.delay(r))
	case r.flags&openAwaited != 0:
		q.await(number, r.segment+q.config.Resolution+q.delay(r))
	}
}

// previousSegment is the start of the segment of previous, usually the one next
// to the open one.
func (q *Quantizer) previousSegment(r *record) int64 {
	if next := r.segment - q.config.Resolution; r.previous.time >= next {
		return next
	}
	return bucket.Floor(r.previous.time, q.config.Resolution)
}

// Advance completes the segments whose end lies further back than the lag seen
// on their series. After a few thousand it takes a break and reports that there
// may be more: then the caller empties out, and calls again.
//
// A walk over all series each second would cost more than all else. So the series
// are in blocks, and q.due has for each block a time before which nothing in it
// is complete. The time is right because whatever could make something complete
// earlier lowers it: a segment that begins, and a lag that falls. What makes things
// complete later, a rising lag, leaves it as it is; then a block is looked at in
// vain, once. Since segments of all series end at the same time, and most series are
// not late, most blocks are looked at once a segment, from one end to the other as
// memory likes it best.
func (q *Quantizer) Advance(now int64, out *Output) (more bool) {
	for ; q.cursor < len(q.due); q.cursor++ {
		if q.due[q.cursor] > now {
			continue
		}
		if out.Completed.Len() >= enough {
			return true
		}
		q.due[q.cursor] = q.completeBlock(now, q.cursor, out)
	}
	q.cursor = 0
	return false
}

// completeBlock completes what is due in a block, and returns when something will
// be again.
func (q *Quantizer) completeBlock(now int64, block int, out *Output) int64 {
	next := int64(math.MaxInt64)
	end := min((block+1)*blockSeries, q.defined)
	for number := block * blockSeries; number < end; number++ {
		r := q.records.At(uint32(number))
		if r.flags&openAwaited != 0 {
			next = min(next, q.complete(now, uint32(number), r, &out.Completed))
		}
	}
	return next
}

// complete publishes what is due of a series, oldest first, and returns when the
// oldest of the rest will be.
func (q *Quantizer) complete(now int64, number uint32, r *record, out *Batch) int64 {
	delay := q.delay(r)
	after := q.config.Resolution + delay // from the start of a segment until it is complete
	if r.earlier != 0 {
		if oldest := q.oldestEarlier(r); oldest > now-after {
			return oldest + after
		}
		if next := q.completeEarlier(now-after, number, r, out); next != never {
			q.setReach(r, next)
			return next + after
		}
	}
	if r.flags&previousAwaited != 0 {
		if at := q.previousSegment(r) + after; at > now {
			return at
		}
		r.flags &^= previousAwaited
		q.counts.Completed++
		out.sample(number, r.previous)
	}
	if at := r.segment + after; at > now {
		return at
	}
	r.flags &^= openAwaited
	switch {
	case r.rest|r.sealed == 0 && r.newest.time != never:
		q.counts.Completed++
		out.sample(number, r.newest)
	default:
		b := q.whole(r)
		q.publish(number, &b, out)
		q.freePart(r.sealed)
		r.sealed = 0
	}
	return math.MaxInt64
}

// completeBeforeOpen publishes all that precedes the open segment, if the last of it
// is due. A history that is sent faster than time passes thus does not pile up
// segments until the next Advance.
func (q *Quantizer) completeBeforeOpen(now int64, number uint32, r *record, out *Batch) {
	var last int64
	switch {
	case r.flags&previousAwaited != 0:
		last = q.previousSegment(r)
	case r.earlier != 0:
		last = q.parts.At(r.earlier).Start(q.config.Resolution)
	default:
		return
	}
	if last+q.config.Resolution+q.delay(r) > now {
		return
	}
	if r.earlier != 0 {
		q.completeEarlier(math.MaxInt64, number, r, out)
	}
	if r.flags&previousAwaited != 0 {
		r.flags &^= previousAwaited
		q.counts.Completed++
		out.sample(number, r.previous)
	}
}

// completeEarlier publishes the earlier segments that start at a time or before,
// and returns the start of the oldest of the others, never if there is none.
func (q *Quantizer) completeEarlier(through int64, number uint32, r *record, out *Batch) int64 {
	next := int64(never)
	link := &r.earlier
	for *link != 0 {
		p := q.parts.At(*link)
		start := p.Start(q.config.Resolution)
		if start <= through {
			break
		}
		next, link = start, &p.next
	}
	due := q.reverse(*link)
	*link = 0
	for due != 0 {
		p := q.parts.At(due)
		q.publish(number, &p.Bucket, out)
		following := p.next
		q.freePart(due)
		due = following
	}
	return next
}

// reverse turns a list of parts round.
func (q *Quantizer) reverse(list uint32) (reversed uint32) {
	for list != 0 {
		p := q.parts.At(list)
		list, p.next, reversed = p.next, reversed, list
	}
	return reversed
}

// publish passes a segment on; a marker alone is no news.
func (q *Quantizer) publish(number uint32, b *bucket.Bucket, out *Batch) {
	if b.Count == 0 {
		return
	}
	q.counts.Completed++
	out.whole(number, b)
}
