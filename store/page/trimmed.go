package page

import (
	"encoding/binary"
	"math/bits"
)

// appendTrimmed writes numbers without the zero bytes at their two ends: one byte
// with the number of zero bytes at the low end (upper half) and of the bytes kept
// (lower half, never 0), then these, the lowest first. A run of zeros is written as
// 0 and its length less one.
func appendTrimmed(dst []byte, xs []uint64) []byte {
	zeros := uint64(0)
	for _, x := range xs {
		if x == 0 {
			zeros++
			continue
		}
		if zeros > 0 {
			dst = binary.AppendUvarint(append(dst, 0), zeros-1)
			zeros = 0
		}
		low := bits.TrailingZeros64(x) / 8
		kept := 8 - bits.LeadingZeros64(x)/8 - low
		dst = append(dst, byte(low<<4|kept))
		x >>= low * 8
		for range kept {
			dst = append(dst, byte(x))
			x >>= 8
		}
	}
	if zeros > 0 {
		dst = binary.AppendUvarint(append(dst, 0), zeros-1)
	}
	return dst
}
