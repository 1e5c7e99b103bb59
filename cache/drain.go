package cache

import "sync/atomic"

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

// drainOldest takes pages from the classes whose items are the oldest, to be emptied. A
// page whose items are in use is passed over for now, unless there must be one.
func (r *recycler) drainOldest(want demand) {
	for passed := 0; want.pages > 0 && len(r.draining) < maxDraining; {
		donor, _ := r.oldest(want.heir)
		if donor < 0 {
			return
		}
		if r.detach(donor, want.heir, want.must && passed >= judged) {
			want.pages--
		} else if passed++; passed > judged {
			return
		}
	}
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
	if len(cl.pages) == 0 {
		return 0, false
	}
	return r.recycled - r.cache.slabs.pages[cl.nextPage()].visited, true
}

// nextPage is the page that the hand comes to after the one it is on. The caller holds the
// lock, and there are pages.
func (cl *class) nextPage() uint32 { return cl.pages[(cl.hand+1)%len(cl.pages)] }

// detach takes the next page from a class for another one, if its items are hardly in use, or
// if it must. Otherwise it does to them what the hand would do.
func (r *recycler) detach(class, heir int, must bool) bool {
	number, used, ok := r.tryDetach(class, heir, must)
	switch {
	case !ok:
		return false
	case used:
		r.draining = append(r.draining, number)
	default:
		r.cache.slabs.release(number)
	}
	r.moved = r.recycled
	return true
}

func (r *recycler) tryDetach(class, heir int, must bool) (number uint32, used, ok bool) {
	c := r.cache
	cl := &c.slabs.classes[class]
	cl.Lock()
	defer cl.Unlock()
	if len(cl.pages) == 0 {
		return 0, false, false
	}
	number = cl.nextPage()
	p := &c.slabs.pages[number]
	if !must && r.inUse(cl, number) {
		p.visited = r.recycled
		return 0, false, false
	}
	c.slabs.detach(cl, number)
	p.heir = int32(heir)
	p.draining.Store(p.used > 0)
	return number, p.used > 0, true
}

// inUse tells whether more of a page's items than a share were read since the hand was
// there. The caller holds the lock of the class.
func (r *recycler) inUse(cl *class, number uint32) bool {
	c := r.cache
	items, read := 0, 0
	c.slabs.eachChunk(cl, number, 0, PageBytes, func(chunk uint64, l lengths) {
		if l.key() == 0 {
			return
		}
		items++
		if state := c.state(chunk); atomic.LoadUint64(state)&markReference != 0 {
			lapse(state)
			read++
		}
	})
	return read*coldShare > items
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
