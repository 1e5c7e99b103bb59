package cache

import (
	"fmt"
	"sync/atomic"
)

// Quiesce makes free what is retired, and evicts what should be, while nobody writes.
func (c *Cache) Quiesce() {
	c.recycler.stop()
	for range 4 {
		c.recycler.round()
	}
	c.recycler.start(c)
}

// Check looks at everything while nobody writes, and says what does not fit together.
func (c *Cache) Check() error {
	reachable := make(map[uint64]uint64) // chunk to first chunk of its item
	items := 0
	for entry := uint64(0); entry < 1<<c.shape.dirBits; {
		first, entries := c.span(entry)
		if first != entry {
			return fmt.Errorf("directory entry %d belongs to a page that begins at %d", entry, first)
		}
		page := c.load(wordEntries + entry)
		for b := range uint64(1 << bucketBits) {
			for _, word := range c.bucket(page, b)[1:] {
				if word == 0 {
					continue
				}
				items++
				if err := c.checkSlot(entry, entries, b, word, reachable); err != nil {
					return err
				}
			}
		}
		entry += entries
	}
	counted := 0
	for i := range c.shards {
		counted += int(c.shards[i].items)
	}
	if counted != items {
		return fmt.Errorf("%d items in the index, %d counted", items, counted)
	}
	return c.checkSlabs(reachable)
}

func (c *Cache) checkSlot(entry, entries, b, word uint64, reachable map[uint64]uint64) error {
	first := word & locatorMask * 8
	l := c.lengths(first)
	key := c.key(first, l)
	hash := c.hashKeys.hash(key)
	if slotWord(hash, first) != word {
		return fmt.Errorf("slot %x of %q should be %x", word, key, slotWord(hash, first))
	}
	if firstBucket(hash) != b && otherBucket(firstBucket(hash), hash) != b {
		return fmt.Errorf("%q in bucket %d", key, b)
	}
	if at := hash >> c.shift; at < entry || at >= entry+entries {
		return fmt.Errorf("%q at directory entry %d, not %d", key, entry, at)
	}
	var err error
	c.eachPiece(first, l.text(), func(chunk uint64, _ []byte) bool {
		if other, twice := reachable[chunk]; twice {
			err = fmt.Errorf("chunk %d is in items %d and %d", chunk, first, other)
		}
		reachable[chunk] = first
		return true
	})
	return err
}

func (c *Cache) checkSlabs(reachable map[uint64]uint64) error {
	free := make(map[uint64]bool)
	for i := range c.slabs.classes {
		cl := &c.slabs.classes[i]
		n := 0
		for chunk := cl.free; chunk != 0; chunk = c.words[chunk/8+chunkNext] {
			if n++; c.lengths(chunk) != freeChunk || reachable[chunk] != 0 || free[chunk] {
				return fmt.Errorf("chunk %d of %d bytes is not free", chunk, cl.size)
			}
			free[chunk] = true
		}
		if n != cl.nfree || cl.limbo != 0 || len(cl.retired) != 0 {
			return fmt.Errorf("class %d: %d free of %d, %d in limbo", cl.size, n, cl.nfree, cl.limbo)
		}
	}
	used, slab := 0, make(map[uint32]bool)
	for i := range c.slabs.classes {
		cl := &c.slabs.classes[i]
		bytes, chunks := 0, 0
		for n, number := 0, cl.hand; n < cl.pages; n, number = n+1, c.slabs.pages[number].next {
			slab[number] = true
			p := &c.slabs.pages[number]
			if p.class.Load() != int32(i) || p.draining.Load() {
				return fmt.Errorf("page %d of class %d has class %d, draining %v", number, i, p.class.Load(), p.draining.Load())
			}
			chunks += int(p.chunks)
			inUse := 0
			for k := range uint64(p.chunks) {
				chunk := uint64(number)*PageBytes + k*cl.size
				_, reached := reachable[chunk]
				if reached == free[chunk] {
					return fmt.Errorf("chunk %d of page %d: reachable %v, free %v", k, number, reached, free[chunk])
				}
				if l := c.lengths(chunk); reached {
					inUse++
					here, _ := extent(l.text())
					bytes += headerBytes + here
				}
			}
			if inUse != int(p.used) {
				return fmt.Errorf("page %d: %d chunks in use, %d counted", number, inUse, p.used)
			}
			used += inUse
		}
		if bytes != cl.bytes || chunks != cl.chunks {
			return fmt.Errorf("class %d: %d bytes of items, %d counted; %d chunks, %d counted", cl.size, bytes, cl.bytes, chunks, cl.chunks)
		}
	}
	if used != len(reachable) {
		return fmt.Errorf("%d chunks reachable, %d in pages", len(reachable), used)
	}
	if all := c.shape.control + c.slabs.pool.index + len(c.slabs.pool.free) + len(slab); all != len(c.slabs.pages) {
		return fmt.Errorf("%d pages of %d accounted for", all, len(c.slabs.pages))
	}
	return nil
}

// Unread forgets that items were read, as the hand of the clock would.
func (i Item) Unread() {
	atomic.AndUint64(i.cache.region.state(i.chunk), ^uint64(markReference|roundsMask))
}
