package slab

import "unsafe"

// hugePageBytes is the size of a large page, and what is not worth one.
const hugePageBytes = 2 << 20

// Words is zeroed memory for a cache that lives as long as the process: what is large
// is never given back. It begins at a cache line, of a huge page where there are such,
// for a look-up goes to a random place in hundreds of megabytes. Memory of the heap
// would not do: what the collector hands out again has small pages, and costs a look-up
// a third of its time.
func Words(n int) []uint64 {
	if n*8 < 2*hugePageBytes {
		return make([]uint64, n)
	}
	memory := allocate((n+hugePageBytes/8)*8, true)
	if memory == nil {
		return make([]uint64, n)
	}
	skip := (hugePageBytes - int(uintptr(unsafe.Pointer(&memory[0]))%hugePageBytes)) % hugePageBytes
	return unsafe.Slice((*uint64)(unsafe.Pointer(&memory[skip])), n)
}
