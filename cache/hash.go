package cache

import "encoding/binary"

// MaxKey is the longest key, in bytes.
const MaxKey = 250

const (
	hashWords = (MaxKey + 7) / 8
	mixer     = 0xd6e8feb86659fd93
)

// hashKeys are what the hash of this cache is made with; the last one is for the length.
type hashKeys [hashWords + 1]uint64

// newHashKeys stretches a seed by splitmix64.
func newHashKeys(seed uint64) (k hashKeys) {
	for i := range k {
		seed += 0x9e3779b97f4a7c15
		z := (seed ^ seed>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		k[i] = z ^ z>>31
	}
	return k
}

// hash is NH of the key's words, mixed; docs/format/cache.md says why. A kernel program
// computes the same. The key has 1 to MaxKey bytes.
func (k *hashKeys) hash(key []byte) uint64 {
	h := k[hashWords] + uint64(len(key))
	i := 0
	for ; len(key) >= 8; key = key[8:] {
		h += product(binary.LittleEndian.Uint64(key), k[i%hashWords])
		i++
	}
	if len(key) > 0 {
		h += product(tail(key), k[i%hashWords])
	}
	h = (h ^ h>>32) * mixer
	h = (h ^ h>>32) * mixer
	return h ^ h>>32
}

func product(w, k uint64) uint64 {
	return w + uint64(uint32(w)+uint32(k))*uint64(uint32(w>>32)+uint32(k>>32))
}

// tail is up to seven bytes as a word, without a loop.
func tail(b []byte) uint64 {
	n := len(b)
	if n >= 4 {
		low := uint64(binary.LittleEndian.Uint32(b))
		return low | uint64(binary.LittleEndian.Uint32(b[n-4:]))<<(8*(n-4))
	}
	return uint64(b[0]) | uint64(b[n/2])<<(8*(n/2)) | uint64(b[n-1])<<(8*(n-1))
}

// reader and writer agree on these parts of a hash.
const (
	locatorBits = 37
	locatorMask = 1<<locatorBits - 1
	bucketBits  = 10
	bucketMask  = 1<<bucketBits - 1
)

// firstBucket is where an entry is put if there is room.
func firstBucket(hash uint64) uint64 { return hash & bucketMask }

// otherBucket is the second bucket of an entry in bucket b. word is its slot or its hash.
// The two differ in their lowest bit at least.
func otherBucket(b, word uint64) uint64 {
	return b ^ (word>>locatorBits*0x9e3779b1>>17&bucketMask | 1)
}
