package slab

import (
	"fmt"
	"os"
	"runtime"
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

// TestRegionsAreGivenBack: regions that nobody has leave the address space.
func TestRegionsAreGivenBack(t *testing.T) {
	const words, regions = 256 << 20 / 8, 100
	before, ok := addressSpace()
	if !ok {
		t.Skip("this system does not tell how large the address space is")
	}
	for i := range regions {
		r := NewRegion(words)
		r.Words[0], r.Words[words-1] = uint64(i), uint64(i)
		runtime.GC()
		if r.Words[0] != uint64(i) || r.Words[words-1] != uint64(i) {
			t.Fatalf("region %d has %d and %d", i, r.Words[0], r.Words[words-1])
		}
		runtime.KeepAlive(r)
	}
	for { // the memory is given back by and by, after a collection; or the test never ends
		runtime.GC()
		if now, _ := addressSpace(); now < before+regions/2*words*8 {
			return
		}
		runtime.Gosched()
	}
}

// addressSpace is the bytes that this process has mapped.
func addressSpace() (bytes int, ok bool) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, false
	}
	var pages int
	if _, err := fmt.Sscan(string(text), &pages); err != nil {
		return 0, false
	}
	return pages * os.Getpagesize(), true
}
