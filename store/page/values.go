package page

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// How the values of a strip of samples are written.
const (
	valuesSame = iota // once
	valuesScaled
	valuesFirst  // scaled, differences
	valuesSecond // scaled, differences of differences
	valuesXOR    // bits XOR those of the value before, trimmed
	valuesRaw    // 8 bytes each
	valueForms
)

// The byte before scaled numbers.
const (
	scaleMask   = 0x0f // decimals
	scaleRaw    = 0x0f // of valuesSame: 8 bytes follow, not a number
	scaleShift  = 0x10 // the numbers lack some low bits, all zero: how many is the next byte
	scaleExcept = 0x20 // exceptions follow
	scaleKnown  = scaleMask | scaleShift | scaleExcept
	shiftPays   = 16 // bits that a shift must save

	// floatsAbove is how long scaled numbers become, in bits each, until it is worth
	// looking whether they are smaller as floats.
	floatsAbove = 40
)

func (e *Encoder) appendValues(dst []byte, values []float64) (_ []byte, form byte) {
	if same(values) {
		return appendNumber(dst, values[0]), valuesSame
	}
	start := len(dst)
	if e.decimal.set(values, 0) {
		dst, form = e.appendScaled(dst, values)
		if (len(dst)-start)*8 <= floatsAbove*len(values) {
			return dst, form
		}
	}
	return e.smallerFloats(dst, start, values, form)
}

// smallerFloats writes values as floats, unless what is at dst[start:] is smaller.
func (e *Encoder) smallerFloats(dst []byte, start int, values []float64, form byte) ([]byte, byte) {
	end := len(dst)
	xs, _ := e.scratch(len(values))
	before := uint64(0)
	for i, v := range values {
		x := math.Float64bits(v)
		xs[i] = x ^ before
		before = x
	}
	dst = appendTrimmed(dst, xs)
	scaled, xor := end-start, len(dst)-end
	if scaled > 0 && scaled <= min(xor, 8*len(values)) {
		return dst[:end], form
	}
	if xor < 8*len(values) {
		return append(dst[:start], dst[end:]...), valuesXOR
	}
	dst = dst[:start]
	for _, v := range values {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(v))
	}
	return dst, valuesRaw
}

func same(values []float64) bool {
	first := math.Float64bits(values[0])
	for _, v := range values {
		if math.Float64bits(v) != first {
			return false
		}
	}
	return true
}

func appendNumber(dst []byte, value float64) []byte {
	if scale, ok := decimals(value, 0); ok {
		return binary.AppendVarint(append(dst, byte(scale)), whole(value, scale))
	}
	return binary.LittleEndian.AppendUint64(append(dst, scaleRaw), math.Float64bits(value))
}

// appendScaled writes e.decimal, of the order that makes it smallest.
func (e *Encoder) appendScaled(dst []byte, values []float64) ([]byte, byte) {
	d := &e.decimal
	numbers := d.numbers
	order := bestOrder(numbers)
	xs, _ := e.scratch(len(numbers))
	copy(xs, numbers)
	for i := range order {
		differences(xs[i:])
	}
	shift := lowZeros(xs[order:])
	if shift*len(xs) < shiftPays {
		shift = 0
	}
	at := len(dst)
	dst = append(dst, byte(d.scale))
	if shift > 0 {
		dst[at] |= scaleShift
		dst = append(dst, byte(shift))
		shiftAll(xs[order:], shift)
	}
	for _, x := range xs[:order] {
		dst = binary.AppendUvarint(dst, zigzag(x))
	}
	dst = appendPacked(dst, xs[order:])
	if len(d.except) > 0 {
		dst[at] |= scaleExcept
		dst = d.appendExceptions(dst, values)
	}
	return dst, byte(valuesScaled + order)
}

// bestOrder is how many times differences are to be taken of numbers, 0 to 2, by the
// range that is left in each block.
func bestOrder(numbers []uint64) int {
	if len(numbers) < 3 {
		return len(numbers) - 1
	}
	size := [3]int{0: bits.Len64(zigzag(numbers[0])), 1: bits.Len64(zigzag(numbers[0]))}
	size[2] = size[1] + bits.Len64(zigzag(numbers[1]-numbers[0]))
	x, d := numbers[1], int64(numbers[1]-numbers[0])
	first := int64(numbers[0])
	low, high := [3]int64{first, d, math.MaxInt64}, [3]int64{max(first, int64(x)), d, math.MinInt64}
	low[0] = min(first, int64(x))
	for rest := numbers[2:]; len(rest) > 0; {
		n := min(len(rest), blockLength)
		low0, low1, low2, high0, high1, high2 := low[0], low[1], low[2], high[0], high[1], high[2]
		for _, y := range rest[:n] {
			e := int64(y - x)
			dd := e - d
			low0, high0 = min(low0, int64(y)), max(high0, int64(y))
			low1, high1 = min(low1, e), max(high1, e)
			low2, high2 = min(low2, dd), max(high2, dd)
			x, d = y, e
		}
		size[0] += n * bits.Len64(uint64(high0)-uint64(low0))
		size[1] += n * bits.Len64(uint64(high1)-uint64(low1))
		size[2] += n * bits.Len64(uint64(high2)-uint64(low2))
		low, high = [3]int64{int64(x), d, math.MaxInt64}, [3]int64{int64(x), d, math.MinInt64}
		rest = rest[n:]
	}
	switch {
	case size[1] <= min(size[0], size[2]):
		return 1
	case size[2] < size[0]:
		return 2
	}
	return 0
}

// differences replaces all numbers but the first by their distance from the one before.
func differences(xs []uint64) {
	before := xs[0]
	for i, x := range xs[1:] {
		xs[i+1] = x - before
		before = x
	}
}

func lowZeros(xs []uint64) int {
	var any uint64
	for _, x := range xs {
		any |= x
	}
	return bits.TrailingZeros64(any) % 64 // all zero: there is nothing to gain
}

func shiftAll(xs []uint64, shift int) {
	for i, x := range xs {
		xs[i] = uint64(int64(x) >> shift)
	}
}

// values is the inverse of appendValues.
func (d *Decoder) values(form byte, values []float64) {
	switch form {
	case valuesSame:
		d.same(values)
	case valuesScaled, valuesFirst, valuesSecond:
		d.scaled(values, int(form-valuesScaled))
	case valuesXOR:
		d.xor(values)
	case valuesRaw:
		d.raw(values)
	default:
		d.fail("an unknown form of values")
	}
}

func (d *Decoder) same(values []float64) {
	var value float64
	switch scale := int(d.byte()); {
	case scale <= maxScale:
		value = fraction(int64(d.varint()), scale)
	case scale == scaleRaw:
		value = math.Float64frombits(d.u64())
	default:
		d.fail("an unknown scale")
	}
	for i := range values {
		values[i] = value
	}
}

// scaled reads numbers of an order and makes values of them.
func (d *Decoder) scaled(values []float64, order int) {
	head := d.byte()
	scale, shift := int(head&scaleMask), 0
	if head&scaleShift != 0 {
		shift = int(d.byte())
	}
	if scale > maxScale || head&^scaleKnown != 0 || shift > 63 || len(values) <= order {
		d.fail("an unknown scale")
		return
	}
	var sums [2]uint64
	first := d.numbers[:order]
	for i := range first {
		sums[i] = d.varint()
	}
	copy(first, sums[:])
	if order == 2 {
		first[1] = sums[0] + sums[1]
		sums[0] = first[1]
	}
	unfill(values[:order], first, scale)
	for rest := values[order:]; len(rest) > 0 && d.wrong == ""; {
		n := min(len(rest), blockLength)
		block := d.numbers[:n]
		d.block(block)
		integrate(block, shift, order, &sums)
		unfill(rest[:n], block, scale)
		rest = rest[n:]
	}
	if head&scaleExcept != 0 {
		d.exceptions(values)
	}
}

// integrate is the inverse of shiftAll and differences; sums carry over to the next
// block: the number before, and its difference.
func integrate(xs []uint64, shift, order int, sums *[2]uint64) {
	if shift > 0 {
		for i, x := range xs {
			xs[i] = x << shift
		}
	}
	number, difference := sums[0], sums[1]
	switch order {
	case 1:
		for i, x := range xs {
			number += x
			xs[i] = number
		}
	case 2:
		for i, x := range xs {
			difference += x
			number += difference
			xs[i] = number
		}
	}
	*sums = [2]uint64{number, difference}
}

func (d *Decoder) xor(values []float64) {
	before := uint64(0)
	d.long = sized(d.long, len(values))
	xs := d.long
	d.trimmed(xs)
	for i, x := range xs {
		before ^= x
		values[i] = math.Float64frombits(before)
	}
}
