package slab

import "golang.org/x/sys/unix"

// allocate is zeroed memory from the kernel, or nil if it has none to give. Pages
// that are never written to cost nothing. With huge it asks for huge pages; the kernel
// takes the wish for the part that is aligned for it, or not at all.
func allocate(bytes int, huge bool) []byte {
	memory, err := unix.Mmap(-1, 0, bytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil
	}
	if huge {
		_ = unix.Madvise(memory, unix.MADV_HUGEPAGE)
	}
	return memory
}

func unmap(mapped *[][]byte) {
	for _, memory := range *mapped {
		_ = unix.Munmap(memory) // fails only for what was not mapped
	}
	*mapped = nil
}
