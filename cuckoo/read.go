package cuckoo

import (
	"math/bits"
	"sync/atomic"
)

// batch is how many look-ups of GetBatch are under way at once: enough to keep open
// as many cache misses as a core can, and 6 KiB of first-level cache at most.
const batch = 32

// Get is the value of k. It takes no lock, allocates nothing and never misses a
// key that stays in the table while others come, go and move. It is done at once
// unless a writer changed one of the two buckets meanwhile; then it looks again.
func (t *Table) Get(k Key) (value uint64, ok bool) {
	value, ok = t.Peek(k)
	t.tally.count(ok)
	return value, ok
}

// Peek is Get for callers that count hits and misses themselves, or not at all.
// Counting is one atomic addition, which the core cannot overlap with the next
// look-up: 10 to 30 % of the time of a hit in a large table.
func (t *Table) Peek(k Key) (value uint64, ok bool) {
	if t.wide {
		g0, g1 := t.buckets(k)
		return t.find(k, g0, g1)
	}
	// What follows is probe for the usual case, flat: in a large table the time of
	// a look-up is how many of them fit into the core's window of instructions.
	g0, g1 := t.buckets(k)
	a, b := t.headerAt(g0), t.headerAt(g1)
	h0, h1 := atomic.LoadUint64(a), atomic.LoadUint64(b)
	if m := matches(h0, h1, k); m != 0 {
		p, h := choose(bits.TrailingZeros64(m), g0, g1, h0, h1)
		s := t.slotAt(p)
		value = atomic.LoadUint64(&s[2])
		if atomic.LoadUint64(&s[0]) == k.Hi && atomic.LoadUint64(&s[1]) == k.Lo {
			now := atomic.LoadUint64(t.headerAt(p.group()))
			if unchanged(h, now) && now&p.refBit() != 0 {
				return value, true
			}
		}
	} else if unchanged(h0, atomic.LoadUint64(a)) && unchanged(h1, atomic.LoadUint64(b)) {
		return 0, false
	}
	return t.find(k, g0, g1)
}

// find looks until it has an answer.
func (t *Table) find(k Key, g0, g1 uint64) (value uint64, ok bool) {
	for {
		var found outcome
		if t.wide {
			value, found = t.probeWide(k, g0, g1)
		} else {
			value, found = t.probe(k, g0, g1)
		}
		if found != changed {
			return value, found == present
		}
	}
}

// outcome is what probe found out.
type outcome int

const (
	absent  outcome = iota
	present         // and the value is right
	changed         // a writer was there meanwhile; look again
)

// probe looks for k in two groups.
func (t *Table) probe(k Key, g0, g1 uint64) (uint64, outcome) {
	h0, h1 := t.header(g0), t.header(g1)
	for m := matches(h0, h1, k); m != 0; m &= m - 1 {
		p, h := choose(bits.TrailingZeros64(m), g0, g1, h0, h1)
		if t.keyAt(p) != k {
			continue
		}
		value := atomic.LoadUint64(&t.slots[p][2])
		now := t.header(p.group())
		if !unchanged(h, now) {
			return 0, changed
		}
		if now&p.refBit() == 0 {
			atomic.OrUint64(&t.headers[p.group()], p.refBit())
		}
		return value, present
	}
	if !unchanged(h0, t.header(g0)) || !unchanged(h1, t.header(g1)) {
		return 0, changed
	}
	return 0, absent
}

// probeWide looks into both groups of both buckets. That each pair was unchanged
// while it was read does not suffice: the key may have moved from one pair to
// the other. Versions only grow, so that their sum tells whether any did.
func (t *Table) probeWide(k Key, first, second uint64) (value uint64, found outcome) {
	before := t.changes(first) + t.changes(second)
	for i := uint64(0); i < 2; i++ {
		if value, found = t.probe(k, first+i, second+i); found != absent {
			return value, found
		}
	}
	if t.changes(first)+t.changes(second) != before {
		return 0, changed
	}
	return 0, absent
}

// changes sums the versions of the two groups of a wide bucket.
func (t *Table) changes(bucket uint64) uint64 {
	return t.header(bucket)>>versionAt + t.header(bucket+1)>>versionAt
}

// unchanged tells that two readings of a header are of the same version.
func unchanged(before, after uint64) bool { return (before^after)&versions == 0 }

// matches has a high bit set in each byte whose tag may be that of k: four bytes
// for the slots under h0, four for those under h1.
func matches(h0, h1 uint64, k Key) uint64 {
	return zeroBytes((h0&allTags | h1<<referencedAt) ^ k.tag()*eachByte)
}

// choose is the slot that a bit of matches stands for, and the header it was under.
// Which of the two groups it is cannot be predicted, so it must not be a branch.
func choose(bit int, g0, g1, h0, h1 uint64) (place, uint64) {
	i := uint64(bit) / tagBits
	second := -(i / groupSlots) // all bits or none
	return place((g0^(g0^g1)&second)*groupSlots + i%groupSlots), h0 ^ (h0^h1)&second
}

// GetBatch looks keys[i] up into values[i] and found[i], which have at least the
// length of keys; values[i] is 0 where found[i] is false. The look-ups overlap: of a
// whole batch first the headers are read, then the likely slots, and only then is
// anything decided, so that the cache misses are open at the same time.
func (t *Table) GetBatch(keys []Key, values []uint64, found []bool) {
	hits, all := 0, len(keys)
	values, found = values[:all], found[:all]
	var likely [batch]candidate
	for len(keys) > 0 {
		n := min(len(keys), batch)
		t.touch(keys[:n], &likely)
		for i, k := range keys[:n] {
			values[i], found[i] = t.settle(k, &likely[i])
			if found[i] {
				hits++
			}
		}
		keys, values, found = keys[n:], values[n:], found[n:]
	}
	t.tally.add(hits, all-hits)
}

// candidate is where touch saw that a key may be.
type candidate struct {
	place  place  // meaningless if there is none
	header uint64 // of its group, as it was then
	none   uint64 // all bits if no tag matched, otherwise none
}

// touch brings into the cache what the look-up of up to a batch of keys will read.
// There is no branch on what was read, so that no load waits for another key's.
func (t *Table) touch(keys []Key, likely *[batch]candidate) {
	for _, k := range keys {
		g0, g1 := t.buckets(k)
		atomic.LoadUint64(t.headerAt(g0))
		atomic.LoadUint64(t.headerAt(g1))
	}
	for i, k := range keys {
		g0, g1 := t.buckets(k)
		h0, h1 := atomic.LoadUint64(t.headerAt(g0)), atomic.LoadUint64(t.headerAt(g1))
		m := matches(h0, h1, k)
		if t.wide { // where the first groups have nothing, the second ones
			next := ifZero(m)
			g0, g1 = g0-next, g1-next
			h0, h1 = atomic.LoadUint64(t.headerAt(g0)), atomic.LoadUint64(t.headerAt(g1))
			m = matches(h0, h1, k)
		}
		c := &likely[i%batch]
		c.none = ifZero(m)
		c.place, c.header = choose(bits.TrailingZeros64(m)&63, g0, g1, h0, h1)
		c.place &^= place(c.none) // nothing: slot 0, which is in the cache
	}
	// A loop of its own, of so few instructions that the core has many loads open.
	for i := range likely[:len(keys)] {
		s := t.slotAt(likely[i].place)
		atomic.LoadUint64(&s[0])
		atomic.LoadUint64(&s[2]) // a slot may lie on two lines
	}
}

// settle is Peek for a key with a candidate.
func (t *Table) settle(k Key, c *candidate) (value uint64, ok bool) {
	if c.none == 0 {
		s := t.slotAt(c.place)
		value = atomic.LoadUint64(&s[2])
		if atomic.LoadUint64(&s[0]) == k.Hi && atomic.LoadUint64(&s[1]) == k.Lo {
			now := atomic.LoadUint64(t.headerAt(c.place.group()))
			if unchanged(c.header, now) && now&c.place.refBit() != 0 {
				return value, true
			}
		}
	}
	return t.Peek(k)
}

// ifZero is all bits if x is 0, otherwise none.
func ifZero(x uint64) uint64 { return ^uint64(int64(x|-x) >> 63) }
