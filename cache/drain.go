package cache

import (
	"math"
	"sync/atomic"
)

const (
	// maxDraining is how many pages are emptied at the same time.
	maxDraining = 32
	// judged is how many pages are looked at to find one that is not in use.
	judged = 8
)

// demand is pages that a class, or the pool, should have of other classes.
type demand struct {
	heir  int // noClass: the pool
	pages int
	must  bool // there is no other way to store anything
}

// drainOldest takes pages from the classes whose items are the oldest, to be emptied.
func (r *recycler) drainOldest(want demand) {
	for ; want.pages > 0 && len(r.draining) < maxDraining; want.pages-- {
		donor, number := r.spare(want)
		if donor < 0 {
			return
		}
		r.detach(donor, number, want.heir)
	}
}

// spare is the page whose loss costs least of those that the hands come to next in the classes
// with the oldest items, and its class; -1 if there is none. One of which more than a share is in
// use is for a demand that must be met.
func (r *recycler) spare(want demand) (donor int, number uint32) {
	r.moved = r.cache.slabs.recycled.Load()
	donor, least := -1, math.Inf(1)
	for range judged {
		class, _ := r.oldest(want.heir)
		if class < 0 {
			break
		}
		page, inUse := r.judge(class)
		if inUse*coldShare <= 1 {
			return class, page
		}
		if want.must && inUse < least {
			donor, number, least = class, page, inUse
		}
	}
	return donor, number
}

// promised is how many pages that are being emptied are for a class.
func (r *recycler) promised(heir int) (pages int) {
	for _, number := range r.draining {
		if r.cache.slabs.pages[number].heir == int32(heir) {
			pages++
		}
	}
	return pages
}

// oldest is the class, but for one, whose hand has been away from a page for longest.
func (r *recycler) oldest(except int) (class int, age uint64) {
	class = -1
	for i := range r.cache.slabs.classes {
		if i == except {
			continue
		}
		if a, ok := r.age(i); ok && (class < 0 || a > age) {
			class, age = i, a
		}
	}
	return class, age
}

// unfair tells that another class keeps its items more than twice as long as this one.
func (r *recycler) unfair(class int) bool {
	own, _ := r.age(class)
	_, other := r.oldest(class)
	return other > 2*own+PageBytes
}

// age is what has been recycled since the hand left the page of a class that it comes to
// next. A class without pages has none.
func (r *recycler) age(class int) (bytes uint64, ok bool) {
	cl := &r.cache.slabs.classes[class]
	cl.Lock()
	defer cl.Unlock()
	if cl.pages == 0 {
		return 0, false
	}
	return r.cache.slabs.recycled.Load() - r.cache.slabs.pages[r.cache.slabs.pages[cl.hand].next].visited, true
}

// judge moves the hand of a class, which has pages, over the next page, and is what share of the
// items there it spares.
func (r *recycler) judge(class int) (number uint32, inUse float64) {
	c := r.cache
	cl := &c.slabs.classes[class]
	cl.Lock()
	defer cl.Unlock()
	if cl.pages == 0 { // the last one became empty just now
		return 0, 1
	}
	number = c.slabs.pages[cl.hand].next
	p := &c.slabs.pages[number]
	cl.hand, cl.within, p.visited = number, int(p.chunks), c.slabs.recycled.Load()
	items, spared := 0, 0
	now, generation := c.Now(), c.generation()
	c.slabs.eachChunk(cl, number, 0, PageBytes, func(chunk uint64, l lengths) {
		if l == 0 || l == freeChunk {
			return
		}
		items++
		if l.key() == 0 { // the hand comes to the item where it begins
			first := c.words[chunk/8+chunkUnique]
			if atomic.LoadUint64(c.state(first))&(markReference|roundsMask) != 0 {
				spared++
			}
			return
		}
		if state := c.state(chunk); !dead(atomic.LoadUint64(state), l, now, generation) && !lapse(state) {
			spared++
		}
	})
	return number, float64(spared) / float64(max(items, 1))
}

// detach takes a page from a class for another one, if it is still that class's.
func (r *recycler) detach(class int, number uint32, heir int) {
	c := r.cache
	cl, p := &c.slabs.classes[class], &c.slabs.pages[number]
	cl.Lock()
	if p.class.Load() != int32(class) || p.next == 0 {
		cl.Unlock()
		return
	}
	c.slabs.detach(cl, number)
	p.heir = int32(heir)
	used := p.used > 0
	p.draining.Store(used)
	cl.Unlock()
	if used {
		r.draining = append(r.draining, number)
	} else {
		c.slabs.release(number)
	}
}

// eachChunk calls f with n chunks of a page, from one on, which are the class's. The caller
// holds the lock of the class. It tells whether there are more.
func (s *slabs) eachChunk(cl *class, number uint32, from, n int, f func(chunk uint64, l lengths)) bool {
	p := &s.pages[number]
	to := min(from+n, int(p.chunks))
	for i := from; i < to; i++ {
		chunk := uint64(number)*PageBytes + uint64(i)*cl.size
		f(chunk, s.lengths(chunk))
	}
	return to < int(p.chunks)
}

// evictPage removes the items of which chunks are in a page that is being emptied. Some may
// be on their way in or out: then the page is looked at again.
func (r *recycler) evictPage(number uint32) {
	var found [scanned]victim
	for from, more := 0, true; more; from += scanned {
		var victims []victim
		victims, more = r.cache.itemsIn(number, from, found[:0])
		for _, v := range victims {
			r.cache.expel(v)
		}
	}
}

// itemsIn appends the items that have one of the chunks of a page from one on.
func (c *Cache) itemsIn(number uint32, from int, victims []victim) (_ []victim, more bool) {
	var firsts [scanned]uint64 // of items that only go on here
	n := 0
	more = c.slabs.eachOf(number, from, func(chunk uint64, l lengths) {
		switch {
		case l.key() != 0:
			victims = append(victims, victim{hash: c.hashKeys.hash(c.key(chunk, l)), chunk: chunk})
		case l != 0 && l != freeChunk:
			firsts[n] = c.words[chunk/8+chunkUnique]
			n++
		}
	})
	for _, first := range firsts[:n] {
		if v, ok := c.itemAt(first); ok {
			victims = append(victims, v)
		}
	}
	return victims, more
}

// eachOf locks the class of a page, if it has one, and calls f with the next of its chunks.
func (s *slabs) eachOf(number uint32, from int, f func(chunk uint64, l lengths)) (more bool) {
	class := s.pages[number].class.Load()
	if class == noClass {
		return false
	}
	cl := &s.classes[class]
	cl.Lock()
	defer cl.Unlock()
	return s.pages[number].class.Load() == class && s.eachChunk(cl, number, from, scanned, f)
}

// itemAt is the item whose first chunk was at some place a moment ago, if there is one now.
// Items that are chained begin in the largest class.
func (c *Cache) itemAt(first uint64) (victim, bool) {
	class := len(c.slabs.classes) - 1
	cl := &c.slabs.classes[class]
	cl.Lock()
	defer cl.Unlock()
	if c.slabs.pages[first/PageBytes].class.Load() != int32(class) {
		return victim{}, false
	}
	l := c.lengths(first)
	if l.key() == 0 {
		return victim{}, false
	}
	return victim{hash: c.hashKeys.hash(c.key(first, l)), chunk: first}, true
}
