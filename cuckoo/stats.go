package cuckoo

import (
	"iter"
	"sync/atomic"
	"unsafe"
)

// chainBins is the bins of Stats.Chains; the last one takes all longer chains.
const chainBins = 16

// Stats is what a table holds and what was done with it since New.
type Stats struct {
	Lookups uint64 `json:"lookups"` // hits and misses together
	Hits    uint64 `json:"hits"`
	Misses  uint64 `json:"misses"`

	Inserts       uint64            `json:"inserts"`       // entries that came in new
	Replaced      uint64            `json:"replaced"`      // values set in place
	Refused       uint64            `json:"refused"`       // of Insert, ErrFull
	Evictions     uint64            `json:"evictions"`     // of Put, other keys' entries that left
	Invalidations uint64            `json:"invalidations"` // of Delete and Clear, entries that left
	Kicks         uint64            `json:"kicks"`         // entries moved to their other bucket to make room
	Chains        [chainBins]uint64 `json:"chains"`        // inserts by the number of entries moved for them

	Entries int     `json:"entries"` // entries now
	Slots   int     `json:"slots"`   // entries at most
	Load    float64 `json:"load"`    // Entries/Slots
	Bytes   int     `json:"bytes"`   // of the memory
}

// tallyStripes is a power of two, and several times the cores of a machine.
const tallyStripes = 64

// tally counts look-ups exactly. Counters that all cores wrote would cost many
// times the look-up, so there are many, each on a cache line of its own, and a
// goroutine writes those of its stripe.
type tally struct {
	_       [64]byte
	stripes [tallyStripes]stripe
}

type stripe struct {
	hits, misses atomic.Uint64
	_            [48]byte
}

// stripe is picked by the address of the goroutine's stack: the one thing at hand
// that differs between goroutines and stays with each. That two meet in a stripe,
// or that a stack moves, costs time only.
func (t *tally) stripe() *stripe {
	var here byte
	at := uint64(uintptr(unsafe.Pointer(&here))) >> 11 // the smallest stack has 2 KiB
	return &t.stripes[at*0x9e3779b97f4a7c15>>(64-6)%tallyStripes]
}

func (t *tally) count(hit bool) {
	if s := t.stripe(); hit {
		s.hits.Add(1)
	} else {
		s.misses.Add(1)
	}
}

func (t *tally) add(hits, misses int) {
	s := t.stripe()
	s.hits.Add(uint64(hits))
	s.misses.Add(uint64(misses))
}

func (t *tally) sum() (hits, misses uint64) {
	for i := range t.stripes {
		hits += t.stripes[i].hits.Load()
		misses += t.stripes[i].misses.Load()
	}
	return hits, misses
}

// written are counters that the writer writes.
type written struct {
	entries       atomic.Int64
	replaced      atomic.Uint64
	refused       atomic.Uint64
	evictions     atomic.Uint64
	invalidations atomic.Uint64
	kicks         atomic.Uint64
	chains        [chainBins]atomic.Uint64
}

func (w *written) inserted(moves int) {
	w.entries.Add(1)
	w.chains[min(moves, chainBins-1)].Add(1)
	if moves > 0 {
		w.kicks.Add(uint64(moves))
	}
}

// Len is the number of entries.
func (t *Table) Len() int { return int(t.written.entries.Load()) }

// Stats may be called at any time; its counters are read one after the other.
func (t *Table) Stats() Stats {
	w := &t.written
	s := Stats{
		Replaced:      w.replaced.Load(),
		Refused:       w.refused.Load(),
		Evictions:     w.evictions.Load(),
		Invalidations: w.invalidations.Load(),
		Kicks:         w.kicks.Load(),
		Entries:       t.Len(),
		Slots:         1 << t.config.Bits,
		Bytes:         8 * (preambleWords + len(t.headers) + slotWords*len(t.slots)),
	}
	for i := range w.chains {
		n := w.chains[i].Load()
		s.Chains[i] = n
		s.Inserts += n
	}
	s.Hits, s.Misses = t.tally.sum()
	s.Lookups = s.Hits + s.Misses
	s.Load = float64(s.Entries) / float64(s.Slots)
	return s
}

// All yields every entry, in the order of the memory. Beside a writer each entry
// is one that was there; one that moves meanwhile may come twice or not at all.
// The caller who needs an exact dump keeps writers away.
func (t *Table) All() iter.Seq2[Key, uint64] {
	return func(yield func(Key, uint64) bool) {
		for p := range place(len(t.slots)) {
			if k, value, ok := t.entry(p); ok && !yield(k, value) {
				return
			}
		}
	}
}

// entry is what a slot holds, read whole.
func (t *Table) entry(p place) (k Key, value uint64, ok bool) {
	for {
		h := t.header(p.group())
		if h>>p.tagAt()&0xff == 0 {
			return Key{}, 0, false
		}
		k, value = t.keyAt(p), atomic.LoadUint64(&t.slots[p][2])
		if (t.header(p.group())^h)&versions == 0 {
			return k, value, true
		}
	}
}

// recover counts the entries of memory that was a table's. A writer that was
// killed may have left a key in two places, and damaged memory an entry where
// nobody looks for it; such entries are taken out.
func (t *Table) recover() {
	for p := range place(len(t.slots)) {
		k, _, ok := t.entry(p)
		if !ok {
			continue
		}
		if at, found := t.locate(k); !found || at != p {
			t.remove(p)
			continue
		}
		t.written.entries.Add(1)
	}
}
