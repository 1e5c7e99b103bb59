package cache

import (
	"sync/atomic"
)

// Section is a time in which a goroutine reads items. What it found stays as it is until
// Done, also if it is replaced or deleted meanwhile, and its memory cannot be used for
// anything else: a section should last microseconds and never wait for a client. Its goroutine
// must not store anything before Done, as a writer may have to wait for all sections to end; it
// may delete and touch. Many Gets in one section are cheaper than a section each.
type Section struct {
	cache  *Cache
	stripe *stripe
	parity uint32
}

// Read begins a section.
func (c *Cache) Read() Section {
	stripe, parity := c.epochs.enter()
	return Section{c, stripe, parity}
}

// Done ends the section.
func (s Section) Done() { s.stripe.departed[s.parity].Add(1) }

// Get looks a key up, of 1 to MaxKey bytes. It counts a hit or a miss, and the item as
// used.
func (s Section) Get(key []byte) (Item, bool) {
	hash := s.cache.hashKeys.hash(key)
	i, ok := s.cache.item(hash, key)
	if !ok {
		s.cache.hot.sample(hash, key, s.stripe.misses.Add(1))
		return Item{}, false
	}
	i.use()
	class := s.cache.slabs.pages[i.chunk/PageBytes].class.Load()
	s.cache.hot.sample(hash, key, s.stripe.hits[class].Add(1))
	return i, true
}

// Peek is Get that leaves no trace.
func (s Section) Peek(key []byte) (Item, bool) {
	return s.cache.item(s.cache.hashKeys.hash(key), key)
}

// item is the live item of a key.
func (c *Cache) item(hash uint64, key []byte) (Item, bool) {
	slot, chunk, l := c.find(hash, key)
	if slot == nil {
		return Item{}, false
	}
	state := atomic.LoadUint64(c.state(chunk))
	if dead(state, l, c.Now(), c.generation()) {
		return Item{}, false
	}
	return Item{c, chunk, l, state}, true
}

// Get appends the item of a key to dst as it is sent: VALUE key flags bytes\r\n, the
// value, \r\n. It is a section of its own.
func (c *Cache) Get(dst, key []byte) ([]byte, bool) {
	s := c.Read()
	defer s.Done()
	i, ok := s.Get(key)
	if ok {
		dst = i.AppendText(dst)
	}
	return dst, ok
}

// Item is what was found in a section; it may be looked at until the section is done.
type Item struct {
	cache   *Cache
	chunk   uint64
	lengths lengths
	state   uint64 // as it was found
}

// Key is the key.
func (i Item) Key() []byte { return i.cache.key(i.chunk, i.lengths) }

// Line is VALUE key flags bytes\r\n.
func (i Item) Line() []byte { return i.first()[:i.lengths.line()] }

// first is the text as far as it lies in the first chunk.
func (i Item) first() []byte {
	here, _ := extent(i.lengths.text())
	at := i.chunk + headerBytes
	return i.cache.bytes[at : at+uint64(here) : at+uint64(here)]
}

// Text is the line, the value and \r\n, as they lie in memory, and whether they lie there
// in one run; only the line is sure to.
func (i Item) Text() (text []byte, whole bool) {
	text = i.first()
	return text, len(text) == i.lengths.text()
}

// TextLen is the length of the line, the value and \r\n.
func (i Item) TextLen() int { return i.lengths.text() }

// Len is the length of the value.
func (i Item) Len() int { return i.lengths.value() }

// AppendText appends the line, the value and \r\n to dst.
func (i Item) AppendText(dst []byte) []byte { return i.append(dst, 0, i.lengths.text()) }

// AppendValue appends the value to dst.
func (i Item) AppendValue(dst []byte) []byte {
	return i.append(dst, i.lengths.line(), i.lengths.text()-2)
}

// append appends the bytes of the text from one on, up to another.
func (i Item) append(dst []byte, from, to int) []byte {
	if text, whole := i.Text(); whole {
		return append(dst, text[from:to]...)
	}
	i.eachPart(from, to, func(part []byte) { dst = append(dst, part...) })
	return dst
}

// eachPart calls f with the bytes of the text from one on, up to another, in runs.
func (i Item) eachPart(from, to int, f func(part []byte)) {
	at := 0
	i.cache.eachPiece(i.chunk, i.lengths.text(), func(_ uint64, text []byte) bool {
		f(text[min(max(from-at, 0), len(text)):min(to-at, len(text))])
		at += len(text)
		return at < to
	})
}

// Flags is the number that the client stored with the value.
func (i Item) Flags() uint32 { return flagsOf(i.Line(), i.lengths.key()) }

// CAS is the CAS unique.
func (i Item) CAS() uint64 { return i.cache.words[i.chunk/8+chunkUnique] }

// Expiry is the Unix second at which the item ends, 0 if never.
func (i Item) Expiry() uint32 { return uint32(i.state) }

// Fetched tells whether the item had been read before.
func (i Item) Fetched() bool { return i.state&(markFetched|markReference) != 0 }

// Bytes is what the item takes, apart from what its chunks have too much.
func (i Item) Bytes() int { return i.lengths.bytes() }

// Class is the number, from 1 on, of the class of its chunk, or of the first one.
func (i Item) Class() int { return int(i.cache.slabs.pages[i.chunk/PageBytes].class.Load()) + 1 }

// Idle is for how many seconds the item had not been read or written by user space, up to a
// minute more than the truth.
func (i Item) Idle() uint32 {
	return (i.cache.Now() - uint32(i.state>>accessAt)) & (1<<accessBits - 1)
}

// Stale tells that the value was invalidated but is still served.
func (i Item) Stale() bool { return i.state&markStale != 0 }

// Won tells that a client was told to recache the item.
func (i Item) Won() bool { return i.state&markWon != 0 }

// Win tells the caller, and nobody after him, to recache the item.
func (i Item) Win() bool { return mark(i.cache.region.state(i.chunk), markWon) }

// Binary tells that the key came as base64.
func (i Item) Binary() bool { return i.state&markBinary != 0 }

// use counts the item as read. Once both are as they should be there is nothing to write.
func (i Item) use() {
	now := uint64(i.cache.Now()) << accessAt
	if i.state&markReference != 0 && (now-i.state&accessMask)&accessMask < accessEvery<<accessAt {
		return
	}
	// If another reader comes between, it has done the same.
	atomic.CompareAndSwapUint64(i.cache.region.state(i.chunk), i.state, i.state&^accessMask|now|markReference)
}
