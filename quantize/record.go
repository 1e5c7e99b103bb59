package quantize

import (
	"math"

	"carillon/bucket"
	"carillon/series"
)

const never = math.MinInt64 // no segment, no time

// record is what the quantizer knows of one series: its open segment, and of the
// segments that await publication what is needed to publish them. It is one cache
// line, and one is all that a point of an ordinary series touches: one that sends
// one sample a segment, in order.
//
// The open segment consists of up to three pieces, which do not overlap:
//
//   - newest, its newest sample. It is kept apart, because that makes a second value
//     for the newest millisecond exact: it takes the place of the first before the
//     first has been added to anything.
//   - rest, all else that the store does not have yet.
//   - sealed, what the store has got by a seal and publication needs again. Where
//     nothing but the newest sample was sealed, and nothing came since, there is no
//     such part: newestKept says so. Then newest also serves to recognise a
//     duplicate. A series whose open segment was published already has none either.
//
// Of the closed segments that are still to be published, the last one may be a
// single sample: previous, if previousAwaited. All others are parts, in the list
// earlier, newest first. They are complete in the order of their time, for a
// series has one lag; so those that await are always the last ones that began, the
// open one included as long as openAwaited.
type record struct {
	segment  int64  // start of the open segment, or never
	newest   sample // time is never if there is none
	previous sample
	lag      int64  // how late points of this series come, ms: rises at once, falls slowly
	rest     uint32 // numbers of parts, 0 if there is none
	sealed   uint32
	earlier  uint32
	kind     series.Kind
	flags    flags
	reach    uint16 // segments from the oldest of earlier to the open one, or farReach
}

type sample struct {
	time  int64
	value float64
}

type flags uint8

const (
	openAwaited     flags = 1 << iota // the open segment is not published yet
	previousAwaited                   // previous is there, and its segment not published yet
	newestKept                        // the newest sample is in the store already
	limited                           // there is a limit of points a segment
)

// farReach is a reach that is no number: the list has to be walked.
const farReach = math.MaxUint16

// part is a bucket that does not fit into its series' record.
type part struct {
	bucket.Bucket
	next uint32 // number of another part, or 0
}

// newPart is the number of a part that holds b.
func (q *Quantizer) newPart(b bucket.Bucket, next uint32) uint32 {
	number := q.partsFree
	if number == 0 {
		number = q.partsUsed
		q.partsUsed++
		if int(number) >= q.parts.Len() {
			q.parts.Grow(int(q.partsUsed))
		}
	} else {
		q.partsFree = q.parts.At(number).next
	}
	*q.parts.At(number) = part{b, next}
	return number
}

func (q *Quantizer) freePart(number uint32) {
	if number != 0 {
		q.parts.At(number).next = q.partsFree
		q.partsFree = number
	}
}

// awaitEarlier adds a segment that awaits publication to the earlier ones; it is the newest.
func (q *Quantizer) awaitEarlier(r *record, b bucket.Bucket) {
	if r.earlier == 0 {
		q.setReach(r, b.Start(q.config.Resolution))
	}
	r.earlier = q.newPart(b, r.earlier)
}

// setReach notes where the oldest of the earlier segments starts.
func (q *Quantizer) setReach(r *record, oldest int64) {
	r.reach = uint16(min((r.segment-oldest)/q.config.Resolution, farReach))
}

// oldestEarlier is the start of the oldest of the earlier segments, or never if
// that has to be looked up.
func (q *Quantizer) oldestEarlier(r *record) int64 {
	if r.reach == farReach {
		return never
	}
	return r.segment - int64(r.reach)*q.config.Resolution
}

// mergeRest merges into the open segment what is not its newest sample.
func (q *Quantizer) mergeRest(r *record, b *bucket.Bucket) bucket.Outcome {
	if r.rest == 0 {
		r.rest = q.newPart(*b, 0)
		return bucket.Merged
	}
	return q.parts.At(r.rest).Merge(r.kind, b)
}

// settle adds the newest sample to the rest of the segment, so that another one
// can take its place.
func (q *Quantizer) settle(r *record) {
	switch {
	case r.flags&newestKept != 0:
		q.unkeep(r)
	case r.newest.time != never:
		one := r.newest.bucket()
		q.mergeRest(r, &one)
	}
}

// unkeep is called before newest becomes something that the store does not have.
func (q *Quantizer) unkeep(r *record) {
	if r.flags&newestKept != 0 && r.flags&openAwaited != 0 && r.sealed == 0 {
		r.sealed = q.newPart(r.newest.bucket(), 0)
	}
	r.flags &^= newestKept
}

// full tells whether the open segment of a limited series has all the points it may.
// Those that a seal moved on are counted as long as they await publication.
func (q *Quantizer) full(number uint32, r *record) bool {
	b := q.whole(r)
	return b.Count >= q.limits[number]
}

// unkept is the part of the open segment that the store does not have yet.
func (q *Quantizer) unkept(r *record) (b bucket.Bucket) {
	if r.rest != 0 {
		b = q.parts.At(r.rest).Bucket
	}
	if r.newest.time != never && r.flags&newestKept == 0 {
		one := r.newest.bucket()
		b.Merge(r.kind, &one)
	}
	return b
}

// whole is the open segment as it is to be published.
func (q *Quantizer) whole(r *record) (b bucket.Bucket) {
	switch {
	case r.sealed != 0:
		b = q.parts.At(r.sealed).Bucket
	case r.flags&newestKept != 0 && r.newest.time != never:
		b = r.newest.bucket()
	}
	unkept := q.unkept(r)
	if !unkept.Empty() {
		b.Merge(r.kind, &unkept)
	}
	return b
}

// seal notes that the store has got b, which is all of unkept.
func (q *Quantizer) seal(r *record, b *bucket.Bucket) {
	switch {
	case r.flags&openAwaited == 0:
	case r.sealed != 0:
		q.parts.At(r.sealed).Merge(r.kind, b)
	case r.flags&newestKept != 0 && r.newest.time != never: // it is rest that is new
		r.sealed = q.newPart(r.newest.bucket(), 0)
		q.parts.At(r.sealed).Merge(r.kind, b)
	case r.rest != 0:
		r.sealed = q.newPart(*b, 0)
	}
	q.freePart(r.rest)
	r.rest = 0
	r.flags |= newestKept
}

func (s sample) bucket() bucket.Bucket { return bucket.Of(s.time, s.value) }
