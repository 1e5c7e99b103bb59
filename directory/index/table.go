package index

import (
	"github.com/zeebo/xxh3"

	"carillon/slab"
)

// fingerprint stands for a text: 96 bits of a seeded hash. Nothing is compared but
// fingerprints, so two texts may be taken for one with the probability 2⁻⁹⁶: where ten
// million series are known and a billion keys a second are looked up, that is once in
// two hundred thousand years. Who does not know the seed cannot look for such texts.
type fingerprint struct {
	high uint64
	low  uint32
}

func fingerprintOf(hash xxh3.Uint128) fingerprint {
	return fingerprint{high: hash.Hi, low: uint32(hash.Lo)}
}

// table leads from fingerprints to numbers.
//
// It is one array of entries in ascending order of their high bits, with gaps: each
// entry stands at its home, which is these bits scaled to the size of the table, or as
// near behind it as the entries before it let it. So who looks for one reads on from
// its home until he meets a greater one or a gap, mostly within one or two cache lines;
// and the table grows in place, by one sweep in the order in which memory lies, a
// quarter at a time: an entry costs 20 to 25 bytes.
//
// Entries near the end overflow into spare ones, which take a hundred times more than
// random fingerprints bring. That is what the invariant needs: a seeded hash.
type table struct {
	entries slab.Table[entry]
	size    uint64 // homes; 0 at first
	used    uint64
}

type entry struct {
	high  uint64 // of the fingerprint, as is low: embedded it would take 8 bytes more
	low   uint32
	after uint32 // the number and one more; 0 is a gap
}

const (
	firstSize    = 512
	spareEntries = 1024
)

func (t *table) bytes() int64 { return int64(t.size) * t.entries.RowBytes() }

func (t *table) home(high uint64) uint32 { return uint32((high >> 32) * t.size >> 32) }

// find is the number of a fingerprint.
func (t *table) find(f fingerprint) (number uint32, ok bool) {
	if t.size == 0 {
		return 0, false
	}
	for i := t.home(f.high); ; i++ {
		e := t.entries.At(i)
		switch {
		case e.after == 0 || e.high > f.high:
			return 0, false
		case e.high == f.high && e.low == f.low:
			return e.after - 1, true
		}
	}
}

// insert adds a fingerprint that is not there. The number must be less than MaxSeries.
func (t *table) insert(f fingerprint, number uint32) {
	if t.used*5 >= t.size*4 {
		t.reserve(t.used + t.used/4)
	}
	t.used++
	i := t.home(f.high)
	for t.entries.At(i).after != 0 && t.entries.At(i).high < f.high {
		i++
	}
	for e := (entry{f.high, f.low, number + 1}); e.after != 0; i++ { // what stands here moves on by one, as does what stands there
		place := t.entries.At(i)
		*place, e = e, *place
	}
}

// reserve makes room for n entries, that is for some more. All entries are first pushed
// together at the end and then, in order, set out anew from the beginning. Setting out
// never catches up with what is still to be read: the entries left need no more places
// than there are.
func (t *table) reserve(n uint64) {
	size := max(n*5/4, firstSize)
	if size <= t.size {
		return
	}
	old := t.size + spareEntries
	if t.size == 0 {
		old = 0
	}
	end := size + spareEntries
	t.entries.Grow(int(end))
	from := end
	for i := old; i > 0; i-- {
		if e := t.entries.At(uint32(i - 1)); e.after != 0 {
			from--
			*e, *t.entries.At(uint32(from)) = entry{}, *e
		}
	}
	t.size = size
	to := uint32(0)
	for i := from; i < end; i++ {
		place := t.entries.At(uint32(i))
		e := *place
		*place = entry{}
		to = max(to, t.home(e.high))
		*t.entries.At(to) = e
		to++
	}
}
