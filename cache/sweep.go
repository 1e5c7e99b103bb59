package cache

import (
	"bytes"
	"sync"
	"sync/atomic"
)

const (
	// sweepTicks is in how many ticks the sweeper has been everywhere.
	sweepTicks = 60
	// maxFlushes is how many generations may pass until items of the first are gone for
	// certain; there are 256.
	maxFlushes = 200
)

// sweeping is where the sweeper is.
type sweeping struct {
	sync.Mutex
	page int
}

func (w *sweeping) tick(c *Cache) {
	w.Lock()
	defer w.Unlock()
	for range len(c.slabs.pages)/sweepTicks + 1 {
		c.sweep(uint32(w.page))
		w.page = (w.page + 1) % len(c.slabs.pages)
	}
}

// sweep removes what is dead in a page.
func (c *Cache) sweep(page uint32) {
	var found [scanned]victim
	now, generation := c.Now(), c.generation()
	for from, more := 0, true; more; from += scanned {
		victims := found[:0]
		more = c.slabs.eachOf(page, from, func(chunk uint64, l lengths) {
			if l.key() != 0 && dead(atomic.LoadUint64(c.state(chunk)), l, now, generation) {
				victims = append(victims, victim{c.hashKeys.hash(c.key(chunk, l)), chunk, true})
			}
		})
		for _, v := range victims {
			c.expel(v)
		}
	}
}

// flushing is a flush to come, and how many there were since a sweep.
type flushing struct {
	sync.Mutex
	at    uint32 // Unix second, 0: none
	count int
}

// Flush lets all items end that are there at a Unix second, or at once if that is past. It
// takes the place of a flush that is yet to come.
func (c *Cache) Flush(at uint32) {
	f := &c.flushing
	f.Lock()
	defer f.Unlock()
	f.at = 0
	if at > c.Now() {
		f.at = at
		return
	}
	f.flush(c)
}

func (f *flushing) tick(c *Cache, now uint32) {
	f.Lock()
	defer f.Unlock()
	if f.at != 0 && f.at <= now {
		f.at = 0
		f.flush(c)
	}
}

// flush begins a new generation of items. A writer that read the number of the last one
// before is done with what it wrote before the flush was acknowledged, or was at it at the
// same time; either way its item may be gone. Numbers come again, so there must be no
// item left of the generation that had this one.
func (f *flushing) flush(c *Cache) {
	c.store(wordGeneration, (c.generation()+1)%256)
	if f.count++; f.count >= maxFlushes {
		for page := range c.slabs.pages {
			c.sweep(uint32(page))
		}
		f.count = 0
	}
}

// Each calls f with every live item, until it says false. An item that is stored, changed or
// removed meanwhile may be seen as it was before or after, or not at all; any other is seen once.
// f is called within read sections and must not wait for anybody.
func (c *Cache) Each(f func(Item) bool) {
	for cursor, more := uint64(0), true; more; {
		cursor, more = c.Scan(cursor, f)
	}
}

// Scan is a part of Each, a few thousand items at most: it begins at a cursor, 0 the first
// time, and says where to go on, if there is more. The caller may wait in between.
func (c *Cache) Scan(cursor uint64, f func(Item) bool) (next uint64, more bool) {
	var words [pageSlots]uint64
	s := c.Read()
	defer s.Done()
	entries, found := c.snapshot(cursor, words[:0])
	now, generation := c.Now(), c.generation()
	for _, word := range found {
		chunk := word & locatorMask * 8
		i := Item{c, chunk, c.lengths(chunk), atomic.LoadUint64(c.state(chunk))}
		if !dead(i.state, i.lengths, now, generation) && !f(i) {
			return cursor, false
		}
	}
	next = cursor + entries
	return next, next < 1<<c.shape.dirBits
}

// snapshot appends the slots in use of the page that an entry of the directory leads to, as
// they are at one moment, and is how many entries lead there.
func (c *Cache) snapshot(entry uint64, words []uint64) (entries uint64, _ []uint64) {
	s := c.shard(entry << c.shift)
	s.Lock()
	defer s.Unlock()
	_, entries = c.span(entry)
	page := c.load(wordEntries + entry)
	for b := range uint64(1 << bucketBits) {
		for _, word := range c.bucket(page, b)[1:] {
			if word != 0 {
				words = append(words, word)
			}
		}
	}
	return entries, words
}

// DeletePrefix removes all items whose keys begin with a prefix and that were there when
// it was called, and is how many. It looks at every item.
func (c *Cache) DeletePrefix(prefix []byte) (deleted int) {
	c.Each(func(i Item) bool {
		if bytes.HasPrefix(i.Key(), prefix) && c.discard(i) {
			deleted++
		}
		return true
	})
	return deleted
}

// discard removes an item unless its key has another one by now.
func (c *Cache) discard(i Item) bool {
	hash := c.hashKeys.hash(i.Key())
	s := c.shard(hash)
	s.Lock()
	defer s.Unlock()
	slot := c.slotOf(hash, i.chunk)
	if slot == nil {
		return false
	}
	c.remove(s, slot, deleted)
	return true
}
