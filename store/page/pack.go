package page

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// blockLength is how many numbers are packed with one width.
const blockLength = 128

// A block of packed numbers begins with a byte, form·widths + width. The numbers are
// written with so many bits each, as their zigzag form or as what they are above the
// block's smallest. Some may be exceptions: their upper bits stand apart.
const (
	packZigzag = iota
	packAbove
	packZigzagExcept
	packAboveExcept

	widths         = 65 // 0 to 64 bits
	maxExceptWidth = math.MaxUint8 - packAboveExcept*widths

	// exceptFrom is the length of a block from which exceptions are looked for, and
	// exceptBits by how much the numbers' average must be shorter than the longest.
	exceptFrom = 8
	exceptBits = 3
)

// appendPacked writes numbers, close to each other or to zero, in blocks. What is in
// xs is lost.
func appendPacked(dst []byte, xs []uint64) []byte {
	for len(xs) > blockLength {
		dst = appendBlock(dst, xs[:blockLength])
		xs = xs[blockLength:]
	}
	if len(xs) > 0 {
		dst = appendBlock(dst, xs)
	}
	return dst
}

func appendBlock(dst []byte, xs []uint64) []byte {
	least, most := int64(xs[0]), int64(xs[0])
	var any, average uint64
	for _, x := range xs {
		z := zigzag(x)
		least, most = min(least, int64(x)), max(most, int64(x))
		any |= z
		average += min(z, math.MaxUint64/blockLength/2)
	}
	plain, above := bits.Len64(any), bits.Len64(uint64(most)-uint64(least))
	if len(xs) >= exceptFrom && plain > exceptBits+bits.Len64(average/uint64(len(xs))) {
		return appendExcept(dst, xs, least)
	}
	if packedBytes(len(xs), plain) <= packedBytes(len(xs), above)+varintBytes(zigzag(uint64(least))) {
		dst = append(dst, byte(packZigzag*widths+plain))
		zigzagAll(xs)
		return appendBits(dst, xs, plain)
	}
	dst = append(dst, byte(packAbove*widths+above))
	dst = binary.AppendVarint(dst, least)
	subtractAll(xs, uint64(least))
	return appendBits(dst, xs, above)
}

// appendExcept writes a block in which a few numbers are much longer than the rest.
func appendExcept(dst []byte, xs []uint64, least int64) []byte {
	var zigzags, distances lengths
	for _, x := range xs {
		zigzags[bits.Len64(zigzag(x))]++
		distances[bits.Len64(x-uint64(least))]++
	}
	width, size := zigzags.cheapest(len(xs))
	above, sizeAbove := distances.cheapest(len(xs))
	sizeAbove += varintBytes(zigzag(uint64(least)))
	if above > maxExceptWidth || size <= sizeAbove {
		zigzagAll(xs)
		return appendPatched(append(dst, byte(packZigzagExcept*widths+width)), xs, width)
	}
	subtractAll(xs, uint64(least))
	dst = append(dst, byte(packAboveExcept*widths+above))
	return appendPatched(binary.AppendVarint(dst, least), xs, above)
}

// appendPatched writes how many exceptions there are, where, and their upper bits;
// then all numbers' lower bits.
func appendPatched(dst []byte, xs []uint64, width int) []byte {
	count := len(dst)
	dst = append(dst, 0)
	for i, x := range xs {
		if x>>width != 0 {
			dst = append(dst, byte(i))
			dst[count]++
		}
	}
	mask := lowBits(width)
	for _, at := range dst[count+1:] {
		dst = binary.AppendUvarint(dst, xs[at]>>width)
		xs[at] &= mask
	}
	return appendBits(dst, xs, width)
}

// lengths counts numbers by their length in bits.
type lengths [widths]uint8

// cheapest is the width that makes n numbers smallest if longer ones are exceptions.
func (l *lengths) cheapest(n int) (width, size int) {
	longest := len(l) - 1
	for longest > 0 && l[longest] == 0 {
		longest--
	}
	width, size = longest, packedBytes(n, longest)
	excepted := 0
	for w := longest - 1; w >= 0; w-- {
		if excepted += int(l[w+1]); excepted > n/3 {
			break
		}
		upper := 0
		for longer := w + 1; longer <= longest; longer++ {
			upper += int(l[longer]) * ((longer - w + 6) / 7)
		}
		if s := packedBytes(n, w) + 1 + excepted + upper; s < size {
			width, size = w, s
		}
	}
	return width, size
}

func packedBytes(n, width int) int { return (n*width + 7) / 8 }

// varintBytes is the length of a uvarint.
func varintBytes(x uint64) int { return (bits.Len64(x|1) + 6) / 7 }

func lowBits(width int) uint64 { return 1<<width - 1 }

// appendBits writes the lower width bits of each number, the first number's lowest.
func appendBits(dst []byte, xs []uint64, width int) []byte {
	if width == 0 {
		return dst
	}
	end := len(dst) + packedBytes(len(xs), width)
	var word uint64
	filled := 0 // bits of word
	for _, x := range xs {
		word |= x << (filled & 63)
		filled += width
		if filled >= 64 {
			dst = binary.LittleEndian.AppendUint64(dst, word)
			filled -= 64
			word = x >> (width - filled)
		}
	}
	return binary.LittleEndian.AppendUint64(dst, word)[:end]
}

// bitsInto is the inverse of appendBits: xs is filled from the beginning of data,
// which has at least packedBytes.
func bitsInto(xs []uint64, data []byte, width int) {
	// Eight bytes are loaded at a time. Near the end of data that needs a copy with
	// some more behind it.
	if size := packedBytes(len(xs), width); len(data) < size+8 {
		var padded [blockLength*8 + 8]byte
		copy(padded[:], data[:size])
		bitsPadded(xs, padded[:], width)
		return
	}
	bitsPadded(xs, data, width)
}

func bitsPadded(xs []uint64, data []byte, width int) {
	mask := lowBits(width)
	at := 0 // bit
	if width <= 57 {
		for i := range xs {
			xs[i] = binary.LittleEndian.Uint64(data[at>>3:]) >> (at & 7) & mask
			at += width
		}
		return
	}
	for i := range xs {
		word := binary.LittleEndian.Uint64(data[at>>3:]) >> (at & 7)
		xs[i] = (word | uint64(data[at>>3+8])<<(64-at&7)) & mask
		at += width
	}
}

// zigzag maps integers near zero to small numbers: 0, -1, 1, -2 to 0, 1, 2, 3.
func zigzag(x uint64) uint64 { return x<<1 ^ uint64(int64(x)>>63) }

func unzigzag(x uint64) uint64 { return x>>1 ^ -(x & 1) }

func zigzagAll(xs []uint64) {
	for i, x := range xs {
		xs[i] = zigzag(x)
	}
}

func unzigzagAll(xs []uint64) {
	for i, x := range xs {
		xs[i] = unzigzag(x)
	}
}

func subtractAll(xs []uint64, base uint64) {
	for i, x := range xs {
		xs[i] = x - base
	}
}

func addAll(xs []uint64, base uint64) {
	for i, x := range xs {
		xs[i] = x + base
	}
}
