package main

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// The workload of docs/cuckoo.md. The package carillon/cuckoo runs the same lines in
// its BenchmarkWorkload; this module cannot import that one, and must not, so that no
// peer's library enters its go.sum. A test on both sides pins the numbers.
const (
	keys       = 1_000_000
	operations = 8_000_000
	goroutines = 8
	writes     = 5 // per cent
)

// nameList are 20 bytes each.
func nameList(n int) []string {
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
	return int(r >> 32 * uint64(keys) >> 32), uint32(r)%100 < writes
}

// measure fills a peer with the names and runs the workload on it.
func measure(p peer, names []string, operations int) (result, error) {
	before := heapBytes()
	get, set := p.open(len(names))
	for i, name := range names {
		set(name, uint64(i))
	}
	bytes := heapBytes() - before
	began := time.Now()
	var all sync.WaitGroup
	var lost atomic.Int64
	for g := range goroutines {
		all.Go(func() {
			random := splitMix(g + 1)
			for n := g; n < operations; n += goroutines {
				i, write := random.operation(len(names))
				if write {
					set(names[i], uint64(n))
				} else if _, ok := get(names[i]); !ok {
					lost.Add(1)
				}
			}
		})
	}
	all.Wait()
	took := time.Since(began)
	if lost.Load() > 0 {
		return result{}, fmt.Errorf("%s lost %d entries", p.name, lost.Load())
	}
	return result{
		name:  p.name,
		nanos: float64(took) / float64(operations),
		bytes: float64(bytes) / float64(len(names)),
	}, nil
}

func heapBytes() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
