//go:build !linux

package location

// newMemory is zeroed memory.
func newMemory(words int) []uint64 { return make([]uint64, words) }
