// Package cuckoo is a fixed-size hash table from 128-bit fingerprints to 64-bit
// values, over memory that its caller supplies. Names, ids or any bytes come in
// as a Key, values go out, at one or two cache lines a look-up and without a lock;
// a table is used either as a map (Insert, which may say "full") or as a cache
// (Put, which evicts). The directory's caches, the road from a series key to its
// id and the index of the kernel cache are all this table.
//
// docs/cuckoo.md has the picture, the layout and the figures.
package cuckoo

import (
	"errors"
	"fmt"
	"math/bits"
	"sync/atomic"
	"unsafe"
)

// Bounds of a table's size. A table has 1<<Bits slots.
const (
	MinBits = 4  // two partitions of one bucket of eight
	MaxBits = 32 // group numbers fit 32 bits, and no index bit is a tag bit
)

// The memory is a preamble, the header of every group, the slots of every group.
const (
	preambleWords = 8 // one cache line
	groupSlots    = 4 // slots under one header
	slotWords     = 3 // Key.Hi, Key.Lo, value

	magic = 0x31_6f6f6b637563_43 // "Ccuckoo1" as it lies in little-endian memory
)

var (
	// ErrFull is Insert's answer when no chain of moves leads to an empty slot.
	ErrFull = errors.New("cuckoo: table is full")
	// ErrConfig is wrapped by the errors of New and Words about sizes.
	ErrConfig = errors.New("cuckoo: bad configuration")
	// ErrForeign is New's answer to memory that is neither zero nor an equal table.
	ErrForeign = errors.New("cuckoo: memory holds something else")
)

// Key is the 128-bit seeded fingerprint of what is looked up. All its bits are
// stored and compared. Keys of one table mean nothing to another with another seed.
//
// Two names of one table share a Key with probability 2^-128; with n names in it,
// a look-up of a name that is absent is answered with another's value with
// probability n·2^-128. At 2^32 entries and 10^9 look-ups a second that is one
// wrong answer in about 2.5·10^12 years, far below undetected memory errors, which
// is why the comparison counts as exact. It holds for names that were not chosen
// by someone who knows the seed: the hash is no cryptographic one.
type Key struct{ Hi, Lo uint64 }

// Config is the shape of a table. Tables of equal Config read each other's memory.
type Config struct {
	Bits  int    // log2 of the number of slots, MinBits to MaxBits
	Slots int    // slots a bucket: 4, or 8 for a fuller table and slower misses
	Seed  uint64 // of the fingerprints; random where names come from outside
}

// Table is the cuckoo hash table.
//
// Any number of goroutines may call Key*, Get, GetBatch, Len, Stats and All at any
// time. Insert, Put, Delete and Clear are writers: the caller serialises them, one
// at a time. Readers never wait for a writer, not even for one that was stopped
// halfway, and write nothing but the "referenced" bit of an entry they hit, when it
// is clear, and the statistics.
//
// # Why no key is missed
//
// A key has two buckets, one in each partition, chosen by the low bits of Hi and
// of Lo. Each group of four slots has one header word: a tag byte a slot (0 is
// empty), a referenced bit a slot, and a version that counts the changes.
//
//  1. A slot's key words change only while its tag is 0. So whoever reads a header,
//     then a slot it shows as taken, then the header again with the same version,
//     has read one entry whole. A value alone may change in place: it is one word.
//  2. A key that moves is written to its other bucket and shown there before it is
//     taken away here: at times it is in two places, never in none. While it is in
//     two places nothing else changes, so both copies have the same value.
//  3. A reader may still look at the target before the move and at the source after
//     it. Therefore absence is believed only if the versions of both buckets are
//     afterwards what they were before: then there was a moment, between the two
//     readings, at which the key was in neither.
//
// What would break it: changing key words of a shown slot, showing a moved key late,
// or a version of 28 bits that comes around to the same number while one reader is
// stopped between two loads (2^28 changes of one bucket's keys, many seconds of
// nothing else).
type Table struct {
	headers []uint64 // a word a group; shared, by atomic access only
	slots   []slot   // shared, by atomic access only
	mask    uint64   // bits of Hi and Lo that number the first group of a bucket
	half    uint64   // number of groups in a partition: where the second one starts
	wide    bool     // buckets of two groups, which is 8 slots
	flips   flips    // of the fingerprints
	config  Config

	search  search  // the writer's
	written written // written by the writer, read by Stats
	tally   tally   // written by readers, on cache lines of its own
}

// slot is Key.Hi, Key.Lo and the value.
type slot [slotWords]uint64

// Words is the memory that a table needs, in 8-byte words: 26 bytes a slot and a
// line. The error wraps ErrConfig.
func Words(c Config) (int, error) {
	if c.Bits < MinBits || c.Bits > MaxBits {
		return 0, fmt.Errorf("%w: bits is %d, not %d to %d", ErrConfig, c.Bits, MinBits, MaxBits)
	}
	if c.Slots != groupSlots && c.Slots != 2*groupSlots {
		return 0, fmt.Errorf("%w: slots is %d, not 4 or 8", ErrConfig, c.Slots)
	}
	groups := 1 << c.Bits / groupSlots
	return preambleWords + groups*(1+groupSlots*slotWords), nil
}

// New makes a table over memory, which it keeps. Zero memory is an empty table;
// memory of a table of equal Config, also one whose writer was killed, is that
// table with its entries; nobody may be writing to it meanwhile. The memory is fastest
// when aligned to 64 bytes.
// The errors wrap ErrConfig or ErrForeign.
func New(memory []uint64, c Config) (*Table, error) {
	words, err := Words(c)
	if err != nil {
		return nil, err
	}
	if len(memory) < words {
		return nil, fmt.Errorf("%w: %d words of memory, %d needed", ErrConfig, len(memory), words)
	}
	groups := uint64(1) << c.Bits / groupSlots
	t := &Table{
		headers: memory[preambleWords : preambleWords+groups],
		slots:   unsafe.Slice((*slot)(memory[preambleWords+groups:]), groups*groupSlots),
		half:    groups / 2,
		mask:    groups/2 - 1,
		wide:    c.Slots == 2*groupSlots,
		flips:   newFlips(c.Seed),
		config:  c,
	}
	if t.wide {
		t.mask &^= 1
	}
	t.search = newSearch(int(groups) * groupSlots / c.Slots)
	switch preamble := [3]uint64(memory); preamble {
	case [3]uint64{}:
		memory[1], memory[2] = c.shape(), c.Seed
		atomic.StoreUint64(&memory[0], magic)
	case [3]uint64{magic, c.shape(), c.Seed}:
		t.recover()
	default:
		return nil, fmt.Errorf("%w than a table of %d bits, %d slots and this seed", ErrForeign, c.Bits, c.Slots)
	}
	return t, nil
}

func (c Config) shape() uint64 { return uint64(c.Slots)<<8 | uint64(c.Bits) }

// buckets are the numbers of the first group of both buckets of k.
func (t *Table) buckets(k Key) (first, second uint64) {
	return k.Hi & t.mask, t.half | k.Lo&t.mask
}

// Header of a group, from the lowest bit: four tags of 8 bits, four referenced
// bits, 28 bits of version.
const (
	tagBits      = 8
	referencedAt = groupSlots * tagBits
	allTags      = uint64(1)<<referencedAt - 1
	referenced   = uint64(1<<groupSlots-1) << referencedAt
	versionAt    = referencedAt + groupSlots
	oneVersion   = uint64(1) << versionAt
	versions     = ^(oneVersion - 1)

	eachByte = 0x0101010101010101
	highBits = 0x80 * eachByte
)

// tag is 2 to 255, from the bits of the key that no index uses. 0 is an empty slot,
// and 1 would make an empty slot look taken: see zeroBytes.
func (k Key) tag() uint64 { return max(k.Hi>>(64-tagBits), 2) }

// zeroBytes has the high bit of every byte of x that is zero. It may also have
// that of a byte of 1 above a zero byte; the lowest bit set is always right. Where
// tags are compared, such a byte is the tag next to the one looked for, by its
// lowest bit: another key's, as no key's tag is next to that of an empty slot.
func zeroBytes(x uint64) uint64 { return (x - eachByte) &^ x & highBits }

// place is the number of a slot in the table; its group is place/groupSlots.
type place uint64

func (p place) group() uint64  { return uint64(p) / groupSlots }
func (p place) tagAt() uint64  { return uint64(p) % groupSlots * tagBits }
func (p place) refBit() uint64 { return 1 << (referencedAt + uint64(p)%groupSlots) }

func (t *Table) header(group uint64) uint64 { return atomic.LoadUint64(&t.headers[group]) }

// headerAt and slotAt are for the numbers that buckets and choose make, which mask
// and half keep inside the memory whatever the key: Peek needs no check of bounds.
func (t *Table) headerAt(group uint64) *uint64 {
	return (*uint64)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(t.headers)), group*8))
}

func (t *Table) slotAt(p place) *slot {
	return (*slot)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(t.slots)), uint64(p)*slotWords*8))
}

// keyAt is the key in a slot. Only for the writer, which knows that nobody changes it.
func (t *Table) keyAt(p place) Key {
	s := &t.slots[p]
	return Key{atomic.LoadUint64(&s[0]), atomic.LoadUint64(&s[1])}
}

// otherBucket is the bucket that the entry in p may move to.
func (t *Table) otherBucket(p place) uint64 {
	first, second := t.buckets(t.keyAt(p))
	if p.group() < t.half {
		return second
	}
	return first
}

// emptySlot is an empty slot of a bucket.
func (t *Table) emptySlot(bucket uint64) (place, bool) {
	tags := t.tags(bucket)
	if empty := zeroBytes(tags); empty != 0 {
		return place(bucket*groupSlots) + place(bits.TrailingZeros64(empty)/tagBits), true
	}
	return 0, false
}

// tags are those of a bucket, a byte a slot; what lies beyond a bucket of four
// reads as taken.
func (t *Table) tags(bucket uint64) uint64 {
	if t.wide {
		return t.header(bucket)&allTags | t.header(bucket+1)<<referencedAt
	}
	return t.header(bucket)&allTags | ^allTags
}
