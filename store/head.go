package store

import (
	"math"
	"slices"
	"sync/atomic"

	"carillon/bucket"
	"carillon/slab"
)

// head holds the buckets that are in no file yet: for each series an append-only
// chain of entries, in log order. A sample, by far the most common bucket, takes
// two to four bytes of a chain's 64; the others stand aside as whole buckets. All
// of it lies outside the collector's heap.
//
// One goroutine appends. Others may read at the same time, without a lock, through
// a copy of the arena and of the chains they need. The copies are made by the
// goroutine that appends, so they are whole; the arena's copy leads to chunks and
// whole buckets which nobody changes any more, for a chunk is filled in one step,
// before a chain refers to it, and no row of the arena is given out twice. What is
// appended later goes to rows and fields that the copies do not lead to.
//
// The memory goes back when the last one who holds the head releases it: the store
// until the seal is committed, and every View that may look into it until it is
// closed. Reading after that ends the process, which is why holds are counted and
// the count must never be wrong.
type head struct {
	arena
	chains  slab.Table[chain] // by series number
	series  int               // chains in use
	chunks  uint32            // in use; chunk 0 stays empty so that 0 can mean none
	wholes  uint32            // in use
	count   int               // entries
	touched uint8             // keeps the compiler from leaving out what touch does
	holders atomic.Int32
}

// arena is where the entries lie that are not in chains. A copy of it reads what
// was there when the copy was made.
type arena struct {
	chunkRows slab.Table[chunk]
	wholeRows slab.Table[bucket.Bucket]
}

// newHead is an empty head, held once.
func newHead() *head {
	h := &head{chunks: 1}
	return h.hold()
}

// hold keeps the head's memory until release. A nil head has none.
func (h *head) hold() *head {
	if h != nil {
		h.holders.Add(1)
	}
	return h
}

func (h *head) release() {
	if h == nil {
		return
	}
	switch left := h.holders.Add(-1); {
	case left < 0:
		panic("store: a head was released more often than held")
	case left == 0:
		h.chains.Free()
		h.chunkRows.Free()
		h.wholeRows.Free()
	}
}

// addSamples appends buckets of one sample, or of one staleness marker, each.
func (h *head) addSamples(numbers []uint32, times []int64, values []float64) {
	times, values = times[:len(numbers)], values[:len(numbers)]
	for len(numbers) > 0 {
		n := min(len(numbers), touchAhead)
		h.touch(numbers[:n])
		for i, number := range numbers[:n] {
			h.addSample(h.chains.At(number), times[i], math.Float64bits(values[i]))
		}
		numbers, times, values = numbers[n:], times[n:], values[n:]
	}
}

// touch makes some series have chains and reads from them, for no other reason than
// to have them in the cache: reads that do not depend on each other overlap.
func (h *head) touch(numbers []uint32) {
	if last := slices.Max(numbers); int(last) >= h.series {
		h.extend(last)
	}
	var sum uint8
	for _, number := range numbers {
		sum += h.chains.At(number).used
	}
	h.touched += sum
}

// fetch reads the trails of some series from number on, for no other reason than to have
// them in the cache: one trail is one miss after the other, but those of several series
// overlap. It returns the series behind them.
func (h *head) fetch(number uint32) (behind uint32) {
	var at [touchAhead]uint32
	behind = number + touchAhead
	if h.chunks == 1 {
		return behind
	}
	for i := range min(touchAhead, max(h.series-int(number), 0)) {
		at[i] = h.chains.At(number + uint32(i)).tail
	}
	for more := uint32(1); more != 0; {
		more = 0
		for i, chunk := range at {
			at[i] = h.chunkRows.At(chunk).before // of chunk 0, that is 0
			more |= at[i]
		}
	}
	return behind
}

// extend makes a series have a chain.
func (h *head) extend(number uint32) {
	h.series = int(number) + 1
	h.chains.Grow(h.series)
}

func (h *head) addSample(c *chain, time int64, value uint64) {
	upper, timeField := c.compareTime(time)
	control, valueField := field{0, 1}, field{}
	if value != c.value {
		control, valueField = c.compareValue(value)
	}
	control.word |= upper << (8*control.n - 8)
	if value == bucket.StaleNaN {
		c.flags |= notPlain
	}
	h.append(c, control, timeField, valueField)
}

// spill moves a chain's entries to a chunk.
func (h *head) spill(c *chain) {
	number := h.chunks
	h.chunks++
	if int(number) >= h.chunkRows.Len() {
		h.chunkRows.Grow(int(h.chunks))
	}
	row := h.chunkRows.At(number)
	row.before, row.used, row.data = c.tail, c.used, c.data
	c.tail, c.used = number, 0
	c.flags &^= noScale
}

func (h *head) add(number uint32, b *bucket.Bucket) {
	if int(number) >= h.series {
		h.extend(number)
	}
	c := h.chains.At(number)
	switch {
	case isSample(b):
		h.addSample(c, b.LastTime, math.Float64bits(b.Last))
	case isMarker(b):
		h.addSample(c, b.StaleTime, bucket.StaleNaN)
	default:
		h.addWhole(c, b)
	}
}

func (h *head) addWhole(c *chain, b *bucket.Bucket) {
	number := h.wholes
	h.wholes++
	h.wholeRows.Grow(int(h.wholes))
	*h.wholeRows.At(number) = *b
	c.flags |= notPlain
	h.append(c, field{valueWhole, 1}, field{}, field{uint64(number), wholeBytes})
}

func (h *head) append(c *chain, control, time, value field) {
	if uint64(c.used)+control.n+time.n+value.n > chainBytes {
		h.spill(c)
	}
	c.append(control, time, value)
	h.count++
}

// shortTrail is how many pieces of a chain are read without allocating: more than a
// thousand samples that change little, a hundred of any kind.
const shortTrail = 64

// trail lists the pieces of a chain, newest first: 0 is the chain itself, others
// are chunks.
func (a *arena) trail(c *chain, dst []uint32) []uint32 {
	dst = append(dst, 0)
	for at := c.tail; at != 0; at = a.chunkRows.At(at).before {
		dst = append(dst, at)
	}
	return dst
}

// load makes a decoder go on with a piece of a chain.
func (a *arena) load(d *decoder, c *chain, piece uint32) {
	if piece == 0 {
		d.load(&c.data, c.used)
		return
	}
	chunk := a.chunkRows.At(piece)
	d.load(&chunk.data, chunk.used)
}

// read appends the chain's buckets in log order.
func (a *arena) read(c chain, dst []bucket.Bucket) []bucket.Bucket {
	var short [shortTrail]uint32
	var d decoder
	trail := a.trail(&c, short[:0])
	for i := len(trail) - 1; i >= 0; i-- {
		a.load(&d, &c, trail[i])
		for d.more() {
			if number, isWhole := d.next(); isWhole {
				dst = append(dst, *a.wholeRows.At(number))
			} else {
				dst = append(dst, bucket.Of(d.time, math.Float64frombits(d.value)))
			}
		}
	}
	return dst
}

// samples appends the chain's samples in log order, if there is nothing else in
// it: otherwise it reports false, and nothing is appended.
func (a *arena) samples(c chain, times []int64, values []float64) ([]int64, []float64, bool) {
	if c.flags&notPlain != 0 {
		return times, values, false
	}
	var short [shortTrail]uint32
	var d decoder
	trail := a.trail(&c, short[:0])
	for i := len(trail) - 1; i >= 0; i-- {
		a.load(&d, &c, trail[i])
		times, values = d.samples(times, values)
	}
	return times, values, true
}

// chain is where the buckets of a series are; without any its count is 0.
func (h *head) chain(number uint32) chain {
	if h == nil || int(number) >= h.series {
		return chain{}
	}
	return *h.chains.At(number)
}

// next is the first series from number on that has buckets.
func (h *head) next(number uint32) (uint32, bool) {
	if h == nil {
		return 0, false
	}
	for n := int(number); n < h.series; n++ {
		if h.chains.At(uint32(n)).count > 0 {
			return uint32(n), true
		}
	}
	return 0, false
}

// bytes is the memory the head takes.
func (h *head) bytes() int64 {
	if h == nil {
		return 0
	}
	return int64(h.series)*h.chains.RowBytes() + int64(h.chunks)*h.chunkRows.RowBytes() + int64(h.wholes)*h.wholeRows.RowBytes()
}
