package location

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const hugePageBytes = 2 << 20

// newMemory is zeroed memory that begins at a cache line, of the heap, so that it
// lives as long as anybody looks into it. Large pieces ask the kernel for huge
// pages: a look-up goes to a random place in hundreds of megabytes, and with small
// pages finding out where that is costs more than going there. A kernel that
// refuses gives small ones.
func newMemory(words int) []uint64 {
	if words*8 < 2*hugePageBytes {
		return make([]uint64, words)
	}
	memory := make([]uint64, words+hugePageBytes/8)
	skip := (hugePageBytes - int(uintptr(unsafe.Pointer(&memory[0]))%hugePageBytes)) / 8
	memory = memory[skip : skip+words : skip+words]
	whole := words * 8 / hugePageBytes * hugePageBytes
	_ = unix.Madvise(unsafe.Slice((*byte)(unsafe.Pointer(&memory[0])), whole), unix.MADV_HUGEPAGE)
	return memory
}
