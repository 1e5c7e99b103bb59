package page

import (
	"encoding/binary"
	"math"
	"strconv"

	"carillon/bucket"
)

// encoding is how a float column is written; its number is the column's first
// byte.
type encoding byte

const (
	// From 0 to maxScale: integers, the values times 10 to that power, their
	// differences as varints.
	maxScale     encoding = 4
	xorPrevious  encoding = 5 // XOR with the value before, trimmed
	xorPredicted encoding = 6 // XOR with column.predict, trimmed
	asPredicted  encoding = 7 // all are as predicted: nothing follows
	raw          encoding = 8 // 8 bytes each
)

// appendFloats writes a float column in the encoding that makes it smallest.
func appendFloats(dst []byte, c column, buckets []bucket.Bucket) []byte {
	if c.predictable() && allPredicted(c, buckets) {
		return append(dst, byte(asPredicted))
	}
	start := len(dst)
	dst = appendScaled(dst, c, buckets)
	middle := len(dst)
	dst = appendXOR(dst, c, buckets, xorPrevious)
	dst = keepSmaller(dst, start, middle)
	if c.predictable() {
		middle = len(dst)
		dst = appendXOR(dst, c, buckets, xorPredicted)
		dst = keepSmaller(dst, start, middle)
	}
	if len(dst)-start > 1+8*len(buckets) {
		dst = append(dst[:start], byte(raw))
		for i := range buckets {
			dst = binary.LittleEndian.AppendUint64(dst, c.get(&buckets[i]))
		}
	}
	return dst
}

// keepSmaller leaves behind start the smaller one of dst[start:middle], if there
// is any, and dst[middle:].
func keepSmaller(dst []byte, start, middle int) []byte {
	if middle > start && middle-start <= len(dst)-middle {
		return dst[:middle]
	}
	return append(dst[:start], dst[middle:]...)
}

func allPredicted(c column, buckets []bucket.Bucket) bool {
	for i := range buckets {
		if c.get(&buckets[i]) != c.predict(&buckets[i]) {
			return false
		}
	}
	return true
}

// appendScaled writes the column as integers of the smallest scale that gives
// every value back exactly. If none does it adds nothing.
func appendScaled(dst []byte, c column, buckets []bucket.Bucket) []byte {
	start := len(dst)
	for scale := encoding(0); scale <= maxScale; scale++ {
		var exact bool
		if dst, exact = appendScale(append(dst, byte(scale)), c, buckets, scale); exact {
			return dst
		}
		dst = dst[:start]
	}
	return dst
}

// appendScale writes the column as integers, until one of them is not exact.
func appendScale(dst []byte, c column, buckets []bucket.Bucket, scale encoding) (_ []byte, exact bool) {
	var scratch [blockLength]uint64
	p := packer{dst: dst}
	var previous uint64
	for len(buckets) > 0 {
		block := scratch[:min(len(buckets), blockLength)]
		c.gather(block, buckets)
		if !toIntegers(block, scale.factor()) {
			return p.dst, false
		}
		differences(block, &previous)
		zigzagAll(block)
		p.varints(block)
		buckets = buckets[len(block):]
	}
	p.flush()
	return p.dst, true
}

func (scale encoding) factor() float64 {
	return [...]float64{1, 10, 100, 1_000, 10_000}[scale]
}

// toIntegers replaces the bits of floats by integers, factor times as large, and
// tells whether fromIntegers turns all of them back into the same bits.
func toIntegers(block []uint64, factor float64) bool {
	const limit = 1 << 53 // every integer up to here is a float64
	for i, x := range block {
		scaled := math.Float64frombits(x) * factor
		if !(math.Abs(scaled) <= limit) {
			return false
		}
		n := int64(math.RoundToEven(scaled))
		if math.Float64bits(float64(n)/factor) != x {
			return false
		}
		block[i] = uint64(n)
	}
	return true
}

// fromIntegers is the inverse of toIntegers. It divides, which IEEE 754 rounds
// the same way everywhere.
func fromIntegers(block []uint64, factor float64) {
	for i, x := range block {
		block[i] = math.Float64bits(float64(int64(x)) / factor)
	}
}

// appendXOR writes the column's bits, XORed with what e says.
func appendXOR(dst []byte, c column, buckets []bucket.Bucket, e encoding) []byte {
	var scratch [blockLength]uint64
	p := packer{dst: append(dst, byte(e))}
	var previous uint64
	for len(buckets) > 0 {
		block := scratch[:min(len(buckets), blockLength)]
		for i := range block {
			x := c.get(&buckets[i])
			if e == xorPredicted {
				previous = c.predict(&buckets[i])
			}
			block[i] = x ^ previous
			previous = x
		}
		p.trimmed(block)
		buckets = buckets[len(block):]
	}
	p.flush()
	return p.dst
}

// floats is the inverse of appendFloats.
func (u *unpacker) floats(c column, buckets []bucket.Bucket) {
	if !u.begin(c) {
		return
	}
	if u.at == len(u.data) {
		u.fail(cutShort)
		return
	}
	e := encoding(u.data[u.at])
	if e > raw || (!c.predictable() && (e == xorPredicted || e == asPredicted)) {
		u.fail("unknown encoding " + strconv.Itoa(int(e)))
		return
	}
	u.at++
	var scratch [blockLength]uint64
	var previous uint64
	for len(buckets) > 0 && u.wrong == "" {
		block := scratch[:min(len(buckets), blockLength)]
		u.block(e, c, block, buckets, &previous)
		c.scatter(block, buckets)
		buckets = buckets[len(block):]
	}
	u.end()
}

// block reads the next values of a float column, those of buckets[:len(block)].
// previous is the last one of the block before, in the form the encoding needs.
func (u *unpacker) block(e encoding, c column, block []uint64, buckets []bucket.Bucket, previous *uint64) {
	switch {
	case e <= maxScale:
		u.varints(block)
		unzigzagAll(block)
		integrate(block, previous)
		fromIntegers(block, e.factor())
	case e == xorPrevious:
		u.trimmed(block)
		for i, x := range block {
			*previous ^= x
			block[i] = *previous
		}
	case e == xorPredicted:
		u.trimmed(block)
		for i := range block {
			block[i] ^= c.predict(&buckets[i])
		}
	case e == asPredicted:
		for i := range block {
			block[i] = c.predict(&buckets[i])
		}
	case e == raw:
		u.raw(block)
	}
}
