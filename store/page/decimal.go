package page

import (
	"encoding/binary"
	"math"
)

// maxScale is how many decimals a value may have to be taken for a whole number of
// its last one. All powers are exact.
const maxScale = 9

var powers = [maxScale + 1]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9}

// whole is a value times ten to the scale; any number if that is none. Where it is
// exact, fraction gives back the value to the bit.
//
// Adding 1.5·2^52 leaves a float64 no bits for a fraction: it rounds, and the lower
// bits of its mantissa are the number.
func whole(value float64, scale int) int64 {
	if scale == 0 {
		return int64(value)
	}
	const shift = 3 << 51
	scaled := float64(value * powers[scale]) // float64: not fused with what follows
	return int64(math.Float64bits(scaled+shift) - math.Float64bits(shift))
}

// fraction divides, which IEEE 754 rounds the same way everywhere.
func fraction(n int64, scale int) float64 { return float64(n) / powers[scale] }

func isWhole(value float64, scale int) bool {
	return math.Float64bits(fraction(whole(value, scale), scale)) == math.Float64bits(value)
}

// decimals is the smallest scale, from one on, at which the value is whole.
func decimals(value float64, scale int) (_ int, ok bool) {
	for ; scale <= maxScale; scale++ {
		if isWhole(value, scale) {
			return scale, true
		}
	}
	return 0, false
}

// fill turns values into whole numbers until one is none, and tells how many it did.
func fill(numbers []uint64, values []float64, scale int) int {
	numbers = numbers[:len(values)]
	if scale == 0 {
		for i, v := range values {
			n := int64(v)
			if math.Float64bits(float64(n)) != math.Float64bits(v) {
				return i
			}
			numbers[i] = uint64(n)
		}
		return len(values)
	}
	const shift = 3 << 51
	power := powers[scale]
	for i, v := range values {
		scaled := float64(v * power)
		n := int64(math.Float64bits(scaled+shift) - math.Float64bits(shift))
		if math.Float64bits(float64(n)/power) != math.Float64bits(v) {
			return i
		}
		numbers[i] = uint64(n)
	}
	return len(values)
}

// unfill is the inverse of fill.
func unfill(values []float64, numbers []uint64, scale int) {
	numbers = numbers[:len(values)]
	if scale == 0 {
		for i, n := range numbers {
			values[i] = float64(int64(n))
		}
		return
	}
	power := powers[scale]
	for i, n := range numbers {
		values[i] = float64(int64(n)) / power
	}
}

const (
	probes = 8 // values that are looked at to begin with a likely scale

	// So many of the values may be exceptions before a finer scale is taken, if there
	// is one, and before all are written as floats.
	finerOver  = 32
	floatsOver = 8
)

// decimal is a column as whole numbers of one scale. Where a value is none, its
// place has the number before and it is kept apart.
type decimal struct {
	numbers []uint64
	except  []uint16 // places, ascending
	scale   int
}

// set takes values, and tells whether nearly all of them are whole.
func (d *decimal) set(values []float64, scale int) bool {
	found, n := false, min(probes, len(values))
	for i := range n {
		if finer, ok := decimals(values[i*len(values)/n], scale); ok {
			scale, found = finer, true
		}
	}
	if !found {
		return false
	}
	for {
		finer, ok := d.try(values, scale)
		if finer == scale {
			return ok
		}
		scale = finer
	}
}

// try is set with one scale. If it returns a finer one, that is better.
func (d *decimal) try(values []float64, scale int) (finest int, ok bool) {
	finest = scale
	d.scale, d.except, d.numbers = scale, d.except[:0], sized(d.numbers, len(values))
	before := uint64(0)
	for at := fill(d.numbers, values, scale); at < len(values); {
		if at > 0 {
			before = d.numbers[at-1]
		}
		d.numbers[at] = before
		d.except = append(d.except, uint16(at))
		if finer, ok := decimals(values[at], finest); ok {
			finest = finer
		}
		switch n := len(d.except); {
		case finest > scale && n > len(values)/finerOver:
			return finest, false
		case n > len(values)/floatsOver:
			return scale, false
		}
		at++
		at += fill(d.numbers[at:], values[at:], scale)
	}
	return scale, true
}

// force takes values at a scale however many of them are whole, and has the numbers
// that try has.
func (d *decimal) force(values []float64, scale int) {
	d.numbers = sized(d.numbers, len(values))
	before := uint64(0)
	for at := fill(d.numbers, values, scale); at < len(values); {
		if at > 0 {
			before = d.numbers[at-1]
		}
		d.numbers[at] = before
		at++
		at += fill(d.numbers[at:], values[at:], scale)
	}
}

// appendExceptions writes the values that are none of the numbers, with their places.
func (d *decimal) appendExceptions(dst []byte, values []float64) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(d.except)))
	before := 0
	for _, at := range d.except {
		dst = binary.AppendUvarint(dst, uint64(int(at)-before))
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(values[at]))
		before = int(at)
	}
	return dst
}

// exceptions is the inverse of appendExceptions.
func (c *cursor) exceptions(values []float64) {
	n := c.uvarint()
	if n > uint64(len(values)) {
		c.fail("more exceptions than values")
		return
	}
	at := uint64(0)
	for range n {
		skip := c.uvarint()
		x := c.u64()
		if skip >= uint64(len(values)) || at+skip >= uint64(len(values)) {
			c.fail("an exception lies outside its column")
			return
		}
		at += skip
		values[at] = math.Float64frombits(x)
	}
}

func sized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
