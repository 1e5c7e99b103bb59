package cuckoo

import (
	"math/rand/v2"
	"testing"
)

// filled is a table of n entries with keys of random numbers; there is room for more.
func filled(b testing.TB, c Config, n int) (*Table, []Key) {
	words, err := Words(c)
	if err != nil {
		b.Fatal(err)
	}
	t, err := New(make([]uint64, words), c)
	if err != nil {
		b.Fatal(err)
	}
	keys := make([]Key, n)
	for i := range keys {
		keys[i] = t.KeyUint64(uint64(i))
		if err := t.Insert(keys[i], uint64(i)); err != nil {
			b.Fatal(err)
		}
	}
	rand.Shuffle(n, func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	return t, keys
}

func BenchmarkGet(b *testing.B) {
	t, keys := filled(b, Config{Bits: 21, Slots: 4, Seed: 1}, 2_000_000)
	absent := make([]Key, len(keys))
	for i := range absent {
		absent[i] = t.KeyUint64(uint64(i + len(keys)))
	}
	b.Run("hit", func(b *testing.B) {
		for i := 0; i < b.N; i++ {
			if _, ok := t.Get(keys[i%len(keys)]); !ok {
				b.Fatal("lost")
			}
		}
	})
	b.Run("miss", func(b *testing.B) {
		for i := 0; i < b.N; i++ {
			if _, ok := t.Get(absent[i%len(absent)]); ok {
				b.Fatal("found")
			}
		}
	})
}
