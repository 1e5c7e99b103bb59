package receive

import (
	"sync/atomic"
	"time"

	"carillon/bucket"
	"carillon/series"
)

// Points without a time get the time of their arrival, in milliseconds. Two
// points of a series in one millisecond would then look like one point that was
// sent twice, and behind the journal one of them would be dropped: two events
// would count as one. Two measures keep them apart.
//
// Inside a request all points of a series that came without a time become one
// bucket, which knows how many they were, their sum, extremes and deviation.
//
// Between requests the clock below hands each series a later millisecond than
// the last one it had. Series share the clock's slots by hash; sharing costs at
// most a needless millisecond. The clock may run ahead of the time by maxAhead,
// that is, this many requests with the same series in no time at all; the next
// ones share the last millisecond, and only those of them that bring exactly one
// point of the same value are taken for repetitions.

const (
	arrivalSlots = 1 << 14 // 128 KiB
	maxAhead     = 10 * time.Second
)

// arrivals is the last arrival time given to the series of each slot, in
// milliseconds since the epoch.
type arrivals [arrivalSlots]atomic.Int64

// next is an arrival time for the series of a hash, now or a little later.
func (a *arrivals) next(hash uint64, now int64) int64 {
	slot := &a[hash%arrivalSlots]
	for {
		last := slot.Load()
		given := min(max(now, last+1), now+maxAhead.Milliseconds())
		if slot.CompareAndSwap(last, given) {
			return given
		}
	}
}

// waiting is what arrived for one series in this request. The times in sum only
// number the points, from 0.
type waiting struct {
	handle Handle
	sum    bucket.Bucket
}

// Arrived adds one point that has no time. It gets one at Commit. The kind is
// the caller's best guess, for resets of a counter within the request.
func (r *Request) Arrived(handle Handle, kind series.Kind, value float64) {
	r.points++
	owner, _ := r.define(handle)
	i, ok := r.arrived[owner]
	if !ok {
		r.arrived[owner] = len(r.waiting)
		r.waiting = append(r.waiting, waiting{handle, bucket.Of(0, value)})
		return
	}
	sum := &r.waiting[i].sum
	point := bucket.Of(sum.LastTime+1, value)
	sum.Merge(kind, &point)
}

// stampArrivals gives what arrived its time, once.
func (r *Request) stampArrivals() {
	now := r.writer.now().UnixMilli()
	points := r.points
	for i := range r.waiting {
		w := &r.waiting[i]
		at := r.writer.arrivals.next(r.members[w.handle].hash, now)
		if w.sum.Count == 1 {
			r.Point(w.handle, at, w.sum.Last)
			continue
		}
		w.sum.FirstTime, w.sum.LastTime = at, at
		r.Aggregate(w.handle, w.sum)
	}
	r.waiting, r.points = r.waiting[:0], points // they are counted already
	clear(r.arrived)
}
