package journal

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
)

// The columns of a part. Each holds a known number of entries, which stands in
// front of the first column; docs/format/journal.md has the byte tables.

// appendRefs writes each ref as its distance from the one before, zigzag: series
// that were defined together are sent together, so the distance is often 1.
func appendRefs(dst []byte, refs []Ref) []byte {
	previous := Ref(0)
	for _, r := range refs {
		dst = binary.AppendUvarint(dst, zigzag(int64(r-previous)))
		previous = r
	}
	return dst
}

// appendIntegers writes runs of equal distances: (distance, zigzag; how many).
// One scrape carries one time, so a column of times is mostly two runs.
func appendIntegers(dst []byte, column []int64) []byte {
	previous := int64(0)
	for i := 0; i < len(column); {
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

// appendValues writes each value's bits without the zero bytes at their end, of
// which numbers that people count with have many. First all lengths, two to a
// byte, then all bytes.
func appendValues(dst []byte, values []float64) []byte {
	lengths := len(dst)
	dst = slices.Grow(dst, (len(values)+1)/2+8*len(values)+8)
	dst = dst[:lengths+(len(values)+1)/2]
	clear(dst[lengths:])
	at := len(dst)
	dst = dst[:cap(dst)]
	for i, v := range values {
		word := math.Float64bits(v)
		length := 8 - bits.TrailingZeros64(word)/8
		dst[lengths+i/2] |= byte(length << (4 * (i & 1)))
		binary.BigEndian.PutUint64(dst[at:], word)
		at += length
	}
	return dst[:at]
}

func zigzag(v int64) uint64   { return uint64(v<<1) ^ uint64(v>>63) }
func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

// refs reads n refs, each of which must be the number of a series or one of the
// part's definitions.
func (c *cursor) refs(what string, n, definitions int) []Ref {
	refs := make([]Ref, n)
	previous := Ref(0)
	for i := range refs {
		start := c.at
		previous += Ref(unzigzag(c.uvarint(what)))
		if c.err != nil {
			return nil
		}
		if previous >= FirstDefinition+Ref(definitions) {
			c.failAt(start, what, "refers to a definition that is not there")
			return nil
		}
		refs[i] = previous
	}
	return refs
}

// integers reads n integers.
func (c *cursor) integers(what string, n int) []int64 {
	column := make([]int64, 0, n)
	previous := int64(0)
	for len(column) < n {
		start := c.at
		delta := unzigzag(c.uvarint(what))
		run := c.uvarint(what)
		if c.err != nil {
			return nil
		}
		if run == 0 || run > uint64(n-len(column)) {
			c.failAt(start, what, "run is longer than the column, or empty")
			return nil
		}
		for range run {
			previous += delta
			column = append(column, previous)
		}
	}
	return column
}

// values reads n values.
func (c *cursor) values(what string, n int) []float64 {
	lengths := c.bytes(what, uint64((n+1)/2))
	if c.err != nil {
		return nil
	}
	column := make([]float64, n)
	rest := c.data[c.at:]
	for i := range column {
		length := int(lengths[i/2] >> (4 * (i & 1)) & 15)
		if length > 8 || length > len(rest) {
			c.at = len(c.data) - len(rest)
			c.fail(what, "value is longer than what is left, or than 8 bytes")
			return nil
		}
		var word uint64
		if len(rest) >= 8 {
			keep := ^uint64(0) << (64 - 8*length) // all of it shifted out when length is 0
			word = binary.BigEndian.Uint64(rest) & keep
		} else {
			var padded [8]byte
			copy(padded[:], rest[:length])
			word = binary.BigEndian.Uint64(padded[:])
		}
		column[i] = math.Float64frombits(word)
		rest = rest[length:]
	}
	c.at = len(c.data) - len(rest)
	return column
}
