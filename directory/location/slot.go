package location

import (
	"sync/atomic"
)

// A slot is a record as the positive caches hold it: a row of words that readers
// copy while a writer may be at it.
//
//	word 0     version counter, upper 63 bits · being written
//	word 1     bytes of name · sites · bytes of owner · kind of lock · flags (32 bits)
//	words 2–4  ids
//	then       name, eight bytes a word · version · modified
//	           if there is an owner: expiry · owner, eight bytes a word
//	           a word a site: server, partition · half a word a site: flags
//
// Name of 24 bytes and ids thus lie in the first cache line of a slot.
//
// It is a seqlock. All words are read and written atomically; writers are
// serialised by their cache's lock. A writer sets "being written", writes, and
// stores the next count with the bit clear. A reader copies between two looks at
// word 0; two equal looks without the bit mean that the copy is of one writing,
// because counts never repeat. That it is of the name wanted, the reader sees by
// comparing: a slot may be given to another entry at any time.
const (
	smallWords = 16 // two cache lines: 24 bytes of name, 4 sites, no lock
	largeWords = 48 // every entry fits

	headWords = 5

	beingWritten = 1
	countStep    = 2
)

// shape is word 1, taken apart.
type shape struct {
	name, sites, owner, lockKind uint8
	flags                        uint32
}

func (s shape) word() uint64 {
	return uint64(s.name) | uint64(s.sites)<<8 | uint64(s.owner)<<16 | uint64(s.lockKind)<<24 | uint64(s.flags)<<32
}

func shapeOf(w uint64) shape {
	return shape{name: uint8(w), sites: uint8(w >> 8), owner: uint8(w >> 16), lockKind: uint8(w >> 24), flags: uint32(w >> 32)}
}

// words is how many words of the slot the record takes.
func (s shape) words() int {
	n := headWords + wordsOf(s.name) + 2 + int(s.sites) + (int(s.sites)+1)/2
	if s.owner > 0 {
		n += 1 + wordsOf(s.owner)
	}
	return n
}

func wordsOf(bytes uint8) int { return (int(bytes) + 7) / 8 }

// pack lays the record out, word 0 left alone, and returns how many words it took.
func pack(r *record, words *[largeWords]uint64) int {
	s := shape{name: r.name.n, sites: r.siteCount, owner: r.owner.n, lockKind: r.lockKind, flags: r.flags}
	words[1] = s.word()
	copy(words[2:headWords], r.ids[:])
	at := headWords
	at += packText(&r.name, words[at:])
	words[at], words[at+1] = r.version, uint64(r.modified)
	at += 2
	if r.owner.n > 0 {
		words[at] = uint64(r.expires)
		at++
		at += packText(&r.owner, words[at:])
	}
	flags := at + int(r.siteCount)
	for i, p := range r.places() {
		words[at+i] = uint64(p.server)<<32 | uint64(p.partition)
		if i%2 == 0 {
			words[flags+i/2] = uint64(p.flags)
		} else {
			words[flags+i/2] |= uint64(p.flags) << 32
		}
	}
	return s.words()
}

// unpack is the inverse of pack.
func unpack(words *[largeWords]uint64, r *record) {
	s := shapeOf(words[1])
	*r = record{flags: s.flags, lockKind: s.lockKind, siteCount: s.sites}
	copy(r.ids[:], words[2:headWords])
	at := headWords
	at += unpackText(&r.name, s.name, words[at:])
	r.version, r.modified = words[at], int64(words[at+1])
	at += 2
	if s.owner > 0 {
		r.expires = int64(words[at])
		at++
		at += unpackText(&r.owner, s.owner, words[at:])
	}
	flags := at + int(s.sites)
	for i := range r.places() {
		r.sites[i] = place{
			server:    uint32(words[at+i] >> 32),
			partition: uint32(words[at+i]),
			flags:     uint32(words[flags+i/2] >> (i % 2 * 32)),
		}
	}
}

func packText(t *text, words []uint64) int {
	n := wordsOf(t.n)
	for i := range n {
		words[i] = load64(t.bytes[i*8:])
	}
	return n
}

func unpackText(t *text, bytes uint8, words []uint64) int {
	t.n = bytes
	n := wordsOf(bytes)
	for i := range n {
		store64(t.bytes[i*8:], words[i])
	}
	return n
}

// load64 reads eight bytes; the compiler makes one load of it.
func load64[T string | []byte](b T) uint64 {
	_ = b[7]
	return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
		uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
}

func store64(b []byte, v uint64) {
	_ = b[7]
	b[0], b[1], b[2], b[3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24)
	b[4], b[5], b[6], b[7] = byte(v>>32), byte(v>>40), byte(v>>48), byte(v>>56)
}

// sameName compares the name of a slot, which is bytes long, word by word.
func sameName(slot []uint64, bytes uint8, name string) bool {
	if int(bytes) != len(name) {
		return false
	}
	words := slot[headWords : headWords+wordsOf(bytes)]
	for i := range words {
		if atomic.LoadUint64(&words[i]) != nameWord(name, i) {
			return false
		}
	}
	return true
}

// nameWord is the i-th eight bytes of a name, zero after its end.
func nameWord(name string, i int) uint64 {
	rest := len(name) - i*8
	switch {
	case rest >= 8:
		return load64(name[i*8:])
	case len(name) >= 8: // the last eight bytes, the ones already compared shifted out
		return load64(name[len(name)-8:]) >> (8 * (8 - rest))
	}
	var w uint64
	for j := range rest {
		w |= uint64(name[j]) << (8 * j)
	}
	return w
}

// write gives the slot a new record. The caller holds the cache's lock.
func write(slot []uint64, r *record) {
	var words [largeWords]uint64
	n := pack(r, &words)
	count := atomic.LoadUint64(&slot[0])
	atomic.StoreUint64(&slot[0], count|beingWritten)
	for i := 1; i < n; i++ {
		atomic.StoreUint64(&slot[i], words[i])
	}
	atomic.StoreUint64(&slot[0], count+countStep)
}

// read copies a slot. It is false if a writer was at it, or if it is not of the name
// or id wanted.
func read(slot []uint64, q query, words *[largeWords]uint64) bool {
	head := atomic.LoadUint64(&slot[0])
	words[1] = atomic.LoadUint64(&slot[1])
	s := shapeOf(words[1])
	n := s.words()
	if head&beingWritten != 0 || n > len(slot) || s.name > MaxName || s.sites > MaxSites || s.owner > MaxOwner {
		return false
	}
	for i := 2; i < n; i++ {
		words[i] = atomic.LoadUint64(&slot[i])
	}
	var same bool
	if q.byID() {
		same = words[2] == q.id || words[3] == q.id || words[4] == q.id
	} else {
		same = sameName(slot, s.name, q.name)
	}
	return same && atomic.LoadUint64(&slot[0]) == head
}
