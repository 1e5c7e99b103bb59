package cache

import (
	"strconv"
	"sync/atomic"
)

// maxWaits is how often a writer waits for the recycler before it gives up.
const maxWaits = 32

// content is an item to be written: its value is before, the value of old if there is
// such, and after; or it is a number, of a width that spaces fill.
type content struct {
	key    []byte
	flags  uint32
	expiry uint32
	marks  uint64 // of the state word
	before []byte
	old    Item
	after  []byte
	number uint64
	width  int // 0: no number
}

// copyOf is an item as it is.
func copyOf(old Item) content {
	return content{flags: old.Flags(), expiry: old.Expiry(), marks: old.state & (markStale | markWon | markBinary), old: old}
}

func (n *content) value() int {
	value := len(n.before) + len(n.after) + n.width
	if n.old.cache != nil {
		value += n.old.Len()
	}
	return value
}

// lengths are those of the item.
func (n *content) lengths(generation uint64) lengths {
	value := n.value()
	line := lineBytes(len(n.key), n.flags, value)
	return newLengths(line+value+2, line, len(n.key), generation)
}

// change replaces the item of a key by what f makes of it, if f says Stored. unique is the
// CAS unique it has then; the next one is taken if it is 0. f may be called more than once.
func (c *Cache) change(key []byte, unique uint64, f func(old Item, found bool) (content, Outcome)) (Outcome, uint64) {
	if len(key) < 1 || len(key) > MaxKey {
		return TooLarge, 0
	}
	hash := c.hashKeys.hash(key)
	for waits := 0; ; waits++ {
		outcome, missing := c.tryChange(hash, key, &unique, f)
		if outcome != OutOfSpace {
			return outcome, unique
		}
		if waits == maxWaits || waits > 0 && c.config.Keep {
			c.refuse(missing)
			return outcome, 0
		}
		c.await(missing)
	}
}

// tryChange is change, unless there are no chunks for so many bytes now.
func (c *Cache) tryChange(hash uint64, key []byte, unique *uint64, f func(Item, bool) (content, Outcome)) (o Outcome, missing int) {
	s := c.shard(hash)
	s.Lock()
	defer s.Unlock()
	generation := c.generation() // before the old item is looked at: see Flush
	slot, old, found := c.locate(hash, key)
	next, outcome := f(old, found)
	if outcome != Stored {
		return outcome, 0
	}
	next.key = key
	l := next.lengths(generation)
	if l.bytes() > c.config.ItemBytes {
		return TooLarge, 0
	}
	chunk, ok := c.allocate(l.text())
	if !ok {
		return OutOfSpace, l.text()
	}
	if *unique == 0 {
		*unique = c.unique.Add(1)
	}
	c.fill(chunk, l, &next, *unique, old.state)
	if slot == nil {
		if !c.admit(s, hash, chunk) {
			c.free(chunk, l.text())
			return OutOfSpace, l.text()
		}
		return Stored, 0
	}
	why := replaced
	if !found {
		why = expired
	}
	atomic.StoreUint64(slot, slotWord(hash, chunk))
	c.retire(old.chunk, why)
	return Stored, 0
}

// locate is the slot of a key and the item there, and whether the item is alive. The
// caller holds the lock of the shard.
func (c *Cache) locate(hash uint64, key []byte) (slot *uint64, i Item, alive bool) {
	slot, chunk, l := c.find(hash, key)
	if slot == nil {
		return nil, Item{}, false
	}
	state := atomic.LoadUint64(c.state(chunk))
	return slot, Item{c, chunk, l, state}, !dead(state, l, c.Now(), c.generation())
}

// fill writes an item into chunks that nobody else can reach. What the clock knows of a
// key stays when its value changes.
func (c *Cache) fill(chunk uint64, l lengths, n *content, unique, oldState uint64) {
	state := uint64(n.expiry) | n.marks | uint64(c.Now())<<accessAt | oldState&roundsMask
	if oldState&markReference != 0 && oldState&roundsMask < maxRounds*oneRound {
		state += oneRound
	}
	atomic.StoreUint64(c.state(chunk), state)
	c.words[chunk/8+chunkUnique] = unique
	if here, more := extent(l.text()); more {
		c.fillPieces(chunk, l, n)
	} else {
		at := chunk + headerBytes
		text := c.bytes[at : at+uint64(here)]
		putLine(text, n.key, n.flags, l.value())
		n.put(text[l.line():])
	}
	c.setLengths(chunk, l)
}

// put writes the value and \r\n to where they go as one run.
func (n *content) put(to []byte) {
	if n.width > 0 {
		for i := len(strconv.AppendUint(to[:0], n.number, 10)); i < n.width; i++ {
			to[i] = ' '
		}
		to = to[n.width:]
	}
	to = to[copy(to, n.before):]
	if n.old.cache != nil {
		to = to[len(n.old.AppendValue(to[:0])):]
	}
	copy(to[copy(to, n.after):], "\r\n")
}

// fillPieces writes the text of an item into chained chunks.
func (c *Cache) fillPieces(chunk uint64, l lengths, n *content) {
	var line [MaxKey + 64]byte
	putLine(line[:l.line()], n.key, n.flags, l.value())
	var room []byte // that is left in the piece
	remaining := l.text()
	write := func(from []byte) {
		for len(from) > 0 {
			if len(room) == 0 {
				here, more := extent(remaining)
				room = c.bytes[chunk+headerBytes : chunk+headerBytes+uint64(here)]
				if remaining -= here; more {
					chunk = c.next(chunk)
				}
			}
			n := copy(room, from)
			room, from = room[n:], from[n:]
		}
	}
	write(line[:l.line()])
	write(n.before)
	if n.old.cache != nil {
		n.old.eachPart(n.old.lengths.line(), n.old.lengths.text()-2, write)
	}
	write(n.after)
	write([]byte("\r\n"))
}

// admit makes a new item visible. If its page of the index is full, the page is split, or,
// if there is no memory for that, the coldest item nearby goes.
func (c *Cache) admit(s *shard, hash, chunk uint64) bool {
	for !c.insert(hash, chunk) {
		first, entries := c.span(hash >> c.shift)
		if entries > 1 {
			if fresh := c.indexPage(); fresh != 0 {
				c.split(first, entries, fresh)
				if c.slabs.pool.short() > 0 {
					c.recycler.call()
				}
				continue
			}
			c.recycler.call()
		}
		if c.config.Keep {
			return false
		}
		slot := c.coldest(hash)
		c.remove(s, slot, evicted)
	}
	s.items++
	return true
}

// coldest is the slot, of the full buckets of a hash, whose item is the first to go.
func (c *Cache) coldest(hash uint64) (slot *uint64) {
	page, b := *c.entry(hash), firstBucket(hash)
	least := ^uint64(0)
	for _, b := range [2]uint64{b, otherBucket(b, hash)} {
		line := c.bucket(page, b)
		for i := 1; i < bucketWords; i++ {
			state := atomic.LoadUint64(c.state(line[i] & locatorMask * 8))
			if heat := state & (markReference | roundsMask); heat < least {
				slot, least = &line[i], heat
			}
		}
	}
	return slot
}

// remove takes an item out of the index. The caller holds the lock of the shard.
func (c *Cache) remove(s *shard, slot *uint64, why event) {
	chunk := *slot & locatorMask * 8
	atomic.StoreUint64(slot, 0)
	s.items--
	c.retire(chunk, why)
}

// setExpiry changes an item in place, as readers change its marks.
func setExpiry(state *uint64, expiry uint32) {
	for {
		old := atomic.LoadUint64(state)
		if atomic.CompareAndSwapUint64(state, old, old&^expiryMask|uint64(expiry)) {
			return
		}
	}
}
