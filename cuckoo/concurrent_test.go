package cuckoo

import (
	"math/rand/v2"
	"sort"
	"sync"
	"sync/atomic"
	"testing"
)

// A history is checked like this: every operation takes a number from one clock
// before and after it. The single writer's operations on a key make up the states
// of that key, in order; a read may have seen a state if the write of it had begun
// before the read ended, and the write after it had not ended before the read began.

const absence = ^uint64(0) // the value of a key that is not there

type state struct{ began, ended, value uint64 }

type observation struct{ key, began, ended, value uint64 }

type history struct {
	clock  atomic.Uint64
	states [][]state // by key
}

func (h *history) wrote(key, began, ended, value uint64) {
	h.states[key] = append(h.states[key], state{began, ended, value})
}

func (h *history) allows(o observation) bool {
	states := h.states[o.key]
	first := sort.Search(len(states)-1, func(i int) bool { return states[i+1].ended > o.began })
	for _, s := range states[first:] {
		if s.began >= o.ended {
			break
		}
		if s.value == o.value {
			return true
		}
	}
	return false
}

// hammer has three readers look all keys up, by Get and by GetBatch, while write
// runs; then it checks what they saw. The first quarter of the keys is stable.
func hammer(t *testing.T, table *Table, keys, rounds int, write func(h *history)) {
	h := &history{states: make([][]state, keys)}
	for k := range h.states {
		h.wrote(uint64(k), 0, 0, absence)
	}
	ready := make(chan struct{})
	var stop atomic.Bool
	var readers sync.WaitGroup
	seen := make([][]observation, 3)
	for r := range seen {
		readers.Go(func() {
			<-ready
			random := rand.New(rand.NewPCG(uint64(r), 1))
			for n := 0; n < rounds && !stop.Load(); n++ {
				seen[r] = append(seen[r], look(table, h, random, keys)...)
			}
		})
	}
	close(ready)
	write(h)
	stop.Store(true)
	readers.Wait()
	reads := 0
	for _, observations := range seen {
		for _, o := range observations {
			if reads++; !h.allows(o) {
				t.Fatalf("key %d read as %#x between %d and %d; its states are %+v", o.key, o.value, o.began, o.ended, h.states[o.key])
			}
		}
	}
	t.Logf("%d reads checked, %+v", reads, table.Stats())
}

// look reads one key by Get and a few by GetBatch.
func look(table *Table, h *history, random *rand.Rand, keys int) (seen []observation) {
	key := uint64(random.IntN(keys))
	began := h.clock.Add(1)
	v, ok := table.Get(table.KeyUint64(key))
	if !ok {
		v = absence
	}
	seen = append(seen, observation{key, began, h.clock.Add(1), v})

	var several [5]Key
	var values [5]uint64
	var found [5]bool
	key = uint64(random.IntN(keys - len(several)))
	for i := range several {
		several[i] = table.KeyUint64(key + uint64(i))
	}
	began = h.clock.Add(1)
	table.GetBatch(several[:], values[:], found[:])
	ended := h.clock.Add(1)
	for i := range several {
		if !found[i] {
			values[i] = absence
		}
		seen = append(seen, observation{key + uint64(i), began, ended, values[i]})
	}
	return seen
}

// TestReadersOfAMapMissNothing keeps a small table nearly full, so that almost
// every insert moves keys, a quarter of which stay all the time.
func TestReadersOfAMapMissNothing(t *testing.T) {
	bothWidths(t, func(t *testing.T, slots int) {
		table := newTable(t, Config{Bits: 7, Slots: slots, Seed: 3})
		const keys = 160
		hammer(t, table, keys, 20_000, func(h *history) {
			random := rand.New(rand.NewPCG(9, 9))
			for n := uint64(0); n < 30_000; n++ {
				key := n
				if n >= keys {
					key = keys/4 + random.Uint64N(keys*3/4)
				}
				k, began, value := table.KeyUint64(key), h.clock.Add(1), n
				if _, there := table.Peek(k); there && random.IntN(4) > 0 {
					table.Delete(k)
					value = absence
				} else if table.Insert(k, n) != nil {
					continue
				}
				h.wrote(key, began, h.clock.Add(1), value)
			}
		})
	})
}

// TestReadersOfACacheMissNothing does the same with Put, and takes what was evicted
// for gone.
func TestReadersOfACacheMissNothing(t *testing.T) {
	bothWidths(t, func(t *testing.T, slots int) {
		table := newTable(t, Config{Bits: 7, Slots: slots, Seed: 4})
		const keys = 200
		hammer(t, table, keys, 20_000, func(h *history) {
			random := rand.New(rand.NewPCG(9, 9))
			for n := uint64(0); n < 30_000; n++ {
				key := random.Uint64N(keys)
				began, value := h.clock.Add(1), n<<16|key
				evicted, did := table.Put(table.KeyUint64(key), value)
				ended := h.clock.Add(1)
				if out := evicted & 0xffff; did && out != key {
					h.wrote(out, began, ended, absence)
				}
				h.wrote(key, began, ended, value)
			}
		})
	})
}

// TestReadersUnderClear: whoever reads while all is cleared sees a right value or none.
func TestReadersUnderClear(t *testing.T) {
	table := newTable(t, Config{Bits: 7, Slots: 4})
	hammer(t, table, 100, 20_000, func(h *history) {
		for n := range uint64(200) {
			for key := range uint64(100) {
				began := h.clock.Add(1)
				if table.Insert(table.KeyUint64(key), n) == nil {
					h.wrote(key, began, h.clock.Add(1), n)
				}
			}
			began := h.clock.Add(1)
			table.Clear()
			ended := h.clock.Add(1)
			for key := range uint64(100) {
				h.wrote(key, began, ended, absence)
			}
		}
	})
}
