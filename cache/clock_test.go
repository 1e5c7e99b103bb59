package cache

import (
	"slices"
	"testing"
	"time"
)

// hand moves the hand of the clock over the items of the class of a key until n fall, and is
// their keys.
func (c *Cache) handFells(t *testing.T, n int) (keys []string) {
	t.Helper()
	s := c.Read()
	item, _ := s.Peek(numbered(0))
	class := c.slabs.classFor(item.lengths.bytes())
	s.Done()
	for steps := 0; len(keys) < n && steps < 100; steps++ {
		for _, v := range c.recycler.advance(class, nil, n-len(keys)) {
			keys = append(keys, string(c.key(v.chunk, c.lengths(v.chunk))))
		}
	}
	return keys
}

// TestClock: items fall in the order in which they came, those that were read later, and those
// that were read in many rounds last.
func TestClock(t *testing.T) {
	c := testCache(t, 1<<20, Config{})
	c.recycler.stop() // the test moves the hand
	defer c.recycler.start(c)
	const items = 6
	for i := range items {
		c.Store(Write{Key: numbered(i), Value: make([]byte, 20)})
	}
	want := func(numbers ...int) {
		t.Helper()
		var keys []string
		for _, n := range numbers {
			keys = append(keys, string(numbered(n)))
		}
		if got := c.handFells(t, len(numbers)); !slices.Equal(got, keys) {
			t.Fatalf("%q fell, want %q", got, keys)
		}
	}
	want(0, 1) // which the test leaves where they are
	for _, n := range []int{0, 2, 4} {
		c.Get(nil, numbered(n))
	}
	want(3, 5) // 2 and 4 are passed over, and 0
	want(1, 3) // again 0
	for range 5 {
		c.Get(nil, numbered(0))
		c.Get(nil, numbered(1))
		c.handFells(t, 4)
	}
	// Three rounds spare them, however often they were read.
	spared := 0
	for !slices.Contains(c.handFells(t, 4), string(numbered(1))) {
		spared++
	}
	if spared == 0 || spared > 2*maxRounds {
		t.Errorf("key 1 was spared %d times", spared)
	}
}

// storeInTurn is Store for a cache whose recycler is stopped: its rounds are made here, now and
// then and when there is no room, so that what becomes of items does not depend on the scheduler.
func (c *Cache) storeInTurn(t *testing.T, w Write) {
	t.Helper()
	l := (&content{key: w.Key, before: w.Value}).lengths(0)
	cl := &c.slabs.classes[c.slabs.classFor(l.bytes())]
	if c.unique.Load()%256 == 0 {
		c.recycler.round()
	}
	for range 3 {
		if o, _ := c.Store(w); o == Stored {
			return
		}
		cl.waiting = 1
		c.recycler.round()
		cl.waiting = 0
	}
	t.Fatalf("no room for %q", w.Key)
}

// pagesOf is how many pages items of keys of five bytes and values of so many have.
func (c *Cache) pagesOf(value int) int {
	l := (&content{key: numbered(0), before: make([]byte, value)}).lengths(0)
	return c.slabs.classes[c.slabs.classFor(l.bytes())].pages
}

// found is how many of the keys are there. It leaves no trace.
func (c *Cache) found(from, to int) (n int) {
	s := c.Read()
	defer s.Done()
	for i := from; i < to; i++ {
		if _, ok := s.Peek(numbered(i)); ok {
			n++
		}
	}
	return n
}

// TestMemoryMoves: memory that one size of items filled goes to another size when that is what is
// stored, the oldest items first, but hardly from items in use.
func TestMemoryMoves(t *testing.T) {
	c := testCache(t, 8<<20, Config{})
	c.recycler.stop()
	defer c.recycler.start(c)
	fill := func(from, to, length int) {
		value := make([]byte, length)
		for i := from; i < to; i++ {
			c.storeInTurn(t, Write{Key: numbered(i), Value: value})
		}
	}
	fill(0, 40_000, 100)
	before := c.pagesOf(100)
	fill(100_000, 160_000, 1000)
	if small, large := c.pagesOf(100), c.pagesOf(1000); small > before/3 || large < before/2 {
		t.Errorf("items of 100 bytes have %d pages of %d, those of 1000 have %d", small, before, large)
	}
	if n := c.found(158_000, 160_000); n < 2000 {
		t.Errorf("%d of the last 2000 items are there", n)
	}
	// Now the 1000s are read all the time, and items of 100 bytes come, each once.
	next, before := 0, c.pagesOf(1000)
	for i := 200_000; i < 240_000; i += 16 {
		for range 160 {
			c.Get(nil, numbered(160_000-1-next%2000))
			next++
		}
		fill(i, i+16, 100)
	}
	if n, pages := c.found(158_000, 160_000), c.pagesOf(1000); n < 1900 || pages > before*2/3 {
		t.Errorf("of 2000 items in use %d are left, in %d of %d pages", n, pages, before)
	}
	if err := c.Check(); err != nil {
		t.Error(err)
	}
}

// TestSparePage: a page that must be had is the one with the fewest items in use, also where all
// are in use.
func TestSparePage(t *testing.T) {
	c := testCache(t, 1<<20, Config{})
	c.recycler.stop()
	defer c.recycler.start(c)
	const chosen = 3 // of the pages, in the order of the ring
	perPage := 0
	for i := 0; c.pagesOf(1000) < judged-1; i++ {
		c.storeInTurn(t, Write{Key: numbered(i), Value: make([]byte, 1000)})
		if c.pagesOf(1000) == 1 {
			perPage = i + 1
		}
	}
	use := func() {
		for i := range (judged - 1) * perPage {
			if i/perPage != chosen || i%2 == 0 {
				c.Get(nil, numbered(i))
			}
		}
	}
	s := c.Read()
	item, _ := s.Peek(numbered(chosen * perPage))
	s.Done()
	want := demand{heir: noClass, pages: 1}
	use()
	if donor, number := c.recycler.spare(want); donor >= 0 {
		t.Fatalf("page %d is taken, of items in use", number)
	}
	use()
	want.must = true
	if _, number := c.recycler.spare(want); uint64(number) != item.chunk/PageBytes {
		t.Errorf("page %d is taken, want %d", number, item.chunk/PageBytes)
	}
}

// TestEmptyPagesGoBack: what is deleted leaves pages for any size.
func TestEmptyPagesGoBack(t *testing.T) {
	c := testCache(t, 4<<20, Config{Keep: true})
	for i := range 10_000 {
		c.Store(Write{Key: numbered(i), Value: make([]byte, 200)})
	}
	full := c.Stats()
	for i := range 10_000 {
		c.Delete(Removal{Key: numbered(i)})
	}
	c.Quiesce()
	if s := c.Stats(); s.Items != 0 || s.Slabs > full.Slabs/8 || s.Free < full.Slabs/2 {
		t.Errorf("%d bytes of slabs, %d free after deleting %d bytes", s.Slabs, s.Free, full.Slabs)
	}
	if o, _ := c.Store(Write{Key: numbered(0), Value: make([]byte, 1<<20-100)}); o != Stored {
		t.Errorf("a large item: %v", o)
	}
}

// TestFlushManyTimes: generations come again, items do not.
func TestFlushManyTimes(t *testing.T) {
	c := testCache(t, 1<<20, Config{})
	for i := range 600 {
		c.Store(Write{Key: numbered(i)})
		c.Flush(0)
		if n := 0; true {
			c.Each(func(Item) bool { n++; return true })
			if n > 0 {
				t.Fatalf("%d items after flush %d", n, i)
			}
		}
	}
}

func TestSweeper(t *testing.T) {
	c := testCache(t, 2<<20, Config{})
	for i := range 1000 {
		c.Store(Write{Key: numbered(i), Expiry: 1010 + uint32(i%2)*1000, Value: make([]byte, i%7*100)})
	}
	for i := range uint32(sweepTicks) {
		c.Tick(1011 + i)
	}
	if s := c.Stats(); s.Items != 500 || s.Expired != 500 || s.ExpiredUnread != 500 {
		t.Errorf("%d items left, %d expired, %d of them unread", s.Items, s.Expired, s.ExpiredUnread)
	}
}

// TestWaitSeesEverySection: a wait begun in a section ends after it.
func TestWaitSeesEverySection(t *testing.T) {
	var e epochs
	for range 3 {
		stripe, parity := e.enter()
		done := make(chan struct{})
		go func() {
			e.wait()
			close(done)
		}()
		select {
		case <-done:
			t.Fatal("wait did not wait")
		case <-time.After(2 * time.Millisecond): // which shows little, but is never wrong
		}
		other, p := e.enter() // readers that come later do not hold it up for ever
		other.departed[p].Add(1)
		stripe.departed[parity].Add(1)
		<-done
	}
}
