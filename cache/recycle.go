package cache

import (
	"sync/atomic"
	"time"
)

// Bounds of the recycler's work.
const (
	// minReserve is the free chunks that the recycler keeps ready when memory is short,
	// where that is no more than a sixteenth of a class.
	minReserve, reserveShare = 512, 16
	// scanned is the chunks that are judged under one lock of their class.
	scanned = 64
	// maxRounds is how many rounds an item can outlast without being read.
	maxRounds = 3
	// coldShare of a page's items may be in use when another class gets it.
	coldShare = 8
	// moveEvery is how many pages' worth of chunks are recycled between two moves of a page
	// that nobody has to have.
	moveEvery = 4
	// graceRetry is how long the recycler rests after Grace failed.
	graceRetry = 10 * time.Millisecond
)

// recycler makes chunks free: one goroutine that evicts items ahead of need, waits for a
// grace period, once for all that was retired until then, and gives the chunks back to
// their classes. Its fields are that goroutine's, but for the channels.
//
// # Who gets the memory
//
// A class that runs short evicts its own coldest items, by CLOCK. So that memory does not
// stay for ever where it was needed once, pages move: the time that passes until the hand comes
// back to a page, in bytes recycled, is how old the items are that a class evicts. The class
// where that is longest, by a factor of two at least, gives a page, unless the page turns out
// to be in use.
type recycler struct {
	cache    *Cache
	wake     chan struct{} // of capacity 1
	stopping chan struct{}
	stopped  chan struct{}

	moved    uint64   // what slabs.recycled was when a page was last asked of another class
	draining []uint32 // pages whose items are being evicted
	batch    []uint64 // scratch: the chunks whose grace period it is
}

func (r *recycler) start(c *Cache) {
	r.cache = c
	r.wake, r.stopping, r.stopped = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	go r.run()
}

// stop lets writers that wait for the recycler go on too, without what they wait for.
func (r *recycler) stop() {
	close(r.stopping)
	<-r.stopped
	for i := range r.cache.slabs.classes {
		r.cache.slabs.classes[i].more.Broadcast()
	}
}

func (r *recycler) isStopped() bool {
	select {
	case <-r.stopped:
		return true
	default:
		return false
	}
}

func (r *recycler) run() {
	defer close(r.stopped)
	for {
		select {
		case <-r.stopping:
			return
		case <-r.wake:
			r.round()
		}
	}
}

// call wakes the recycler, unless it is to be woken anyhow.
func (r *recycler) call() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// round evicts what is missing, and makes free what was retired before the grace period.
func (r *recycler) round() {
	c := r.cache
	if !c.config.Keep {
		r.drainOldest(demand{noClass, c.slabs.pool.short() - r.promised(noClass), true})
		for i := range c.slabs.classes {
			r.drainOldest(r.provide(i))
		}
		for _, number := range r.draining {
			r.evictPage(number)
		}
	}
	before := r.collect()
	if len(r.batch) > 0 {
		r.grace()
	}
	r.giveBack()
	r.forget()
	for i := range c.slabs.classes {
		r.finish(i, before[i])
	}
}

// provide evicts items of a class until its reserve is there, or will be after the grace
// period, and is which pages of other classes it should have.
func (r *recycler) provide(class int) demand {
	c := r.cache
	cl := &c.slabs.classes[class]
	cl.Lock()
	missing := max(cl.reserve, cl.waiting) - cl.nfree - cl.limbo
	steps := cl.chunks * (maxRounds + 2)
	waiting := cl.waiting > 0
	cl.Unlock()
	if missing <= 0 || !c.slabs.pool.empty() {
		return demand{}
	}
	missing -= r.evict(class, missing, steps)
	perPage := PageBytes / int(cl.size)
	switch missing -= r.promised(class) * perPage; {
	case missing > 0 && waiting:
		return demand{class, (missing + perPage - 1) / perPage, true}
	case c.slabs.recycled.Load()-r.moved >= moveEvery*PageBytes && r.unfair(class):
		return demand{class, 1, false}
	}
	return demand{}
}

// victim is an item that may have to go.
type victim struct {
	hash, chunk uint64
	dead        bool // expired or flushed
}

// evict removes up to n items of a class, the coldest ones that the hand comes to in so
// many steps.
func (r *recycler) evict(class, n, steps int) (evicted int) {
	var found [scanned]victim
	for evicted < n && steps > 0 {
		victims := r.advance(class, found[:0], n-evicted)
		for _, v := range victims {
			if r.cache.expel(v) {
				evicted++
			}
		}
		steps -= scanned
	}
	return evicted
}

// advance moves the hand of a class over some chunks and appends at most n victims.
func (r *recycler) advance(class int, victims []victim, n int) []victim {
	c := r.cache
	cl := &c.slabs.classes[class]
	cl.Lock()
	defer cl.Unlock()
	now, generation := c.Now(), c.generation()
	for step := 0; step < scanned && len(victims) < n && cl.pages > 0; step++ {
		p := &c.slabs.pages[cl.hand]
		if cl.within >= int(p.chunks) {
			p.visited = c.slabs.recycled.Load()
			cl.hand, cl.within = p.next, 0
			continue
		}
		chunk := uint64(cl.hand)*PageBytes + uint64(cl.within)*cl.size
		cl.within++
		l := c.lengths(chunk)
		if l.key() == 0 {
			continue
		}
		state := c.state(chunk)
		gone := dead(atomic.LoadUint64(state), l, now, generation)
		if gone || lapse(state) {
			victims = append(victims, victim{c.hashKeys.hash(c.key(chunk, l)), chunk, gone})
		}
	}
	return victims
}

// lapse is what the hand does to an item it comes to, and tells whether it falls. An item
// that was read since the last round lasts the longer the more rounds it has been read in.
func lapse(state *uint64) (falls bool) {
	for {
		old := atomic.LoadUint64(state)
		lapsed := old
		switch rounds := old & roundsMask; {
		case old&markReference != 0:
			lapsed = old&^markReference | markFetched
			if rounds < maxRounds*oneRound {
				lapsed += oneRound
			}
		case rounds > 0:
			lapsed -= oneRound
		default:
			return true
		}
		if atomic.CompareAndSwapUint64(state, old, lapsed) {
			return false
		}
	}
}

// expel removes a victim, if it is still there.
func (c *Cache) expel(v victim) bool {
	s := c.shard(v.hash)
	s.Lock()
	defer s.Unlock()
	slot := c.slotOf(v.hash, v.chunk)
	if slot == nil {
		return false
	}
	if v.dead { // unless it was touched since
		if !dead(atomic.LoadUint64(c.state(v.chunk)), c.lengths(v.chunk), c.Now(), c.generation()) {
			return false
		}
		c.remove(s, slot, expired)
	} else {
		c.remove(s, slot, evicted)
	}
	return true
}

// collect takes what was retired, and is how many chunks each class had given out.
func (r *recycler) collect() (taken [maxClasses]uint64) {
	r.batch = r.batch[:0]
	for i := range r.cache.slabs.classes {
		cl := &r.cache.slabs.classes[i]
		cl.Lock()
		r.batch = append(r.batch, cl.retired...)
		cl.retired = cl.retired[:0]
		taken[i] = cl.taken
		cl.Unlock()
	}
	return taken
}

// grace waits until nobody can read what is in the batch any more.
func (r *recycler) grace() {
	r.cache.epochs.wait()
	if r.cache.config.Grace == nil {
		return
	}
	for r.cache.config.Grace.Wait() != nil {
		select {
		case <-r.stopping:
			r.batch = r.batch[:0] // which stays unused
			return
		case <-time.After(graceRetry):
		}
	}
}

// giveBack makes the chunks of the batch free.
func (r *recycler) giveBack() {
	c := r.cache
	for _, first := range r.batch {
		cl := c.slabs.classOf(first)
		cl.Lock()
		cl.limbo--
		cl.Unlock()
		c.slabs.recycled.Add(uint64(c.free(first, c.lengths(first).text())))
	}
}

// forget drops the pages from the list that are empty now.
func (r *recycler) forget() {
	kept := r.draining[:0]
	for _, number := range r.draining {
		if r.cache.slabs.pages[number].draining.Load() {
			kept = append(kept, number)
		}
	}
	r.draining = kept
}

// finish sets how many free chunks a class should have by what was taken during the grace
// period, and lets go on who waits for some.
func (r *recycler) finish(class int, before uint64) {
	cl := &r.cache.slabs.classes[class]
	cl.Lock()
	share := (cl.chunks + reserveShare - 1) / reserveShare
	cl.reserve = min(max(2*int(cl.taken-before), minReserve), share)
	cl.rounds++
	cl.Unlock()
	cl.more.Broadcast()
}
