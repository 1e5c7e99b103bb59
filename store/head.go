package store

import (
	"math"

	"carillon/bucket"
)

// head holds the buckets that are in no file yet: for each series an
// append-only chain of chunks, in log order. A sample, by far the most common
// bucket, takes 16 bytes; the others stand aside as whole buckets. Nothing in it
// is a pointer to a single series, so the collector has nothing to scan.
//
// One goroutine appends. Others may read at the same time, without a lock, through
// a copy of the arena and of the chains they need: what is once written is never
// changed, and a chain says how many entries there were when it was copied, so
// that nobody looks at a place that is still to be written.
type head struct {
	arena
	chains []chain // by series number
	chunks uint32  // in use; chunk 0 stays empty so that 0 can mean none
	count  int     // entries
}

// arena is where the entries lie. A copy of it reads what was there when the
// copy was made.
type arena struct {
	slabs  [][]chunk // slabChunks each
	wholes []bucket.Bucket
}

type chain struct{ first, last, count uint32 } // chunks; entries

const (
	chunkEntries = 7    // a chunk is 120 bytes
	slabChunks   = 1024 // a slab is 120 KB
	chunkBytes   = 120
	chainBytes   = 12
	bucketBytes  = 88
)

type chunk struct {
	entries [chunkEntries]entry
	next    uint32
}

// entry is a sample or a staleness marker as bucket.Of takes it; or, where the
// time is wholeTime, the index in wholes as the bits of the value.
type entry struct {
	time  int64
	value float64
}

const wholeTime = math.MinInt64

func newHead() *head {
	return &head{arena: arena{slabs: [][]chunk{make([]chunk, slabChunks)}}, chunks: 1}
}

func (h *head) add(number uint32, b *bucket.Bucket) {
	for int(number) >= len(h.chains) {
		h.chains = append(h.chains, chain{})
	}
	c := &h.chains[number]
	slot := c.count % chunkEntries
	if slot == 0 {
		next := h.newChunk()
		if c.first == 0 {
			c.first = next
		} else {
			h.chunk(c.last).next = next
		}
		c.last = next
	}
	h.chunk(c.last).entries[slot] = h.entry(b)
	c.count++
	h.count++
}

func (h *head) newChunk() uint32 {
	n := h.chunks
	if int(n/slabChunks) == len(h.slabs) {
		h.slabs = append(h.slabs, make([]chunk, slabChunks))
	}
	h.chunks++
	return n
}

func (h *head) entry(b *bucket.Bucket) entry {
	if isSample(b) {
		return entry{b.LastTime, b.Last}
	}
	if isMarker(b) {
		return entry{b.StaleTime, math.Float64frombits(bucket.StaleNaN)}
	}
	h.wholes = append(h.wholes, *b)
	return entry{wholeTime, math.Float64frombits(uint64(len(h.wholes) - 1))}
}

// isSample tells whether bucket.Of gives back b to the bit.
func isSample(b *bucket.Bucket) bool {
	bits := math.Float64bits(b.Last)
	return b.Count == 1 && b.StaleTime == 0 && b.FirstTime == b.LastTime && b.LastTime != wholeTime &&
		bits != bucket.StaleNaN && bits == math.Float64bits(b.First) && bits == math.Float64bits(b.Sum) &&
		bits == math.Float64bits(b.Min) && bits == math.Float64bits(b.Max) &&
		math.Float64bits(b.M2) == 0 && math.Float64bits(b.Resets) == 0
}

func isMarker(b *bucket.Bucket) bool {
	return b.StaleTime != wholeTime && *b == bucket.Bucket{FirstTime: b.StaleTime, LastTime: b.StaleTime, StaleTime: b.StaleTime}
}

func (a *arena) chunk(n uint32) *chunk { return &a.slabs[n/slabChunks][n%slabChunks] }

// read appends the chain's buckets in log order.
func (a *arena) read(c chain, dst []bucket.Bucket) []bucket.Bucket {
	at := c.first
	for left := c.count; left > 0; {
		chunk := a.chunk(at)
		n := min(left, chunkEntries)
		for _, e := range chunk.entries[:n] {
			if e.time == wholeTime {
				dst = append(dst, a.wholes[math.Float64bits(e.value)])
			} else {
				dst = append(dst, bucket.Of(e.time, e.value))
			}
		}
		if left -= n; left > 0 {
			at = chunk.next
		}
	}
	return dst
}

// chain is where the buckets of a series are; without any its count is 0.
func (h *head) chain(number uint32) chain {
	if h == nil || int(number) >= len(h.chains) {
		return chain{}
	}
	return h.chains[number]
}

// next is the first series from number on that has buckets.
func (h *head) next(number uint32) (uint32, bool) {
	if h == nil {
		return 0, false
	}
	for n := int(number); n < len(h.chains); n++ {
		if h.chains[n].count > 0 {
			return uint32(n), true
		}
	}
	return 0, false
}

// bytes estimates the memory the head takes.
func (h *head) bytes() int64 {
	if h == nil {
		return 0
	}
	return int64(len(h.slabs))*slabChunks*chunkBytes + int64(cap(h.chains))*chainBytes + int64(cap(h.wholes))*bucketBytes
}
