package cuckoo

import (
	"math/bits"
	"sync/atomic"
)

// Insert sets the value of k, which may be new or not. If no chain of moves leads
// to an empty slot it answers ErrFull and holds what it held. A new entry counts as
// referenced, so that a reader of a map has nothing to write.
func (t *Table) Insert(k Key, value uint64) error {
	if p, ok := t.locate(k); ok {
		t.replace(p, value)
		return nil
	}
	p, moves, ok := t.room(k, maxInsertSearch)
	if !ok {
		t.written.refused.Add(1)
		return ErrFull
	}
	t.show(p, k, value, p.refBit())
	t.written.inserted(moves)
	return nil
}

// Put sets the value of k, as a cache does: there is always room. The value that
// left for it, if any, is evicted: the old one of k, or that of another entry that
// was not read lately.
func (t *Table) Put(k Key, value uint64) (evicted uint64, didEvict bool) {
	if p, ok := t.locate(k); ok {
		return t.replace(p, value), true
	}
	limit := maxPutSearch
	if t.crowded() {
		limit = 2 // its own buckets
	}
	p, moves, ok := t.room(k, limit)
	if !ok {
		p, moves, evicted, didEvict = t.evict(k)
		if didEvict {
			t.written.evictions.Add(1)
			t.written.entries.Add(-1)
		}
	}
	t.show(p, k, value, 0)
	t.written.inserted(moves)
	return evicted, didEvict
}

// Delete takes k out; value is what it had.
func (t *Table) Delete(k Key) (value uint64, ok bool) {
	p, ok := t.locate(k)
	if !ok {
		return 0, false
	}
	value = t.remove(p)
	t.written.entries.Add(-1)
	t.written.invalidations.Add(1)
	return value, true
}

// Clear takes all entries out. Readers meanwhile find some and not others.
func (t *Table) Clear() {
	for g := range t.headers {
		t.change(uint64(g), 1<<versionAt-1, 0)
	}
	t.written.invalidations.Add(uint64(t.written.entries.Swap(0)))
}

// crowded tells that so few slots are empty that looking for one far away would
// cost more than the entry that is saved: above 31/32 of all.
func (t *Table) crowded() bool {
	return t.Len() >= 1<<t.config.Bits/32*31
}

// locate is where k is. Only for the writer.
func (t *Table) locate(k Key) (place, bool) {
	first, second := t.buckets(k)
	for i := uint64(0); i < uint64(t.config.Slots)/groupSlots; i++ {
		g0, g1 := first+i, second+i
		for m := matches(t.header(g0), t.header(g1), k); m != 0; m &= m - 1 {
			if p, _ := choose(bits.TrailingZeros64(m), g0, g1, 0, 0); t.keyAt(p) == k {
				return p, true
			}
		}
	}
	return 0, false
}

// replace changes a value in place, which needs no new version: it is one word,
// and the slot stays the same key's.
func (t *Table) replace(p place, value uint64) (old uint64) {
	t.written.replaced.Add(1)
	return atomic.SwapUint64(&t.slots[p][2], value)
}

// show writes an entry into an empty slot and then makes it visible.
func (t *Table) show(p place, k Key, value, refBit uint64) {
	s := &t.slots[p]
	atomic.StoreUint64(&s[0], k.Hi)
	atomic.StoreUint64(&s[1], k.Lo)
	atomic.StoreUint64(&s[2], value)
	t.change(p.group(), p.refBit(), k.tag()<<p.tagAt()|refBit)
}

// remove makes a slot empty and returns its value. Its words stay for the readers
// that are just there.
func (t *Table) remove(p place) (value uint64) {
	value = atomic.LoadUint64(&t.slots[p][2])
	t.change(p.group(), 0xff<<p.tagAt()|p.refBit(), 0)
	return value
}

// move copies an entry into an empty slot, with its referenced bit, and then takes
// it away where it was.
func (t *Table) move(from, to place) {
	refBit := uint64(0)
	if t.header(from.group())&from.refBit() != 0 {
		refBit = to.refBit()
	}
	t.show(to, t.keyAt(from), atomic.LoadUint64(&t.slots[from][2]), refBit)
	t.remove(from)
}

// change clears and sets bits of a header and counts its version up. Readers may
// set referenced bits at the same time.
func (t *Table) change(group, clear, set uint64) {
	for {
		old := t.header(group)
		if atomic.CompareAndSwapUint64(&t.headers[group], old, (old&^clear|set)+oneVersion) {
			return
		}
	}
}

// colder is the bucket that has an entry that was not read lately.
func (t *Table) colder(first, second uint64) uint64 {
	if t.cold(first) == 0 && t.cold(second) != 0 {
		return second
	}
	return first
}

// cold has a bit for each slot of a bucket that was not referenced.
func (t *Table) cold(bucket uint64) uint64 {
	const each = 1<<groupSlots - 1
	cold := ^t.header(bucket) >> referencedAt & each
	if t.wide {
		cold |= (^t.header(bucket+1) >> referencedAt & each) << groupSlots
	}
	return cold
}

// victim is what CLOCK takes of a full bucket: the first slot from the hand on
// that was not referenced. If all were, all bits are cleared, and the entry under
// the hand is it, though not cold. The version serves as the hand, as every
// exchange of an entry moves it on by two.
func (t *Table) victim(bucket uint64) (p place, cold bool) {
	slots := t.config.Slots
	hand := t.hand(bucket)
	free := t.cold(bucket)
	if free == 0 {
		for g := bucket; g < bucket+uint64(slots/groupSlots); g++ {
			atomic.AndUint64(&t.headers[g], ^referenced)
		}
		return place(bucket*groupSlots) + place(hand), false
	}
	twice := (free | free<<slots) >> hand // the slots in the hand's order, from bit 0
	slot := (hand + bits.TrailingZeros64(twice)) % slots
	return place(bucket*groupSlots) + place(slot), true
}

// hand is the slot where CLOCK starts: the versions serve, as every exchange of an
// entry counts them on by two.
func (t *Table) hand(bucket uint64) int {
	changes := t.header(bucket) >> versionAt
	if t.wide {
		changes = t.changes(bucket)
	}
	return int(changes/2) % t.config.Slots
}
