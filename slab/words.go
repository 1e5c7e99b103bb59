package slab

import (
	"runtime"
	"unsafe"
)

// hugePageBytes is the size of a large page, and what is not worth one.
const hugePageBytes = 2 << 20

// Words is zeroed memory for a cache that lives as long as the process: what is large
// is never given back. It begins at a cache line, of a huge page where there are such,
// for a look-up goes to a random place in hundreds of megabytes. Memory of the heap
// would not do: what the collector hands out again has small pages, and costs a look-up
// a third of its time.
func Words(n int) []uint64 {
	words, _ := words(n)
	return words
}

// Region is such memory for a shorter time: until the collector finds that nobody has
// the Region. Who keeps only its Words must expect them to vanish: see
// runtime.KeepAlive.
type Region struct{ Words []uint64 }

// NewRegion is a region of n words.
func NewRegion(n int) *Region {
	words, mapped := words(n)
	r := &Region{words}
	if mapped != nil {
		runtime.AddCleanup(r, unmap, &[][]byte{mapped})
	}
	return r
}

// words is n zeroed words, and the memory from the kernel in which they lie; nil if
// they are of the heap.
func words(n int) (words []uint64, mapped []byte) {
	if n*8 < 2*hugePageBytes {
		return make([]uint64, n), nil
	}
	memory := allocate((n+hugePageBytes/8)*8, true)
	if memory == nil {
		return make([]uint64, n), nil
	}
	skip := (hugePageBytes - int(uintptr(unsafe.Pointer(&memory[0]))%hugePageBytes)) % hugePageBytes
	return unsafe.Slice((*uint64)(unsafe.Pointer(&memory[skip])), n), memory
}
