package journal

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// Values are written as people write them: most measurements are whole numbers, or
// have two or three decimals, and then the digits are a small integer. A value is
// taken for such only if dividing the integer gives the very same bits; for one
// that came from decimal digits it always does, since both the reading of the
// digits and the division round to the nearest float64. Every other value, of which
// there are the fractions of a division, -0, the infinities and NaNs, keeps its
// eight bytes.

// form is how a value is stored: so many bytes of a signed integer, little-endian,
// to be divided by the divisor.
type form struct {
	bytes   int
	mask    uint64 // of these bytes
	sign    uint64 // the highest bit of them
	divisor float64
}

const (
	wholeForms      = 0 // and up: integers of 0 to 6 bytes
	hundredthForms  = 7 // and up: hundredths of 1 to 4 bytes
	thousandthForms = 11
	millionthForm   = 14 // 4 bytes
	plainForm       = 15 // the bits of the float64

	maxWholeBytes      = 6
	maxHundredthBytes  = 4
	minThousandthBytes = 2
	maxThousandthBytes = 4
)

// forms are what the tag of a value can say; a tag has 4 bits.
var forms = [16]form{
	newForm(0, 1), newForm(1, 1), newForm(2, 1), newForm(3, 1), newForm(4, 1), newForm(5, 1), newForm(6, 1),
	newForm(1, 100), newForm(2, 100), newForm(3, 100), newForm(4, 100),
	newForm(2, 1000), newForm(3, 1000), newForm(4, 1000),
	newForm(4, 1e6),
	{bytes: 8},
}

func newForm(bytes int, divisor float64) form {
	return form{bytes: bytes, mask: 1<<(8*bytes) - 1, sign: 1 << (8 * bytes) >> 1, divisor: divisor}
}

// appendValues writes the tags, two to a byte, the earlier one in the lower half;
// then the bytes of all values.
func appendValues(dst []byte, values []float64) []byte {
	start := len(dst)
	at := start + (len(values)+1)/2
	dst = slices.Grow(dst, at-start+8*len(values)+8)
	dst = dst[:cap(dst)]
	tags := dst[start:at]
	clear(tags)
	for i, v := range values {
		tag, word, length := shorten(v)
		tags[i/2] |= tag << (4 * (i & 1))
		binary.LittleEndian.PutUint64(dst[at:], word)
		at += length
	}
	return dst[:at]
}

// shorten chooses a value's form.
func shorten(v float64) (tag byte, word uint64, length int) {
	if whole := int64(v); same(v, float64(whole)) {
		if n := bytesOf(whole); n <= maxWholeBytes {
			return byte(wholeForms + n), uint64(whole), n
		}
		return plainForm, math.Float64bits(v), 8
	}
	if milli := nearest(v * 1000); same(v, float64(milli)/1000) {
		if centi := milli / 10; centi*10 == milli {
			if n := bytesOf(centi); n <= maxHundredthBytes {
				return byte(hundredthForms + n - 1), uint64(centi), n
			}
		} else if n := max(bytesOf(milli), minThousandthBytes); n <= maxThousandthBytes {
			return byte(thousandthForms + n - minThousandthBytes), uint64(milli), n
		}
	} else if micro := nearest(v * 1e6); bytesOf(micro) <= 4 && same(v, float64(micro)/1e6) {
		return millionthForm, uint64(micro), 4
	}
	return plainForm, math.Float64bits(v), 8
}

// nearest rounds to a whole number, up to 2^51; what it makes of others means nothing.
// Adding 1.5·2^52 leaves a float64 no bits for a fraction, and the lower bits of its
// mantissa are the number. That is half of what math.RoundToEven takes.
func nearest(v float64) int64 {
	const shift = 3 << 51
	return int64(math.Float64bits(v+shift) - math.Float64bits(shift))
}

func same(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) }

// bytesOf is how many bytes a signed integer takes, 0 for 0.
func bytesOf(v int64) int {
	return (bits.Len64(uint64(v<<1^v>>63)) + 7) / 8
}

// values reads n values.
func (c *cursor) values(what string, column []float64, n int) []float64 {
	tags := c.bytes(what, uint64((n+1)/2))
	if c.err != nil {
		return nil
	}
	column = resize(column, n)
	// As far as 8 bytes can be read at once, they are; the last come from a copy.
	done, used := expand(column, tags, 0, c.data[c.at:])
	c.at += used
	if done < n {
		var tail [16]byte
		left := copy(tail[:8], c.data[c.at:])
		done, used = expand(column, tags, done, tail[:])
		if done < n || used > left {
			c.fail(what, fmt.Sprintf("the last want more than the %d bytes that are left", left))
			return nil
		}
		c.at += used
	}
	return column
}

// expand reads values from the given index on, while there are 8 bytes. It returns
// the index of the first it did not read, and how many bytes it used.
func expand(column []float64, tags []byte, from int, data []byte) (next, used int) {
	at := 0
	for i := from; i < len(column); i++ {
		if len(data)-at < 8 {
			return i, at
		}
		word := binary.LittleEndian.Uint64(data[at:])
		tag := tags[i/2] >> (4 * (i & 1)) & 15
		f := &forms[tag]
		at += f.bytes
		if tag == plainForm {
			column[i] = math.Float64frombits(word)
			continue
		}
		column[i] = float64(int64(word&f.mask^f.sign-f.sign)) / f.divisor
	}
	return len(column), at
}
