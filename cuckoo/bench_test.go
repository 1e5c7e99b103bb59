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

// lookups are the ways to look up, in a table of entries: each looks n keys up and
// returns how many answers were wrong.
func lookups(tb testing.TB, bits, entries int, run func(name string, lookup func(n int) (wrong int))) {
	for _, slots := range []int{4, 8} {
		table, present := filled(tb, Config{Bits: bits, Slots: slots, Seed: 1}, entries)
		absent := make([]Key, entries)
		for i := range absent {
			absent[i] = table.KeyUint64(uint64(entries + i))
		}
		of := fmt.Sprintf("slots=%d/", slots)
		run(of+"hit/get", func(n int) int { return n - singly(table.Get, present, n) })
		run(of+"hit/peek", func(n int) int { return n - singly(table.Peek, present, n) })
		run(of+"hit/batch", func(n int) int { return n - batched(table, present, n) })
		run(of+"miss/get", func(n int) int { return singly(table.Get, absent, n) })
		run(of+"miss/peek", func(n int) int { return singly(table.Peek, absent, n) })
		run(of+"miss/batch", func(n int) int { return batched(table, absent, n) })
	}
}

// BenchmarkLookup is one core's look-ups in 2 M entries, random order.
func BenchmarkLookup(b *testing.B) {
	lookups(b, benchBits, benchEntries, func(name string, lookup func(n int) int) {
		b.Run(name, func(b *testing.B) {
			if wrong := lookup(b.N); wrong != 0 {
				b.Fatalf("%d of %d wrong", wrong, b.N)
			}
		})
	})
}

// TestLookups runs the benchmark small, so that it stays right.
func TestLookups(t *testing.T) {
	lookups(t, 8, 200, func(name string, lookup func(n int) int) {
		if wrong := lookup(3333); wrong != 0 {
			t.Errorf("%s: %d wrong", name, wrong)
		}
	})
}

// singly looks n keys up one by one and counts the hits.
func singly(get func(Key) (uint64, bool), keys []Key, n int) (hits int) {
	for ; n > 0; n -= len(keys) {
		for _, k := range keys[:min(n, len(keys))] {
			if _, ok := get(k); ok {
				hits++
			}
		}
	}
	return hits
}

// batched looks n keys up in requests of 1024 and counts the hits.
func batched(table *Table, keys []Key, n int) (hits int) {
	before := table.Stats().Hits
	values, found := make([]uint64, 1024), make([]bool, 1024)
	for done := 0; done < n; {
		at := done % len(keys)
		some := keys[at:min(at+1024, at+n-done, len(keys))]
		table.GetBatch(some, values, found)
		done += len(some)
	}
	return int(table.Stats().Hits - before)
}

// BenchmarkLookupName is a look-up with the fingerprint of a 20-byte name made
// first. The names come in the order of memory, which is random to the table.
func BenchmarkLookupName(b *testing.B) {
	table := newTable(b, Config{Bits: benchBits, Slots: 4, Seed: 1})
	names := workloadNames(benchEntries)
	for i, name := range names {
		if err := table.Insert(table.KeyString(name), uint64(i)); err != nil {
			b.Fatal(err)
		}
	}
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
