package cache

import (
	"bytes"
	"sync/atomic"
)

// Shape of an index page: a cuckoo table of its own, whose buckets are cache lines of a
// version and seven slots.
const (
	bucketWords = 8
	bucketSlots = bucketWords - 1
	pageSlots   = pageWords / bucketWords * bucketSlots

	// maxSearch is the buckets that an insert looks at for room before the page is split.
	maxSearch = 256
)

// index finds chunks by hash. The table of package cuckoo keeps 128-bit fingerprints
// because it cannot see the keys; here they are in the chunks, so that a slot is one word:
// a third of the memory, a bucket is one line, and an entry changes by one store.
//
// # Who may do what
//
// Anybody finds. Whoever changes entries holds the lock of the shard, which is the top bits
// of the hash; an index page belongs to one shard.
//
// # Why no key is missed
//
// An entry that moves is stored at its new place before it leaves the old one, and
// before it leaves, the version of the bucket that it leaves is counted up; before a split
// takes entries out of a page, the directory leads elsewhere. So who found nothing, and
// then finds both versions and the directory's entry as they were before, did not look at
// the new place too early and at the old one too late.
type index struct {
	*region
	shift     uint64 // entry of the directory = hash >> shift
	shardBits int
}

type bucket = [bucketWords]uint64

func (x *index) entry(hash uint64) *uint64 { return &x.words[wordEntries+hash>>x.shift] }

func (x *index) bucket(page, b uint64) *bucket {
	at := page/8 + b*bucketWords
	return (*bucket)(x.words[at : at+bucketWords])
}

// find is the slot and the chunk of a key. The caller is in a read section or holds the shard's lock.
func (x *index) find(hash uint64, key []byte) (slot *uint64, chunk uint64, l lengths) {
	for {
		entry := x.entry(hash)
		page := atomic.LoadUint64(entry)
		b := firstBucket(hash)
		one := x.bucket(page, b)
		if slot, chunk, l = x.holds(one, hash, key); slot != nil {
			return slot, chunk, l // most are here; the line of the other bucket is not touched
		}
		two := x.bucket(page, otherBucket(b, hash))
		v1, v2 := atomic.LoadUint64(&one[0]), atomic.LoadUint64(&two[0])
		if slot, chunk, l = x.holds(one, hash, key); slot != nil {
			return slot, chunk, l
		}
		if slot, chunk, l = x.holds(two, hash, key); slot != nil {
			return slot, chunk, l
		}
		if atomic.LoadUint64(&one[0]) == v1 && atomic.LoadUint64(&two[0]) == v2 && atomic.LoadUint64(entry) == page {
			return nil, 0, 0
		}
	}
}

func (x *index) holds(b *bucket, hash uint64, key []byte) (slot *uint64, chunk uint64, l lengths) {
	for i := 1; i < bucketWords; i++ {
		word := atomic.LoadUint64(&b[i])
		if (word^hash)>>locatorBits != 0 || word == 0 {
			continue
		}
		chunk = word & locatorMask * 8
		if l = x.lengths(chunk); l.key() == len(key) && bytes.Equal(x.key(chunk, l), key) {
			return &b[i], chunk, l
		}
	}
	return nil, 0, 0
}

// slotOf is where an entry lies, nil if it is not there. The caller holds the lock.
func (x *index) slotOf(hash, chunk uint64) *uint64 {
	page := *x.entry(hash)
	word := slotWord(hash, chunk)
	b := firstBucket(hash)
	for _, b := range [2]uint64{b, otherBucket(b, hash)} {
		line := x.bucket(page, b)
		for i := 1; i < bucketWords; i++ {
			if line[i] == word {
				return &line[i]
			}
		}
	}
	return nil
}

func slotWord(hash, chunk uint64) uint64 { return hash&^locatorMask | chunk/8 }

// insert stores a new entry, unless the page is full. The caller holds the lock.
func (x *index) insert(hash, chunk uint64) bool {
	page, b := *x.entry(hash), firstBucket(hash)
	slot := emptySlot(x.bucket(page, b))
	if slot == nil {
		slot = emptySlot(x.bucket(page, otherBucket(b, hash)))
	}
	if slot == nil {
		slot = x.room(page, hash)
	}
	if slot == nil {
		return false
	}
	atomic.StoreUint64(slot, slotWord(hash, chunk))
	return true
}

// emptySlot is nil in a full bucket.
func emptySlot(line *bucket) *uint64 {
	for i := 1; i < bucketWords; i++ {
		if line[i] == 0 {
			return &line[i]
		}
	}
	return nil
}

// step is a bucket on the search for room: the entry in slot from of the parent's
// bucket could move here.
type step struct {
	bucket uint16
	parent int16 // -1 for the buckets of the new entry
	from   uint8
}

// room looks breadth first, so that the fewest entries move, for an empty slot that the
// buckets of hash lead to, and moves the hole back. nil if there is none near.
func (x *index) room(page, hash uint64) *uint64 {
	var steps [maxSearch]step
	var seen [1 << bucketBits / 64]uint64
	n := 0
	visit := func(b uint64, parent int, from int) {
		if n < maxSearch && seen[b/64]&(1<<(b%64)) == 0 {
			seen[b/64] |= 1 << (b % 64)
			steps[n] = step{uint16(b), int16(parent), uint8(from)}
			n++
		}
	}
	b := firstBucket(hash)
	visit(b, -1, 0)
	visit(otherBucket(b, hash), -1, 0)
	for i := 0; i < n; i++ {
		line := x.bucket(page, uint64(steps[i].bucket))
		if hole := emptySlot(line); hole != nil {
			return x.moveHole(page, steps[:n], i, hole)
		}
		if n == maxSearch {
			continue
		}
		for slot := 1; slot < bucketWords; slot++ {
			visit(otherBucket(uint64(steps[i].bucket), line[slot]), i, slot)
		}
	}
	return nil
}

// moveHole moves a hole in the bucket of step i back to a bucket of the new entry, by moving
// the entries on the way forward, the last one first.
func (x *index) moveHole(page uint64, steps []step, i int, hole *uint64) *uint64 {
	for s := steps[i]; s.parent >= 0; s = steps[s.parent] {
		line := x.bucket(page, uint64(steps[s.parent].bucket))
		atomic.StoreUint64(hole, line[s.from])
		atomic.AddUint64(&line[0], 1)
		atomic.StoreUint64(&line[s.from], 0)
		hole = &line[s.from]
	}
	return hole
}

// span is how many directory entries lead to the page of one, and the first of them.
func (x *index) span(entry uint64) (first, entries uint64) {
	page := x.load(wordEntries + entry)
	depth := x.shardBits
	for {
		entries = 1 << (64 - x.shift - uint64(depth))
		first = entry &^ (entries - 1)
		if entries == 1 || x.load(wordEntries+first) == page && x.load(wordEntries+first+entries-1) == page {
			return first, entries
		}
		depth++
	}
}

// split moves the upper half of the entries of a page to another page, which is clear,
// and tells how many. The caller holds the lock; span had more than one directory entry.
func (x *index) split(first, entries, fresh uint64) (moved int) {
	page := x.load(wordEntries + first)
	bit := entries / 2 << x.shift // of the hash, that tells the halves apart
	for b := range uint64(1 << bucketBits) {
		from, to := x.bucket(page, b), x.bucket(fresh, b)
		for i := 1; i < bucketWords; i++ {
			if from[i] != 0 && from[i]&bit != 0 {
				atomic.StoreUint64(&to[i], from[i])
				moved++
			}
		}
	}
	for e := first + entries/2; e < first+entries; e++ {
		x.store(wordEntries+e, fresh)
	}
	for b := range uint64(1 << bucketBits) {
		from := x.bucket(page, b)
		for i := 1; i < bucketWords; i++ {
			if from[i]&bit != 0 {
				atomic.StoreUint64(&from[i], 0)
			}
		}
	}
	return moved
}
