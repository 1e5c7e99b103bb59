package cuckoo

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// filled is a table of n entries and their keys in random order.
func filled(b testing.TB, c Config, n int) (*Table, []Key) {
	table, keys := newTable(b, c), make([]Key, n)
	for i := range keys {
		keys[i] = table.KeyUint64(uint64(i))
		if err := table.Insert(keys[i], uint64(i)); err != nil {
			b.Fatal(err)
		}
	}
	rand.Shuffle(n, func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	for _, k := range keys {
		table.Get(k) // sets the referenced bits, as in use
	}
	return table, keys
}

const (
	benchBits    = 21
	benchEntries = 2_000_000
)

// BenchmarkLookup is one core's look-ups in 2 M entries, random order.
func BenchmarkLookup(b *testing.B) { benchmarkLookup(b, benchBits, benchEntries) }

// TestBenchmarkLookup runs every benchmark once, small, so that they stay right.
func TestBenchmarkLookup(t *testing.T) {
	testing.Benchmark(func(b *testing.B) { benchmarkLookup(b, 8, 200) })
}

func benchmarkLookup(b *testing.B, bits, entries int) {
	for _, slots := range []int{4, 8} {
		table, present := filled(b, Config{Bits: bits, Slots: slots, Seed: 1}, entries)
		absent := make([]Key, entries)
		for i := range absent {
			absent[i] = table.KeyUint64(uint64(entries + i))
		}
		for _, kind := range []struct {
			name string
			keys []Key
			hits int
		}{{"hit", present, 1}, {"miss", absent, 0}} {
			b.Run(fmt.Sprintf("slots=%d/%s/get", slots, kind.name), func(b *testing.B) {
				each(b, table.Get, kind.keys, kind.hits)
			})
			b.Run(fmt.Sprintf("slots=%d/%s/peek", slots, kind.name), func(b *testing.B) {
				each(b, table.Peek, kind.keys, kind.hits)
			})
			b.Run(fmt.Sprintf("slots=%d/%s/batch", slots, kind.name), func(b *testing.B) {
				batches(b, table, kind.keys, kind.hits)
			})
		}
	}
}

func each(b *testing.B, get func(Key) (uint64, bool), keys []Key, each int) {
	hits := 0
	for n := b.N; n > 0; n -= len(keys) {
		for _, k := range keys[:min(n, len(keys))] {
			if _, ok := get(k); ok {
				hits++
			}
		}
	}
	if hits != b.N*each {
		b.Fatalf("%d hits in %d", hits, b.N)
	}
}

func batches(b *testing.B, table *Table, keys []Key, each int) {
	before := table.Stats().Hits
	values, found := make([]uint64, 1024), make([]bool, 1024)
	for done := 0; done < b.N; {
		at := done % len(keys)
		n := min(1024, b.N-done, len(keys)-at)
		table.GetBatch(keys[at:at+n], values, found)
		done += n
	}
	if hits := table.Stats().Hits - before; hits != uint64(b.N*each) {
		b.Fatalf("%d hits in %d", hits, b.N)
	}
}

// BenchmarkLookupName is a look-up with the fingerprint of a 20-byte name made first.
func BenchmarkLookupName(b *testing.B) {
	table := newTable(b, Config{Bits: benchBits, Slots: 4, Seed: 1})
	names := workloadNames(benchEntries)
	for i, name := range names {
		if err := table.Insert(table.KeyString(name), uint64(i)); err != nil {
			b.Fatal(err)
		}
	}
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	b.ResetTimer()
	for n := b.N; n > 0; n -= len(names) {
		for _, name := range names[:min(n, len(names))] {
			if _, ok := table.Get(table.KeyString(name)); !ok {
				b.Fatal(name)
			}
		}
	}
}

// BenchmarkInsert fills a table of 2 M slots to 95 %; ns/op is an entry.
func BenchmarkInsert(b *testing.B) {
	const entries = 1 << benchBits * 95 / 100
	var table *Table
	for i := 0; i < b.N; i++ {
		if i%entries == 0 {
			b.StopTimer()
			table = newTable(b, Config{Bits: benchBits, Slots: 4})
			b.StartTimer()
		}
		if err := table.Insert(table.KeyUint64(uint64(i)), 0); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPut is a full cache where every entry is new and one falls out.
func BenchmarkPut(b *testing.B) {
	table := newTable(b, Config{Bits: benchBits, Slots: 4})
	n := uint64(0)
	for ; n < 2<<benchBits; n++ {
		table.Put(table.KeyUint64(n), n)
	}
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		table.Put(table.KeyUint64(n+uint64(i)), n)
	}
}
