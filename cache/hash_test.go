package cache

import (
	"encoding/binary"
	"testing"
)

// slowHash is the hash as docs/format/cache.md has it.
func slowHash(k *hashKeys, key []byte) uint64 {
	padded := append(append([]byte{}, key...), make([]byte, 8)...)
	h := k[32] + uint64(len(key))
	for i := range (len(key) + 7) / 8 {
		w := binary.LittleEndian.Uint64(padded[8*i:])
		low := uint32(w) + uint32(k[i])
		high := uint32(w>>32) + uint32(k[i]>>32)
		h += w + uint64(low)*uint64(high)
	}
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	return h ^ h>>32
}

func FuzzHash(f *testing.F) {
	f.Add(uint64(1), []byte("a"))
	f.Add(uint64(2), []byte("cpu.idle.host13.datacentre7"))
	f.Fuzz(func(t *testing.T, seed uint64, key []byte) {
		if len(key) < 1 || len(key) > MaxKey {
			return
		}
		k := newHashKeys(seed)
		if got, want := k.hash(key), slowHash(&k, key); got != want {
			t.Errorf("hash of %q is %x, want %x", key, got, want)
		}
	})
}

func TestHashOfEveryLength(t *testing.T) {
	k, key := newHashKeys(7), make([]byte, MaxKey)
	for i := range key {
		key[i] = byte(i * 37)
	}
	seen := map[uint64]bool{}
	for n := 1; n <= MaxKey; n++ {
		h := k.hash(key[:n])
		if h != slowHash(&k, key[:n]) || seen[h] {
			t.Errorf("length %d: hash %x", n, h)
		}
		seen[h] = true
	}
	// What the padding cannot tell apart the length does.
	if k.hash([]byte("a")) == k.hash([]byte("a\x00")) {
		t.Error("a zero byte at the end is not seen")
	}
}

// TestHashSpreads: keys that differ in one digit fill buckets and shards evenly.
func TestHashSpreads(t *testing.T) {
	const keys, bins = 1 << 16, 1 << 10
	k := newHashKeys(3)
	var low, high, other [bins]int
	for i := range keys {
		h := k.hash(binary.BigEndian.AppendUint32([]byte("key:"), uint32(i)))
		low[firstBucket(h)]++
		high[h>>54]++
		b := otherBucket(firstBucket(h), h)
		other[b]++
		if otherBucket(b, slotWord(h, 64)) != firstBucket(h) || b == firstBucket(h) {
			t.Fatalf("hash %x: bucket %d does not lead back to %d", h, b, firstBucket(h))
		}
	}
	for i := range bins {
		for _, n := range []int{low[i], high[i], other[i]} {
			if n < 24 || n > 112 { // 64 are expected, with a deviation of 8
				t.Errorf("%d keys in bin %d, not about %d", n, i, keys/bins)
			}
		}
	}
}
