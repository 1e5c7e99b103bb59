package cache

import (
	"slices"
	"sync"
)

const (
	// hotCounters is how many keys are counted at the same time.
	hotCounters = 256
	// hotBits is log2 of the look-ups of which one is counted.
	hotBits = 8
	// hotHalving is the ticks after which all counts are halved.
	hotHalving = 60
)

// HotKey is a key that is asked for often.
type HotKey struct {
	Key   string
	Count uint64 // of look-ups, hits and misses, estimated; it halves every minute
}

// hotKeys counts a sample of look-ups by key: Space-Saving (Metwally et al., 2005), which
// finds every key with more than one in hotCounters of all.
type hotKeys struct {
	sync.Mutex
	counters []hotCounter
	byHash   map[uint64]int // index of counters
	ticks    int
}

type hotCounter struct {
	hash, count uint64
	key         string
}

func (h *hotKeys) init() { h.byHash = make(map[uint64]int, hotCounters) }

// sample counts the n-th look-up of a reader, if it is one of those to be counted: which
// ones must not fall in step with what the clients do.
func (h *hotKeys) sample(hash uint64, key []byte, n uint64) {
	if n*0x9e3779b97f4a7c15>>(64-hotBits) == 0 && h.TryLock() {
		h.add(hash, key, 1<<hotBits)
		h.Unlock()
	}
}

func (h *hotKeys) add(hash uint64, key []byte, times uint64) {
	if at, ok := h.byHash[hash]; ok {
		h.counters[at].count += times
		return
	}
	if len(h.counters) < hotCounters {
		h.byHash[hash] = len(h.counters)
		h.counters = append(h.counters, hotCounter{hash, times, string(key)})
		return
	}
	least := 0
	for i := range h.counters {
		if h.counters[i].count < h.counters[least].count {
			least = i
		}
	}
	c := &h.counters[least]
	delete(h.byHash, c.hash)
	h.byHash[hash] = least
	*c = hotCounter{hash, c.count + times, string(key)}
}

func (h *hotKeys) tick() {
	h.Lock()
	defer h.Unlock()
	if h.ticks++; h.ticks%hotHalving == 0 {
		for i := range h.counters {
			h.counters[i].count /= 2
		}
	}
}

// Saw counts look-ups of a key that somebody else answered: a sample, of which each
// stands for so many.
func (c *Cache) Saw(key []byte, times uint64) {
	c.hot.Lock()
	defer c.hot.Unlock()
	c.hot.add(c.hashKeys.hash(key), key, times)
}

// Hot is the up to n keys that are asked for most, the most frequent first.
func (c *Cache) Hot(n int) []HotKey {
	c.hot.Lock()
	defer c.hot.Unlock()
	var keys []HotKey
	for _, counter := range c.hot.counters {
		keys = append(keys, HotKey{counter.key, counter.count})
	}
	slices.SortFunc(keys, func(a, b HotKey) int { return int(b.Count) - int(a.Count) })
	return keys[:min(n, len(keys))]
}
