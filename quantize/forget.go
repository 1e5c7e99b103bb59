package quantize

import "carillon/bucket"

// Forget drops what the quantizer remembers of samples that the store has already
// got and has deleted since: those of a series in [from, to], milliseconds. So the
// same sample, sent again, is not taken for a duplicate, and what is deleted is not
// published. What the store does not have yet stays. Seal must come before the
// deletion, and Forget after it.
func (q *Quantizer) Forget(number uint32, from, to int64) {
	r := q.record(number)
	inside := func(b *bucket.Bucket) bool { return b.FirstTime >= from && max(b.LastTime, b.StaleTime) <= to }
	if r.flags&newestKept != 0 && r.newest.time >= from && r.newest.time <= to {
		r.newest.time = never
		r.flags &^= newestKept
	}
	if r.sealed != 0 && inside(&q.parts.At(r.sealed).Bucket) {
		q.freePart(r.sealed)
		r.sealed = 0
	}
	if r.flags&previousAwaited != 0 && r.previous.time >= from && r.previous.time <= to {
		r.flags &^= previousAwaited
	}
	oldest := int64(never)
	for link := &r.earlier; *link != 0; {
		at := *link
		p := q.parts.At(at)
		if inside(&p.Bucket) {
			*link = p.next
			q.freePart(at)
			continue
		}
		oldest, link = p.Start(q.config.Resolution), &p.next
	}
	if r.earlier != 0 {
		q.setReach(r, oldest)
	}
}
