package cache

import (
	"errors"
	"fmt"
	"math/bits"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/cpu"
)

// The layout of the region, as docs/format/cache.md has it. Offsets and sizes are in
// bytes, words are of eight.
const (
	// PageBytes is what the region is made of: it has a multiple of this size.
	PageBytes = 64 << 10
	// MinBytes is the smallest region.
	MinBytes = 16 * PageBytes
	// MaxBytes is what the chunk numbers of the index reach.
	MaxBytes = 8 << locatorBits

	pageWords = PageBytes / 8
	magic     = 0x31_6143_6c69726143 // "CarilCa1" as it lies in little-endian memory

	// A kernel program sees the region as values of this size. A chunk it may read, of
	// up to readableBytes, neither crosses one nor begins closer to its end.
	valueBytes    = 1 << 20
	readableBytes = 2048
)

// Control words, by their number.
const (
	wordMagic         = 0
	wordRegion        = 1
	wordDirectory     = 2
	wordShift         = 3
	wordClock         = 8
	wordHeartbeat     = 9 // its owner is whoever runs the kernel program
	wordGeneration    = 10
	wordAuthoritative = 11
	wordHashKeys      = 16
	wordEntries       = 64 // of the directory
)

// Bounds on the number of locks, each of which has an index page from the start.
const (
	pagesPerShard = 64
	maxShards     = 64
)

// ErrConfig is wrapped by errors of New about the region and the configuration.
var ErrConfig = errors.New("cache: bad configuration")

// region is the shared memory, twice: as words, which are read and written by atomic
// operations wherever two sides may meet, and as bytes, for texts, which change only
// while nobody else can reach them.
type region struct {
	words []uint64
	bytes []byte
}

// newRegion looks at the words as bytes too, for which Go has no other way than unsafe;
// the two are of one size and lifetime, and the format is little-endian as the machine is.
func newRegion(words []uint64) (region, error) {
	size := uint64(len(words)) * 8
	switch {
	case size%PageBytes != 0:
		return region{}, fmt.Errorf("%w: a region of %d bytes is not a multiple of %d", ErrConfig, size, PageBytes)
	case size < MinBytes || size > MaxBytes:
		return region{}, fmt.Errorf("%w: a region of %d bytes is not %d to %d", ErrConfig, size, MinBytes, uint64(MaxBytes))
	case words[wordMagic] != 0:
		return region{}, fmt.Errorf("%w: the region is not empty", ErrConfig)
	case cpu.IsBigEndian:
		return region{}, fmt.Errorf("%w: the cache needs a little-endian machine", ErrConfig)
	}
	return region{words, unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), size)}, nil
}

func (r *region) load(word uint64) uint64     { return atomic.LoadUint64(&r.words[word]) }
func (r *region) store(word uint64, v uint64) { atomic.StoreUint64(&r.words[word], v) }

// shape is how a region of a size is divided.
type shape struct {
	pages     int // in all
	control   int // pages of control words and directory, from the first one on
	shardBits int // log2 of the locks
	dirBits   int // log2 of the directory's entries
}

// shapeOf makes the directory large enough for a region of the smallest chunks whose
// index pages are half full.
func shapeOf(size int) shape {
	s := shape{pages: size / PageBytes}
	s.shardBits = bits.Len(uint(min(max(s.pages/pagesPerShard, 1), maxShards))) - 1
	indexPages := size / minChunk / (pageSlots / 2)
	s.dirBits = max(bits.Len(uint(indexPages)), s.shardBits, 1)
	s.control = (wordEntries*8 + 8<<s.dirBits + PageBytes - 1) / PageBytes
	return s
}
