package journal

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
)

// The columns of a part. Each holds a known number of entries, which stands in
// front of the first column; docs/format/journal.md has the byte tables.

// How a column of refs or of integers is stored: its first byte. Up to
// maxPackedBits it says how many bits each entry has.
const (
	maxPackedBits = 56 // so that an entry lies within 8 bytes, wherever it begins
	asDifferences = 0x80
	asRuns        = 0x81
)

// appendRefs writes refs in the shorter of two forms. Series that were defined
// together are often sent together, in order: then the difference from one to the
// next fits a byte. In any other order the differences are as long as the refs, and
// what a ref is above the smallest one, in as many bits as the largest needs, is
// shorter, and quicker to read.
//
// The part's own definitions are numbered before the partition's series, so that
// the two do not lie 2³² apart.
func appendRefs(dst []byte, refs []Ref, definitions int) []byte {
	if definitions > 0 {
		refs = renumber(refs, Ref(definitions))
	}
	low, high, short, previous := refs[0], refs[0], 0, Ref(0)
	for _, r := range refs {
		low, high = min(low, r), max(high, r)
		if r-previous+64 < 128 {
			short++
		}
		previous = r
	}
	width := bits.Len64(uint64(high - low))
	if 8*short+24*(len(refs)-short) < width*len(refs) || width > maxPackedBits {
		return appendDifferences(append(dst, asDifferences), refs)
	}
	dst = append(dst, byte(width))
	dst = binary.AppendUvarint(dst, uint64(low))
	return appendPacked(dst, refs, low, width)
}

func renumber(refs []Ref, definitions Ref) []Ref {
	codes := make([]Ref, len(refs))
	for i, r := range refs {
		if codes[i] = r + definitions; r >= FirstDefinition {
			codes[i] = r - FirstDefinition
		}
	}
	return codes
}

// appendPacked writes what each code is above low, in width bits each, the first
// entry in the lowest bits of the first byte.
func appendPacked(dst []byte, codes []Ref, low Ref, width int) []byte {
	size := (width*len(codes) + 7) / 8
	dst = slices.Grow(dst, size+8)
	packed := dst[len(dst) : len(dst)+size+8]
	var word uint64
	at, filled := 0, 0
	for _, code := range codes {
		word |= uint64(code-low) << (filled & 63)
		filled += width
		binary.LittleEndian.PutUint64(packed[at:], word)
		at += filled >> 3
		word >>= filled &^ 7 & 63 // at most 56 of at most 63 bits
		filled &= 7
	}
	return dst[:len(dst)+size]
}

// appendIntegers writes runs of equal differences: (difference, zigzag; how many).
// One scrape carries one time, so a column of times is mostly two runs. Where
// most runs would be of one, it writes the differences alone.
func appendIntegers(dst []byte, column []int64) []byte {
	start := len(dst)
	dst = append(dst, asRuns)
	previous, runs := int64(0), 0
	for i := 0; i < len(column); runs++ {
		if 2*runs > len(column) {
			return appendDifferences(append(dst[:start], asDifferences), column)
		}
		delta := column[i] - previous
		previous = column[i]
		run := 1
		for i+run < len(column) && column[i+run]-previous == delta {
			previous = column[i+run]
			run++
		}
		dst = binary.AppendUvarint(dst, zigzag(delta))
		dst = binary.AppendUvarint(dst, uint64(run))
		i += run
	}
	return dst
}

func appendDifferences[T ~int64 | ~uint64](dst []byte, column []T) []byte {
	var previous T
	for _, v := range column {
		dst = binary.AppendUvarint(dst, zigzag(int64(v-previous)))
		previous = v
	}
	return dst
}

func zigzag(v int64) uint64   { return uint64(v<<1) ^ uint64(v>>63) }
func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

// refs reads n refs, each of which must be the number of a series or one of the
// part's definitions.
func (c *cursor) refs(what string, refs []Ref, n, definitions int) []Ref {
	start := c.at
	form := c.bytes(what, 1)
	if c.err != nil {
		return nil
	}
	refs = resize(refs, n)
	var highest uint64
	switch width := int(form[0]); {
	case width <= maxPackedBits:
		highest = c.packed(what, refs, width)
	case width == asDifferences:
		previous := uint64(0)
		for i := range refs {
			previous += uint64(unzigzag(c.uvarint(what)))
			highest = max(highest, previous)
			refs[i] = Ref(previous)
		}
	default:
		c.failAt(start, what, fmt.Sprintf("form %d is not known", form[0]))
	}
	if c.err != nil {
		return nil
	}
	if highest >= uint64(FirstDefinition)+uint64(definitions) {
		c.failAt(start, what, "refer to a series that cannot be")
		return nil
	}
	if definitions > 0 {
		for i, code := range refs {
			if refs[i] = code - Ref(definitions); code < Ref(definitions) {
				refs[i] = FirstDefinition + code
			}
		}
	}
	return refs
}

// packed reads codes in width bits each and returns the highest.
func (c *cursor) packed(what string, codes []Ref, width int) (highest uint64) {
	low := c.uvarint(what)
	data := c.bytes(what, uint64(width*len(codes)+7)/8)
	if c.err != nil {
		return 0
	}
	mask := uint64(1)<<width - 1
	// As far as 8 bytes can be read at once, they are; the last come from a copy.
	bit, i := 0, 0
	for ; i < len(codes) && bit/8+8 <= len(data); i++ {
		code := low + binary.LittleEndian.Uint64(data[bit/8:])>>(bit&7)&mask
		highest = max(highest, code)
		codes[i] = Ref(code)
		bit += width
	}
	var tail [16]byte
	begin := bit / 8
	copy(tail[:], data[begin:])
	for bit -= 8 * begin; i < len(codes); i++ {
		code := low + binary.LittleEndian.Uint64(tail[bit/8:])>>(bit&7)&mask
		highest = max(highest, code)
		codes[i] = Ref(code)
		bit += width
	}
	return highest
}

// integers reads n integers.
func (c *cursor) integers(what string, column []int64, n int) []int64 {
	start := c.at
	form := c.bytes(what, 1)
	if c.err != nil {
		return nil
	}
	column = resize(column, n)
	switch form[0] {
	case asRuns:
		c.runs(what, column)
	case asDifferences:
		previous := int64(0)
		for i := range column {
			previous += unzigzag(c.uvarint(what))
			column[i] = previous
		}
	default:
		c.failAt(start, what, fmt.Sprintf("form %d is not known", form[0]))
	}
	if c.err != nil {
		return nil
	}
	return column
}

func (c *cursor) runs(what string, column []int64) {
	previous := int64(0)
	for len(column) > 0 {
		start := c.at
		delta := unzigzag(c.uvarint(what))
		run := c.uvarint(what)
		if c.err != nil {
			return
		}
		if run == 0 || run > uint64(len(column)) {
			c.failAt(start, what, "run is longer than the column, or empty")
			return
		}
		for i := range column[:run] {
			previous += delta
			column[i] = previous
		}
		column = column[run:]
	}
}
