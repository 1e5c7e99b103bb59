package store

import (
	"encoding/binary"
	"math"
	"math/bits"

	"carillon/bucket"
)

// chain is the entries of one series in a head, in log order, and one cache line:
// the newest entries stand in it, compressed, and when there is no room for another
// one they move to a chunk of the arena, all at once and for good. An entry says how
// it differs from the one before it; the fields time to flags are what the next one
// will be compared with. A copy of a chain and of its arena reads what was there
// when the copies were made.
//
// An entry is one control byte, then what it says. The upper two bits are the time:
//
//	0  the step of the entry before, once more
//	1  1 byte: by how many ms the step is another one, signed
//	2  2 bytes: the same
//	3  8 bytes: the time itself
//
// The lower six bits are the value:
//
//	0       the same bits as before
//	1–8     so many bytes: the difference to the value before, zigzag, both as whole
//	        numbers of the chain's scale, a decimal fraction
//	9–16    so many bytes, less 8: the bits that differ; the upper bytes are zero
//	17–24   so many bytes, less 16: the bits that differ; the lower bytes are zero
//	25      4 bytes: the number of a whole bucket in the arena, which changes nothing
//	        for the next entry; the time is 0
//	26–33   the chain's scale is now so many decimals, less 26; an entry follows
//
// So 10 s samples of a counter take two or three bytes, of a gauge with a few
// decimals two, and where nothing changes one.
type chain struct {
	time  int64
	value uint64 // bits
	step  int32  // ms between the last two entries; 0 if it does not fit
	count uint32 // entries, those in chunks included
	tail  uint32 // the newest chunk, 0 if there is none
	flags uint8  // scale and more
	used  uint8  // bytes of data
	data  [chainBytes]byte
}

const (
	chainBytes = 34 // a chain is 64 bytes
	touchAhead = 32 // chains that are fetched at once

	scaleMask  = 0x07
	noScale    = 0x08 // no scale fits: none is tried before the next chunk
	notPlain   = 0x10 // there are entries which are no samples
	timeShift  = 6
	valueMask  = 1<<timeShift - 1
	valueSame  = 0
	valueUpper = 8
	valueLower = 16
	valueWhole = 25
	valueScale = 26
	wholeBytes = 4
)

// chunk is entries that moved out of a chain.
type chunk struct {
	before uint32 // the chunk before it, 0 if it is the first
	used   uint8
	data   [chainBytes]byte
}

// field is some bytes of an entry: the lower n of a word, little-endian. What is
// above them means nothing.
type field struct{ word, n uint64 }

// compareTime compares a time with the one before, takes its place, and returns the upper
// bits of the control byte.
func (c *chain) compareTime(time int64) (control uint64, f field) {
	step := time - c.time // what does not fit wraps around, there and back
	off := step - int64(c.step)
	c.time = time
	if off == 0 {
		return 0, field{}
	}
	c.step = stepOf(step)
	switch {
	case off == int64(int8(off)):
		return 1 << timeShift, field{uint64(off), 1}
	case off == int64(int16(off)):
		return 2 << timeShift, field{uint64(off), 2}
	}
	return 3 << timeShift, field{uint64(time), 8}
}

// stepOf is a step as the next entry knows it.
func stepOf(step int64) int32 {
	if int64(int32(step)) != step {
		return 0
	}
	return int32(step)
}

// compareValue compares a value with the one before, takes its place, and returns
// the lower bits of the control byte; before it, where the scale changes, is the
// byte that says so.
func (c *chain) compareValue(value uint64) (control, f field) {
	last, lastScale := c.value, c.flags&scaleMask
	c.value = value
	number, fits := c.number(value)
	if !fits {
		return compareBits(value ^ last)
	}
	scale := c.flags & scaleMask
	delta := number - whole(last, scale)
	zigzag := uint64(delta<<1 ^ delta>>63)
	n := max(1, uint64(bits.Len64(zigzag)+7)/8)
	if scale != lastScale {
		return field{n<<8 | valueScale + uint64(scale), 2}, field{zigzag, n}
	}
	return field{n, 1}, field{zigzag, n}
}

func compareBits(differ uint64) (control, f field) {
	upper, lower := uint64(bits.Len64(differ)+7)/8, 8-uint64(bits.TrailingZeros64(differ))/8
	if upper <= lower {
		return field{valueUpper + upper, 1}, field{differ, upper}
	}
	return field{valueLower + lower, 1}, field{differ >> (64 - 8*lower), lower}
}

// number turns a value into a whole number of the chain's scale, or of a finer one
// that fits, which is the chain's from then on.
func (c *chain) number(value uint64) (number int64, fits bool) {
	if c.flags&noScale != 0 {
		return 0, false
	}
	for scale := c.flags & scaleMask; scale < uint8(len(powers)); scale++ {
		if number = whole(value, scale); unwhole(number, scale) == value {
			c.flags = c.flags&^scaleMask | scale
			return number, true
		}
	}
	c.flags |= noScale
	return 0, false
}

// powers are the scales: 10 to the power of the decimals. All are exact.
var powers = [scaleMask + 1]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7}

// whole is a value as a number of 10^-scale; any number, but always the same, if it
// is none or larger than 2^51. Adding 1.5·2^52 leaves a float64 no bits for a fraction:
// it rounds, and the lower bits of its mantissa are the number.
func whole(value uint64, scale uint8) int64 {
	const shift = 3 << 51
	scaled := float64(math.Float64frombits(value) * powers[scale&scaleMask]) // float64: not fused with what follows
	return int64(math.Float64bits(scaled+shift) - math.Float64bits(shift))
}

// unwhole is the value that is nearest to a number of 10^-scale.
func unwhole(number int64, scale uint8) uint64 {
	return math.Float64bits(float64(number) / powers[scale&scaleMask])
}

// append writes an entry, for which there must be room.
func (c *chain) append(control, time, value field) {
	c.count++
	n := control.n + time.n + value.n
	if n > 8 {
		c.write(control)
		c.write(time)
		c.write(value)
		return
	}
	word := time.word&^(math.MaxUint64<<(8*time.n)) | value.word<<(8*time.n)
	c.write(field{control.word | word<<(8*control.n), n})
}

// write appends a field. It stores eight bytes: what is too much will be written
// over, and near the end the bytes before are stored once more.
func (c *chain) write(f field) {
	at := min(c.used, chainBytes-8)
	keep := 8 * (c.used - at) // bits
	slot := c.data[at : at+8]
	before := binary.LittleEndian.Uint64(slot) &^ (math.MaxUint64 << keep)
	binary.LittleEndian.PutUint64(slot, before|f.word<<keep)
	c.used += uint8(f.n)
}

// decoder reads entries in log order.
type decoder struct {
	time  int64
	value uint64
	step  int32
	scale uint8
	at    int
	end   int
	data  [chainBytes + 8]byte // some more, to read eight at a time
}

func (d *decoder) load(data *[chainBytes]byte, used uint8) {
	copy(d.data[:], data[:])
	d.at, d.end = 0, int(used)
}

func (d *decoder) more() bool { return d.at < d.end }

// next reads an entry into time and value. If it is a whole bucket it returns its
// number instead.
func (d *decoder) next() (number uint32, isWhole bool) {
	control := d.data[d.at]
	d.at++
	kind := control & valueMask
	if kind == valueWhole {
		return uint32(d.raw(wholeBytes)), true
	}
	if kind >= valueScale {
		d.scale = kind - valueScale
		control = d.data[d.at]
		d.at++
		kind = control & valueMask
	}
	step := int64(d.step)
	switch control >> timeShift {
	case 1:
		step += int64(int8(d.raw(1)))
	case 2:
		step += int64(int16(d.raw(2)))
	case 3:
		step = int64(d.raw(8)) - d.time
	}
	d.time += step
	d.step = stepOf(step)
	switch {
	case kind == valueSame:
	case kind <= valueUpper:
		raw := d.raw(int(kind))
		d.value = unwhole(whole(d.value, d.scale)+(int64(raw>>1)^-int64(raw&1)), d.scale)
	case kind <= valueLower:
		d.value ^= d.raw(int(kind - valueUpper))
	default:
		n := int(kind - valueLower)
		d.value ^= d.raw(n) << (8 * (8 - n))
	}
	return 0, false
}

// samples appends all entries that are left, which must be samples. It is next for many:
// where the step stays and the value is told as a difference, the whole number of the
// value before is at hand, so that no division waits for another.
func (d *decoder) samples(times []int64, values []float64) ([]int64, []float64) {
	number, known := int64(0), false // whole(d.value, d.scale)
	for d.more() {
		switch control := d.data[d.at]; {
		case control == valueSame:
			d.at++
			d.time += int64(d.step)
		case control <= valueUpper:
			d.at++
			d.time += int64(d.step)
			if !known {
				number, known = whole(d.value, d.scale), true
			}
			raw := d.raw(int(control))
			number += int64(raw>>1) ^ -int64(raw&1)
			d.value = unwhole(number, d.scale)
		default:
			d.next()
			known = false
		}
		times, values = append(times, d.time), append(values, math.Float64frombits(d.value))
	}
	return times, values
}

// raw is the next n bytes, 1 to 8.
func (d *decoder) raw(n int) uint64 {
	raw := binary.LittleEndian.Uint64(d.data[d.at:]) & (math.MaxUint64 >> (64 - 8*n))
	d.at += n
	return raw
}

// isSample tells whether bucket.Of gives back b to the bit.
func isSample(b *bucket.Bucket) bool {
	bits := math.Float64bits(b.Last)
	return b.Count == 1 && b.StaleTime == 0 && b.FirstTime == b.LastTime &&
		bits != bucket.StaleNaN && bits == math.Float64bits(b.First) && bits == math.Float64bits(b.Sum) &&
		bits == math.Float64bits(b.Min) && bits == math.Float64bits(b.Max) &&
		math.Float64bits(b.M2) == 0 && math.Float64bits(b.Resets) == 0
}

// isMarker tells the same of a staleness marker.
func isMarker(b *bucket.Bucket) bool {
	return *b == bucket.Bucket{FirstTime: b.StaleTime, LastTime: b.StaleTime, StaleTime: b.StaleTime}
}
