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
	arrivalSlotBits = 14
	arrivalSlots    = 1 << arrivalSlotBits // 128 KiB
	maxAhead        = 10 * time.Second
)

// arrivals is the last arrival time given to the series of each slot, in
// milliseconds since the epoch.
type arrivals [arrivalSlots]atomic.Int64

// next is an arrival time for the series of a slot, now or a little later.
func (a *arrivals) next(number uint64, now int64) int64 {
	slot := &a[number%arrivalSlots]
	for {
		last := slot.Load()
		given := min(max(now, last+1), now+maxAhead.Milliseconds())
		if slot.CompareAndSwap(last, given) {
			return given
		}
	}
}

// waiting is the points of a request that arrived without a time, one entry a
// series. An open table with linear probing finds the entry of a handle.
type waiting struct {
	list  []arrived
	sums  []bucket.Bucket
	table []uint32 // index to list, plus one; 0 is empty. At most half is taken.
}

// arrived is what arrived for one series.
type arrived struct {
	handle Handle
	value  float64 // while it is the only one
	sum    int32   // else, index to sums, whose times only number the points, from 0
	at     uint32  // its place in the table
}

const (
	alone             = -1
	firstWaitingTable = 256 // entries
)

// find is the entry of a handle, and whether it is a new one.
func (w *waiting) find(h Handle) (entry *arrived, isNew bool) {
	if 2*len(w.list) >= len(w.table) {
		w.grow()
	}
	at := w.probe(h)
	if i := w.table[at]; i != 0 {
		return &w.list[i-1], false
	}
	w.list = append(w.list, arrived{handle: h, sum: alone, at: at})
	w.table[at] = uint32(len(w.list))
	return &w.list[len(w.list)-1], true
}

// probe is where the handle stands in the table, or where it belongs.
func (w *waiting) probe(h Handle) uint32 {
	mask := uint32(len(w.table) - 1)
	at := uint32(uint64(h)*0x9e3779b97f4a7c15>>32) & mask
	for w.table[at] != 0 && w.list[w.table[at]-1].handle != h {
		at = (at + 1) & mask
	}
	return at
}

func (w *waiting) grow() {
	w.table = make([]uint32, max(firstWaitingTable, 2*len(w.table)))
	for i := range w.list {
		at := w.probe(w.list[i].handle)
		w.table[at], w.list[i].at = uint32(i+1), at
	}
}

// reset empties it, at a cost of what was in it and not of what was ever.
func (w *waiting) reset() {
	for i := range w.list {
		w.table[w.list[i].at] = 0
	}
	w.list, w.sums = w.list[:0], w.sums[:0]
}

// Arrived adds one point that has no time. It gets one at Commit. kindOf is asked
// for resets of a counter within the request; it is the caller's best guess.
func (r *Request) Arrived(h Handle, kindOf func() series.Kind, value float64) {
	r.points++
	w := &r.waiting
	entry, isNew := w.find(h)
	if isNew {
		entry.value = value
		return
	}
	if entry.sum == alone {
		entry.sum = int32(len(w.sums))
		w.sums = append(w.sums, bucket.Of(0, entry.value))
	}
	sum := &w.sums[entry.sum]
	point := bucket.Of(sum.LastTime+1, value)
	sum.Merge(kindOf(), &point)
}

// stampArrivals gives what arrived its time, once.
func (r *Request) stampArrivals() {
	if len(r.waiting.list) == 0 {
		return
	}
	now := r.writer.now().UnixMilli()
	points := r.points
	for _, entry := range r.waiting.list {
		at := r.writer.arrivals.next(r.arrivalSlot(entry.handle), now)
		if entry.sum == alone {
			r.Point(entry.handle, at, entry.value)
			continue
		}
		sum := &r.waiting.sums[entry.sum]
		sum.FirstTime, sum.LastTime = at, at
		r.Aggregate(entry.handle, sum)
	}
	r.waiting.reset()
	r.points = points // they are counted already
}

// arrivalSlot is the same before and after a series gets its id.
func (r *Request) arrivalSlot(h Handle) uint64 {
	if h.isFresh() {
		return r.members[h&^freshHandle].hash % arrivalSlots
	}
	return uint64(h >> slotAt)
}
