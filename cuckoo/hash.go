package cuckoo

import (
	"encoding/binary"
	"math/bits"
	"unsafe"

	"github.com/zeebo/xxh3"
)

// Fingerprints are XXH3-128 with the table's seed. Keys of 9 to 16 bytes, as most
// names are, have its few lines written out here: the library is as quick, but how many
// look-ups wait for memory at the same time is how few instructions each of them has.
// A test holds the two together. See github.com/Cyan4973/xxHash, doc/xxhash_spec.md.

const (
	shortest = 9 // bytes of a key that is hashed here
	longest  = 16

	prime32b = 0x85EBCA77
	prime64a = 0x9E3779B185EBCA87
	prime64b = 0xC2B2AE3D27D4EB4F
	primeMX  = 0x165667919E3779F9
)

// flips is what the seed and the secret of XXH3 add to a key.
type flips struct{ lo, hi uint64 }

func newFlips(seed uint64) flips {
	return flips{
		lo: 0x78e5c0cc4ee679cb ^ 0x2172ffcc7dd05a82 - seed,
		hi: 0x8e2443f7744608b8 ^ 0x4c263a81e69035e0 + seed,
	}
}

// Key is the fingerprint of b.
func (t *Table) Key(b []byte) Key {
	if len(b) < shortest || len(b) > longest {
		return Key(xxh3.Hash128Seed(b, t.config.Seed))
	}
	return t.flips.hash(b)
}

// KeyString is the fingerprint of the bytes of s.
func (t *Table) KeyString(s string) Key {
	if len(s) < shortest || len(s) > longest {
		return Key(xxh3.HashString128Seed(s, t.config.Seed))
	}
	return t.flips.hash(unsafe.Slice(unsafe.StringData(s), len(s))) // which is only read
}

// KeyUint64 is the fingerprint of the eight little-endian bytes of v.
func (t *Table) KeyUint64(v uint64) Key {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], v)
	return t.Key(b[:])
}

// hash is XXH3-128 of a key of a length from shortest to longest.
func (f flips) hash(key []byte) Key {
	first, last := binary.LittleEndian.Uint64(key), binary.LittleEndian.Uint64(key[len(key)-8:])
	hi, lo := bits.Mul64(first^last^f.lo, prime64a)
	lo += uint64(len(key)-1) << 54
	last ^= f.hi
	hi += last + uint64(uint32(last))*(prime32b-1)
	lo ^= bits.ReverseBytes64(hi)
	over, lo := bits.Mul64(lo, prime64b)
	return Key{Hi: avalanche(over + hi*prime64b), Lo: avalanche(lo)}
}

func avalanche(h uint64) uint64 {
	h ^= h >> 37
	h *= primeMX
	return h ^ h>>32
}
