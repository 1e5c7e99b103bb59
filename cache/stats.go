package cache

import "unsafe"

// event is why an item left the index.
type event int

const (
	replaced event = iota
	deleted
	evicted
	expired // or flushed
)

// Events is what became of the items of a class since New.
type Events struct {
	Stored        uint64 `json:"stored"`
	Replaced      uint64 `json:"replaced"`
	Deleted       uint64 `json:"deleted"`
	Evicted       uint64 `json:"evicted"`
	EvictedUnread uint64 `json:"evicted_unread"` // of these, never read
	Expired       uint64 `json:"expired"`        // and flushed, when the sweeper or a writer came by
	ExpiredUnread uint64 `json:"expired_unread"`
	OutOfSpace    uint64 `json:"out_of_space"` // refused
}

func (e *Events) count(why event, read bool) {
	switch why {
	case replaced:
		e.Replaced++
	case deleted:
		e.Deleted++
	case evicted:
		e.Evicted++
		if !read {
			e.EvictedUnread++
		}
	case expired:
		e.Expired++
		if !read {
			e.ExpiredUnread++
		}
	}
}

func (e *Events) add(other Events) {
	e.Stored += other.Stored
	e.Replaced += other.Replaced
	e.Deleted += other.Deleted
	e.Evicted += other.Evicted
	e.EvictedUnread += other.EvictedUnread
	e.Expired += other.Expired
	e.ExpiredUnread += other.ExpiredUnread
	e.OutOfSpace += other.OutOfSpace
}

// ClassStats is a class of chunks: PageBytes·Pages is ItemBytes, what chunks in use have
// too much, free chunks, and what pages have left over.
type ClassStats struct {
	Class     int    `json:"class"` // as Item.Class has it
	Chunk     int    `json:"chunk_bytes"`
	Pages     int    `json:"pages"` // with those that are being emptied
	Chunks    int    `json:"chunks"`
	Free      int    `json:"free"`
	Retired   int    `json:"retired"` // items waiting for readers to leave
	ItemBytes int    `json:"item_bytes"`
	Hits      uint64 `json:"hits"`
	Events
}

// Stats is the cache at about one moment. In bytes, Region is Control, Index, Slabs and Free.
type Stats struct {
	Items   int          `json:"items"` // with those that are expired or flushed and not yet removed
	Hits    uint64       `json:"hits"`
	Misses  uint64       `json:"misses"`
	Region  int          `json:"region_bytes"`
	Control int          `json:"control_bytes"`
	Index   int          `json:"index_bytes"`
	Slabs   int          `json:"slab_bytes"`
	Free    int          `json:"free_bytes"`
	Heap    int          `json:"heap_bytes"` // beside the region
	Slots   int          `json:"index_slots"`
	Classes []ClassStats `json:"classes"` // those that have or had pages, smallest chunks first
	Events               // of all classes
}

// Stats may be called at any time.
func (c *Cache) Stats() Stats {
	s := Stats{Region: len(c.bytes), Control: c.shape.control * PageBytes}
	for i := range c.shards {
		c.shards[i].Lock()
		s.Items += int(c.shards[i].items)
		c.shards[i].Unlock()
	}
	c.slabs.pool.Lock()
	s.Index, s.Free = c.slabs.pool.index*PageBytes, len(c.slabs.pool.free)*PageBytes
	s.Slots = c.slabs.pool.index * pageSlots
	c.slabs.pool.Unlock()
	s.Slabs = s.Region - s.Control - s.Index - s.Free
	pages := make([]int, len(c.slabs.classes))
	for i := range c.slabs.pages {
		if class := c.slabs.pages[i].class.Load(); class != noClass {
			pages[class]++
		}
	}
	s.Heap = int(unsafe.Sizeof(*c)+unsafe.Sizeof(*c.slabs)) + len(c.slabs.pages)*int(unsafe.Sizeof(page{})+4)
	for i := range c.slabs.classes {
		class, heap := c.classStats(i)
		class.Pages = pages[i]
		s.Heap += heap
		s.Hits += class.Hits
		s.Events.add(class.Events)
		if class.Pages > 0 || class.Events != (Events{}) {
			s.Classes = append(s.Classes, class)
		}
	}
	for i := range c.epochs.stripes {
		s.Misses += c.epochs.stripes[i].misses.Load()
	}
	return s
}

// classStats is all of a class but its pages, and its bytes beside the region.
func (c *Cache) classStats(class int) (s ClassStats, heap int) {
	cl := &c.slabs.classes[class]
	cl.Lock()
	s = ClassStats{Class: class + 1, Chunk: int(cl.size), Chunks: cl.chunks, Free: cl.nfree, Retired: cl.limbo, ItemBytes: cl.bytes, Events: cl.events}
	heap = int(unsafe.Sizeof(*cl)) + 8*cap(cl.retired)
	cl.Unlock()
	for i := range c.epochs.stripes {
		s.Hits += c.epochs.stripes[i].hits[class].Load()
	}
	return s, heap
}
