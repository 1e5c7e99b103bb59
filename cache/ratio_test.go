//go:build !race

// One goroutine and a million look-ups: nothing for the race detector, and minutes with it.

package cache_test

import (
	"container/list"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"carillon/cache"
)

// zipf is the shares of ranks 0 to n-1 of a Zipf distribution, added up.
func zipf(n int, exponent float64) []float64 {
	sums := make([]float64, n)
	sum := 0.0
	for i := range sums {
		sum += math.Pow(float64(i+1), -exponent)
		sums[i] = sum
	}
	for i := range sums {
		sums[i] /= sum
	}
	return sums
}

// lru is an exact LRU of some items.
type lru struct {
	room  int
	order *list.List
	at    map[uint64]*list.Element
}

func newLRU(room int) *lru { return &lru{room, list.New(), make(map[uint64]*list.Element)} }

// get tells whether a key is there, and makes it be there.
func (l *lru) get(key uint64) bool {
	if e, ok := l.at[key]; ok {
		l.order.MoveToFront(e)
		return true
	}
	if l.order.Len() == l.room {
		delete(l.at, l.order.Remove(l.order.Back()).(uint64))
	}
	l.at[key] = l.order.PushFront(key)
	return false
}

// TestHitRatio: the clock keeps what is read at least as well as an exact LRU of as many items
// does, on a Zipf trace of exponent 0.99, and memory holds more items than with memcached.
func TestHitRatio(t *testing.T) {
	const keys, lookups, region = 100_000, 600_000, 3 << 20
	sums := zipf(keys, 0.99)
	c := newCache(t, region, cache.Config{})
	value, key := make([]byte, 20), make([]byte, 20)
	look := func(n uint64) bool {
		key = keyOf(key, n)
		if _, ok := c.Get(nil, key); ok {
			return true
		}
		c.Store(cache.Write{Key: key, Value: value})
		return false
	}
	random := rand.New(rand.NewPCG(1, 2))
	draw := func() uint64 {
		rank, _ := slices.BinarySearch(sums, random.Float64())
		return uint64(rank) * 0x9e3779b97f4a7c15 // ranks are not near each other
	}
	for range lookups / 3 {
		look(draw())
	}
	exact := newLRU(c.Stats().Items)
	hits, hitsOfLRU := 0, 0
	for i := range lookups {
		n := draw()
		hit, hitOfLRU := look(n), exact.get(n)
		if i < lookups/2 {
			continue // the LRU fills
		}
		if hit {
			hits++
		}
		if hitOfLRU {
			hitsOfLRU++
		}
	}
	ratio := float64(hits) / float64(hitsOfLRU)
	t.Logf("%d items: %d hits, exact LRU %d: %.4f", c.Stats().Items, hits, hitsOfLRU, ratio)
	if ratio < 1 {
		t.Errorf("hit ratio is %.4f of that of an exact LRU of as many items", ratio)
	}
}

// TestItemBytes: items of 20 and 20 bytes take less memory, with their share of the index, than
// memcached's: 48 bytes of header, 8 of CAS unique, 21 of key and 22 of value in a chunk of 120, and
// a pointer of its hash table.
func TestItemBytes(t *testing.T) {
	const memcached = 120 + 8
	for _, region := range []int{4 << 20, 8 << 20, 12 << 20} {
		c := newCache(t, region, cache.Config{})
		var key []byte
		for i := range region / 70 {
			key = keyOf(key, uint64(i))
			c.Store(cache.Write{Key: key, Value: key})
		}
		s := c.Stats()
		bytes := float64(s.Region+s.Heap) / float64(s.Items)
		t.Logf("%d MiB: %d items, %.1f bytes each, index %.1f %% full", region>>20, s.Items, bytes, 100*float64(s.Items)/float64(s.Slots))
		if bytes > memcached {
			t.Errorf("%.1f bytes an item", bytes)
		}
	}
}
