package cuckoo

import (
	"math/rand/v2"
	"testing"

	"github.com/zeebo/xxh3"
)

// TestFingerprint: keys of all lengths, those that are hashed here too, have the
// fingerprint that the library gives them.
func TestFingerprint(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for _, seed := range []uint64{0, 1, random.Uint64()} {
		table := newTable(t, Config{Bits: MinBits, Slots: 4, Seed: seed})
		for n := range 70 {
			key := make([]byte, n)
			for range 100 {
				for i := range key {
					key[i] = byte(random.Uint32())
				}
				want := Key(xxh3.Hash128Seed(key, seed))
				if got := table.Key(key); got != want {
					t.Fatalf("seed %#x, %d bytes: %#x, want %#x", seed, n, got, want)
				}
				if got := table.KeyString(string(key)); got != want {
					t.Fatalf("seed %#x, a string of %d bytes: %#x, want %#x", seed, n, got, want)
				}
			}
		}
	}
}
