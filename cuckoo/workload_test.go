package cuckoo

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
)

// The workload that tables are compared on, specified in docs/cuckoo.md. The peers
// run it in the module bench, which has the same few lines, and whose program
// cuckoo runs this one as well and prints the figures side by side.
const (
	workloadKeys       = 1_000_000
	workloadGoroutines = 8
	workloadWrites     = 5 // per cent
)

// workloadNames are 20 bytes each.
func workloadNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("host%08d.cpu.use", i)
	}
	return names
}

// splitMix is SplitMix64 (Steele, Lea, Flood 2014).
type splitMix uint64

func (s *splitMix) next() uint64 {
	*s += 0x9e3779b97f4a7c15
	z := uint64(*s)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// operation is the next one: the name's number, and whether it is written.
func (s *splitMix) operation(keys int) (name int, write bool) {
	r := s.next()
	return int(r >> 32 * uint64(keys) >> 32), uint32(r)%100 < workloadWrites
}

// workload runs operations split over the goroutines. Every look-up must hit.
func workload(tb testing.TB, names []string, operations int, get func(string) (uint64, bool), set func(string, uint64)) {
	var all sync.WaitGroup
	for g := range workloadGoroutines {
		all.Go(func() {
			random := splitMix(g + 1)
			for n := g; n < operations; n += workloadGoroutines {
				i, write := random.operation(len(names))
				if write {
					set(names[i], uint64(n))
				} else if _, ok := get(names[i]); !ok {
					tb.Errorf("%s is lost", names[i])
					return
				}
			}
		})
	}
	all.Wait()
}

// ours is a table with its writers serialised, as its owner has to. It counts no
// look-ups, as the peers count none.
func ours(tb testing.TB, names []string, bits int) (get func(string) (uint64, bool), set func(string, uint64)) {
	table := newTable(tb, Config{Bits: bits, Slots: 4, Seed: 1})
	var writer sync.Mutex
	get = func(name string) (uint64, bool) { return table.Peek(table.KeyString(name)) }
	set = func(name string, value uint64) {
		k := table.KeyString(name)
		writer.Lock()
		defer writer.Unlock()
		if err := table.Insert(k, value); err != nil {
			tb.Error(err)
		}
	}
	for i, name := range names {
		set(name, uint64(i))
	}
	return get, set
}

func heapBytes() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkWorkload(b *testing.B) {
	names := workloadNames(workloadKeys)
	before := heapBytes()
	get, set := ours(b, names, 20)
	bytes := heapBytes() - before
	b.ResetTimer()
	workload(b, names, b.N, get, set)
	b.ReportMetric(float64(bytes)/workloadKeys, "B/entry")
}

func TestWorkload(t *testing.T) {
	names := workloadNames(900)
	get, set := ours(t, names, 10)
	workload(t, names, 20_000, get, set)
}

// TestWorkloadIsTheSpecifiedOne: the module bench has the same test with the same number.
func TestWorkloadIsTheSpecifiedOne(t *testing.T) {
	random, sum, writes := splitMix(1), 0, 0
	for range 1000 {
		i, write := random.operation(workloadKeys)
		sum += i
		if write {
			writes++
		}
	}
	if sum != 481884084 || writes != 56 {
		t.Errorf("sum %d, writes %d", sum, writes)
	}
}
