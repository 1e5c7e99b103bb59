package cache

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// Bounds of the slab classes.
const (
	minChunk   = 48            // bytes: a short key, a short value
	maxChunk   = PageBytes / 4 // bytes: longer items are chained
	maxClasses = 64            // chunk sizes
	noClass    = -1            // of a page that no class has
)

// slabs gives out chunks of some fixed sizes, the classes. A class has pages, each cut into
// chunks; pages come from a pool and go back to it. Locks are taken in this order: a
// class's, the pool's.
type slabs struct {
	*region
	classes  []class
	bySize   [maxChunk/8 + 1]uint8 // class by bytes/8, rounded up
	pages    []page                // by number
	pool     pool
	recycled atomic.Uint64 // bytes of chunks given back since New; the recycler adds
}

// pool is the pages that no class has.
type pool struct {
	sync.Mutex
	free  []uint32 // nobody has these
	index int      // the index has so many
}

// page is what is known of a page of the region. The lock of the class that has the
// page guards all writes, and all fields but the first two.
type page struct {
	class    atomic.Int32
	draining atomic.Bool // the recycler empties it: free chunks do not go back to the class
	heir     int32       // the class that has it next, noClass if the pool
	chunks   uint16      // it is cut into
	used     uint16      // of them, not free
	next     uint32      // in the class's ring, 0 if in none
	prev     uint32
	visited  uint64 // when the clock's hand left it, or it came: slabs.recycled then
}

// class is the chunks of one size. Its lock guards all but size.
type class struct {
	size uint64 // bytes of a chunk

	sync.Mutex
	more    *sync.Cond // the recycler has been here
	pages   int        // in the ring, in the order in which the clock's hand visits them
	hand    uint32     // the page that the hand is on, if there are pages
	within  int        // the chunk of it that comes next
	free    uint64     // first of the free chunks, 0 if none
	nfree   int
	chunks  int      // of all pages
	bytes   int      // of items in chunks that are not free
	reserve int      // free chunks there should be when memory is short
	waiting int      // chunks that writers wait for
	rounds  uint64   // of the recycler
	taken   uint64   // chunks given out since New
	retired []uint64 // first chunks of items, for the next grace period
	limbo   int      // chunks retired or in a grace period
	events  Events
}

// sizes are the chunk sizes for a growth factor: each the largest of which as many fit in
// a page.
func sizes(growth float64) ([]uint64, error) {
	if !(growth > 1 && growth <= 4) {
		return nil, fmt.Errorf("%w: growth of chunk sizes is %v, not above 1 and up to 4", ErrConfig, growth)
	}
	var all []uint64
	for size := float64(minChunk); ; {
		fitted := uint64(PageBytes/(PageBytes/(uint64(size)&^7))) &^ 7
		all = append(all, fitted)
		if fitted >= maxChunk {
			break
		}
		size = min(max(float64(fitted)*growth, float64(fitted)+8), maxChunk)
	}
	if len(all) > maxClasses {
		return nil, fmt.Errorf("%w: growth %v makes %d chunk sizes, more than %d", ErrConfig, growth, len(all), maxClasses)
	}
	return all, nil
}

func newSlabs(r *region, s shape, growth float64) (*slabs, error) {
	sizes, err := sizes(growth)
	if err != nil {
		return nil, err
	}
	all := &slabs{region: r, classes: make([]class, len(sizes)), pages: make([]page, s.pages)}
	at := 0
	for i, size := range sizes {
		cl := &all.classes[i]
		cl.size = size
		cl.more = sync.NewCond(&cl.Mutex)
		for ; at <= int(size)/8; at++ {
			all.bySize[at] = uint8(i)
		}
	}
	for i := range all.pages {
		all.pages[i].class.Store(noClass)
	}
	for n := s.pages - 1; n >= s.control; n-- {
		all.pool.free = append(all.pool.free, uint32(n))
	}
	return all, nil
}

// classFor is the number of the smallest class with chunks of so many bytes, which are at
// most maxChunk.
func (s *slabs) classFor(bytes int) int { return int(s.bySize[(bytes+7)/8]) }

// classOf is the class of a chunk that is in use.
func (s *slabs) classOf(chunk uint64) *class {
	return &s.classes[s.pages[chunk/PageBytes].class.Load()]
}

// chunksIn is how many chunks a page is cut into. Those that a kernel program may read stay
// clear of the end of the value that it sees the page in.
func chunksIn(page uint32, size uint64) uint16 {
	bytes := uint64(PageBytes)
	if size <= readableBytes && (uint64(page)+1)*PageBytes%valueBytes == 0 {
		bytes -= readableBytes
	}
	return uint16(bytes / size)
}

// take gives out a chunk for an item or part of one of so many bytes. The caller holds the
// lock of the class.
func (s *slabs) take(class int, bytes int) (chunk uint64, ok bool) {
	cl := &s.classes[class]
	if cl.free == 0 && !s.grow(class) {
		return 0, false
	}
	chunk = cl.free
	s.unlink(cl, chunk)
	s.setLengths(chunk, 0)
	s.pages[chunk/PageBytes].used++
	cl.bytes += bytes
	cl.taken++
	return chunk, true
}

// grow gives a class a page of the pool, unless it is needed for the index. The caller holds
// the lock.
func (s *slabs) grow(class int) bool {
	number, ok := s.pool.take(false)
	if ok {
		s.attach(class, number)
	}
	return ok
}

// attach gives a class a page. The caller holds the lock.
func (s *slabs) attach(class int, number uint32) {
	cl, p := &s.classes[class], &s.pages[number]
	p.chunks, p.used = chunksIn(number, cl.size), 0
	p.class.Store(int32(class))
	p.visited = s.recycled.Load()
	s.join(cl, number)
	cl.chunks += int(p.chunks)
	for i := int(p.chunks) - 1; i >= 0; i-- {
		s.link(cl, uint64(number)*PageBytes+uint64(i)*cl.size)
	}
}

// join puts a page into the ring of a class, just behind the hand: what is stored there is the
// last that the hand comes to. The caller holds the lock.
func (s *slabs) join(cl *class, number uint32) {
	p := &s.pages[number]
	if cl.pages++; cl.pages == 1 {
		p.next, p.prev = number, number
		cl.hand, cl.within = number, 0
		return
	}
	p.next, p.prev = cl.hand, s.pages[cl.hand].prev
	s.pages[p.prev].next, s.pages[p.next].prev = number, number
}

// leave takes a page out of the ring of its class. The caller holds the lock.
func (s *slabs) leave(cl *class, number uint32) {
	p := &s.pages[number]
	s.pages[p.prev].next, s.pages[p.next].prev = p.next, p.prev
	if cl.pages--; cl.hand == number {
		cl.hand, cl.within = p.next, 0
	}
	p.next = 0
}

// link makes a chunk a free one.
func (s *slabs) link(cl *class, chunk uint64) {
	s.setLengths(chunk, freeChunk)
	s.words[chunk/8+chunkNext], s.words[chunk/8+chunkPrev] = cl.free, 0
	if cl.free != 0 {
		s.words[cl.free/8+chunkPrev] = chunk
	}
	cl.free = chunk
	cl.nfree++
}

// unlink takes a chunk out of the free ones.
func (s *slabs) unlink(cl *class, chunk uint64) {
	next, prev := s.words[chunk/8+chunkNext], s.words[chunk/8+chunkPrev]
	if next != 0 {
		s.words[next/8+chunkPrev] = prev
	}
	if prev != 0 {
		s.words[prev/8+chunkNext] = next
	} else {
		cl.free = next
	}
	cl.nfree--
}

// put takes back a chunk that nobody can reach any more. A page of which nothing is used goes
// to its heir or, if the class has enough without, to the pool.
func (s *slabs) put(chunk uint64, bytes int) {
	number := uint32(chunk / PageBytes)
	cl, p := s.classOf(chunk), &s.pages[number]
	cl.Lock()
	p.used--
	cl.bytes -= bytes
	leaves := p.used == 0
	if p.draining.Load() {
		s.setLengths(chunk, 0)
	} else {
		s.link(cl, chunk)
		if leaves = leaves && cl.nfree >= 2*int(p.chunks); leaves {
			s.detach(cl, number)
			p.heir = noClass
		}
	}
	cl.Unlock()
	if leaves {
		s.release(number)
	}
}

// detach takes a page and its free chunks out of its class. The caller holds the lock.
func (s *slabs) detach(cl *class, number uint32) {
	p := &s.pages[number]
	for i := range uint64(p.chunks) {
		chunk := uint64(number)*PageBytes + i*cl.size
		if s.lengths(chunk) == freeChunk {
			s.unlink(cl, chunk)
		}
	}
	s.leave(cl, number)
	cl.chunks -= int(p.chunks)
}

// release hands on a page that was detached and of which nothing is used.
func (s *slabs) release(number uint32) {
	p := &s.pages[number]
	heir := int(p.heir)
	p.draining.Store(false)
	p.class.Store(noClass)
	if heir != noClass {
		s.classes[heir].Lock()
		defer s.classes[heir].Unlock()
		s.attach(heir, number)
		return
	}
	s.pool.Lock()
	defer s.pool.Unlock()
	s.pool.free = append(s.pool.free, number)
}

// take gives out a page, for the index or for a class.
func (p *pool) take(forIndex bool) (number uint32, ok bool) {
	p.Lock()
	defer p.Unlock()
	if n := len(p.free); n > 0 && (forIndex || n > p.kept()) {
		number, p.free = p.free[n-1], p.free[:n-1]
		if forIndex {
			p.index++
		}
		return number, true
	}
	return 0, false
}

// kept is how many free pages only the index may take: it takes many at nearly the same
// time, when its pages are full. The caller holds the lock.
func (p *pool) kept() int { return p.index/32 + 1 }

// short is how many pages are missing in what is kept for the index.
func (p *pool) short() int {
	p.Lock()
	defer p.Unlock()
	return p.kept() - len(p.free)
}

// empty tells that no class can have a page.
func (p *pool) empty() bool {
	p.Lock()
	defer p.Unlock()
	return len(p.free) <= p.kept()
}
