package location

import (
	"fmt"

	"carillon/cuckoo"
	"carillon/slab"
)

// largeShare: one large slot for so many entries of the table.
const (
	largeShare = 16
	minLarge   = 16
)

// positive is a cache of entries: a table from key to slot, and the slots, in two
// sizes. It is never larger than when it was made.
//
// Anyone may call find, and look into the table. All else is called with the space's lock held;
// the table's single writer is whoever holds it. A slot that the table does not
// name is free; a reader that found it a moment ago still reads it, and compares.
type positive struct {
	table *cuckoo.Table
	small arena
	large arena

	staleDrops uint64 // guarded by the space's lock, as are the next two
	squeezed   uint64 // entries dropped because all large slots were taken
	fills      uint64
}

// arena is slots of one size.
type arena struct {
	words  []uint64
	size   int          // words a slot
	used   uint32       // slots from here on were never used
	free   []uint32     // slots given back
	hand   uint32       // where the next victim is looked for
	owners []cuckoo.Key // by slot; only where victims are taken
}

// verdict is what a look into a cache says.
type verdict uint8

const (
	miss verdict = iota
	hit
	outdated // found, but a change touched it since
)

func newPositive(config cuckoo.Config) (*positive, error) {
	if config.Bits > maxPositiveBits {
		return nil, fmt.Errorf("%d bits of entries, want at most %d", config.Bits, maxPositiveBits)
	}
	table, err := newTable(config)
	if err != nil {
		return nil, err
	}
	entries := 1 << config.Bits
	large := max(entries/largeShare, minLarge)
	return &positive{
		table: table,
		// One more than the table has places: a fill takes its slot before it
		// learns which one the table lets go.
		small: arena{words: slab.Words((entries + 1) * smallWords), size: smallWords},
		large: arena{words: slab.Words(large * largeWords), size: largeWords, owners: make([]cuckoo.Key, large)},
	}, nil
}

func newTable(config cuckoo.Config) (*cuckoo.Table, error) {
	words, err := cuckoo.Words(config)
	if err != nil {
		return nil, err
	}
	return cuckoo.New(slab.Words(words), config)
}

func (p *positive) slot(v value) []uint64 {
	if v&isLarge != 0 {
		return p.large.slot(v.number())
	}
	return p.small.slot(v.number())
}

func (a *arena) slot(number uint32) []uint64 {
	return a.words[int(number)*a.size : (int(number)+1)*a.size]
}

// readTries is how often a reader looks again when a writer was at its slot.
const readTries = 4

// find copies the entry under the key into words.
func (p *positive) find(key cuckoo.Key, q query, words *[largeWords]uint64) verdict {
	for range readTries {
		word, ok := p.table.Get(key)
		switch v := value(word); {
		case !ok:
			return miss
		case v&isStale != 0:
			return outdated
		case read(p.slot(v), q, words):
			return hit
		}
	}
	return miss // a slot in that much use is worth no more waiting
}

// fill puts the record in, in place of an older one of the same key.
func (p *positive) fill(key cuckoo.Key, r *record) {
	p.fills++
	s := shape{name: r.name.n, sites: r.siteCount, owner: r.owner.n}
	large := s.words() > smallWords
	a := &p.small
	if large {
		a = &p.large
	}
	number, ok := a.take()
	if !ok {
		// Only large slots run out. The next in turn gives way.
		p.squeezed++
		p.drop(a.owners[a.hand])
		a.hand = (a.hand + 1) % uint32(len(a.owners))
		if number, ok = a.take(); !ok {
			panic("location: a large slot in use has no owner in the table")
		}
	}
	if large {
		a.owners[number] = key
	}
	write(a.slot(number), r)
	if gone, ok := p.table.Put(key, uint64(newValue(number, large, r.ids))); ok {
		p.give(value(gone))
	}
}

// touch marks what is cached under the key as out of date. The entry itself goes
// when a reader finds the mark.
func (p *positive) touch(key cuckoo.Key) {
	if word, ok := p.table.Peek(key); ok {
		p.table.Put(key, word|isStale) // in place, so nothing leaves
	}
}

// dropStale removes the entry under the key if it is still out of date.
func (p *positive) dropStale(key cuckoo.Key) {
	if word, ok := p.table.Peek(key); ok && word&isStale != 0 {
		p.drop(key)
		p.staleDrops++
	}
}

func (p *positive) drop(key cuckoo.Key) {
	if word, ok := p.table.Delete(key); ok {
		p.give(value(word))
	}
}

func (p *positive) clear() {
	p.table.Clear()
	p.small.clear()
	p.large.clear()
}

func (p *positive) give(v value) {
	a := &p.small
	if v&isLarge != 0 {
		a = &p.large
	}
	a.free = append(a.free, v.number())
}

func (a *arena) take() (uint32, bool) {
	if n := len(a.free); n > 0 {
		number := a.free[n-1]
		a.free = a.free[:n-1]
		return number, true
	}
	if int(a.used) == len(a.words)/a.size {
		return 0, false
	}
	a.used++
	return a.used - 1, true
}

// clear gives all slots back. What is in them stays, for readers that are in the
// middle of one, and counts go on from there.
func (a *arena) clear() { a.used, a.free, a.hand = 0, a.free[:0], 0 }
