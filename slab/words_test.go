package slab

import (
	"testing"
	"unsafe"
)

func TestWordsAreZeroAndAligned(t *testing.T) {
	for _, n := range []int{1, 1000, hugePageBytes / 4, hugePageBytes/4 + 13} {
		words := Words(n)
		if len(words) != n {
			t.Fatalf("%d words, want %d", len(words), n)
		}
		for i, w := range words {
			if w != 0 {
				t.Fatalf("word %d of %d is %d", i, n, w)
			}
			words[i] = ^uint64(0) // all of it is there to write to
		}
		if at := uintptr(unsafe.Pointer(&words[0])); n*8 >= 2*hugePageBytes && at%64 != 0 {
			t.Errorf("%d words begin at %#x, not at a cache line", n, at)
		}
	}
}
