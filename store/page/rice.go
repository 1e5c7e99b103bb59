package page

import (
	"encoding/binary"
	"iter"
	"math"
	"math/bits"
)

// riceLength is how many numbers are coded with one parameter: about as many as a strip of
// the store has, since most are alike; a multiple of what bitsInto takes.
const riceLength = 8 * blockLength

// A block of Rice codes begins with a byte: the parameter, and how the numbers are made
// small.
const (
	riceMask  = 0x3f // the parameter: bits that a number has below its unary part
	riceAbove = 0x40 // numbers are what is above a base, else the zigzag of their distance
	riceZeros = 0x80 // which numbers are zero is in a bitmap; the others are coded

	riceLongest = 50       // the largest parameter
	riceUnary   = 64 << 10 // bits: with a longer unary part, packed numbers are shorter

	// baseBits is how much finer than the unary part's unit a base is.
	baseBits = 2
)

// rice is how a block of numbers is coded. A Rice code (Rice and Plaunt, 1971) has so many
// lower bits of a number as they are and the upper ones in unary. Where numbers scatter
// about something, as what predictions leave does, it takes a tenth of a bit more than
// the entropy; packing takes as many bits for all of them as the farthest one needs.
type rice struct {
	head byte
	base int64 // a multiple of 1<<unit()
	bits int   // of the numbers
}

func (r rice) parameter() int { return int(r.head & riceMask) }
func (r rice) unit() int      { return max(r.parameter()-baseBits, 0) }

// distance is what is coded of a number.
func (r rice) distance(x uint64) uint64 {
	x -= uint64(r.base)
	if r.head&riceAbove == 0 {
		return zigzag(x)
	}
	return x
}

// bytes is how long the block is.
func (r rice) bytes(n int) int {
	size := 1 + varintBytes(zigzag(uint64(r.base>>r.unit()))) + (r.bits+7)/8
	if r.head&riceZeros != 0 {
		size += (n + 7) / 8
	}
	return size
}

// planRice finds the shortest codes of a block.
func planRice(xs []uint64) rice {
	best := shorterRice(xs, 0, len(xs))
	zeros := 0
	for _, x := range xs {
		if x == 0 {
			zeros++
		}
	}
	if zeros > 0 && zeros < len(xs) && zeros*(best.parameter()+1) > len(xs) {
		if other := shorterRice(xs, riceZeros, len(xs)-zeros); other.bytes(len(xs)) < best.bytes(len(xs)) {
			return other
		}
	}
	return best
}

// shorterRice is codes for the n numbers that are coded, around their mean or above the least.
func shorterRice(xs []uint64, zeros byte, n int) rice {
	var sum int64
	least := int64(math.MaxInt64)
	for _, x := range xs {
		if x != 0 || zeros == 0 {
			sum += int64(x)
			least = min(least, int64(x))
		}
	}
	around := riceAt(xs, rice{head: zeros, base: sum / int64(n)}, n)
	above := riceAt(xs, rice{head: zeros | riceAbove, base: least}, n)
	if above.bits < around.bits {
		return above
	}
	return around
}

// riceAt finds the parameter for a base, which it rounds.
func riceAt(xs []uint64, r rice, n int) rice {
	var sum uint64
	for _, x := range xs {
		if x != 0 || r.head&riceZeros == 0 {
			sum += min(r.distance(x), 1<<riceLongest)
		}
	}
	parameter := min(max(bits.Len64(sum/uint64(n))-1, 0), riceLongest)
	best := r.with(xs, parameter)
	for _, other := range [...]int{parameter - 1, parameter + 1} {
		if other < 0 || other > riceLongest {
			continue
		}
		if p := r.with(xs, other); p.bits < best.bits {
			best = p
		}
	}
	return best
}

// with is the codes with a parameter, and how long they are.
func (r rice) with(xs []uint64, parameter int) rice {
	r.head |= byte(parameter)
	r.base = r.base >> r.unit() << r.unit()
	for _, x := range xs {
		if x != 0 || r.head&riceZeros == 0 {
			r.bits += parameter + 1 + int(min(r.distance(x)>>parameter, riceUnary))
		}
	}
	return r
}

// append writes a block. What is in xs is lost.
func (r rice) append(dst []byte, xs []uint64) []byte {
	dst = binary.AppendVarint(append(dst, r.head), r.base>>r.unit())
	if r.head&riceZeros != 0 {
		dst, xs = appendZeros(dst, xs)
	}
	for i, x := range xs {
		xs[i] = r.distance(x)
	}
	parameter := r.parameter()
	dst = appendUnary(dst, xs, parameter)
	mask := lowBits(parameter)
	for i := range xs {
		xs[i] &= mask
	}
	return appendBits(dst, xs, parameter)
}

// appendZeros writes a bit for each number, whether it is another than zero, and moves
// those together.
func appendZeros(dst []byte, xs []uint64) ([]byte, []uint64) {
	start, n := len(dst), 0
	for i, x := range xs {
		if i%8 == 0 {
			dst = append(dst, 0)
		}
		if x != 0 {
			dst[start+i/8] |= 1 << (i % 8)
			xs[n] = x
			n++
		}
	}
	return dst, xs[:n]
}

// appendUnary writes the upper parts of numbers: as many zero bits, and then a one.
func appendUnary(dst []byte, xs []uint64, parameter int) []byte {
	var word uint64
	filled := 0
	for _, x := range xs {
		filled += int(x >> parameter)
		for filled >= 64 {
			dst = binary.LittleEndian.AppendUint64(dst, word)
			word, filled = 0, filled-64
		}
		word |= 1 << filled
		if filled++; filled == 64 {
			dst = binary.LittleEndian.AppendUint64(dst, word)
			word, filled = 0, 0
		}
	}
	return binary.LittleEndian.AppendUint64(dst, word)[:len(dst)+(filled+7)/8]
}

// appendNumbers writes a column, packed or, if that is shorter, in Rice codes: then it
// sets the bit coded of the byte at form. What is in xs is lost.
func (e *Encoder) appendNumbers(dst []byte, form int, xs []uint64) []byte {
	var plans [(MaxBuckets + riceLength - 1) / riceLength]rice
	size := 0
	for i, block := range blocks(xs) {
		plans[i] = planRice(block)
		size += plans[i].bytes(len(block))
	}
	e.packing = append(e.packing[:0], xs...)
	start := len(dst)
	dst = appendPacked(dst, e.packing)
	if len(dst)-start <= size {
		return dst
	}
	dst = dst[:start]
	dst[form] |= coded
	for i, block := range blocks(xs) {
		dst = plans[i].append(dst, block)
	}
	return dst
}

// blocks is the parts of a column that have a Rice parameter each.
func blocks(xs []uint64) iter.Seq2[int, []uint64] {
	return func(yield func(int, []uint64) bool) {
		for i := 0; len(xs) > 0; i++ {
			n := min(len(xs), riceLength)
			if !yield(i, xs[:n]) {
				return
			}
			xs = xs[n:]
		}
	}
}

// column is the inverse of appendNumbers, given whether the bit coded is set.
func (d *Decoder) column(xs []uint64, inRice bool) {
	if !inRice {
		d.packed(xs)
		return
	}
	for len(xs) > 0 && d.wrong == "" {
		n := min(len(xs), riceLength)
		d.rice(xs[:n])
		xs = xs[n:]
	}
}

// rice is the inverse of rice.append.
func (d *Decoder) rice(xs []uint64) {
	r := rice{head: d.byte()}
	r.base = int64(d.varint() << r.unit())
	all := xs
	var present []byte
	if r.head&riceZeros != 0 {
		present = d.take(uint64(len(xs)+7) / 8)
		xs = xs[:onesOf(present, len(xs))]
	}
	parameter := r.parameter()
	d.unary(xs, parameter)
	for rest := xs; len(rest) > 0; {
		n := min(len(rest), blockLength)
		low := d.take(uint64(packedBytes(n, parameter)))
		if d.wrong != "" {
			return
		}
		bitsInto(d.numbers[:n], d.data[d.at-len(low):], parameter)
		for i, x := range d.numbers[:n] {
			rest[i] |= x
		}
		rest = rest[n:]
	}
	if r.head&riceAbove == 0 {
		unzigzagAll(xs)
	}
	addAll(xs, uint64(r.base))
	if present != nil {
		spread(all, len(xs), present)
	}
}

// onesOf counts the ones among the first n bits.
func onesOf(bitmap []byte, n int) (ones int) {
	for i, b := range bitmap {
		if n-8*i < 8 {
			b &= 1<<(n-8*i) - 1
		}
		ones += bits.OnesCount8(b)
	}
	return ones
}

// spread moves the first n numbers to where a bitmap has ones, and puts zeros between.
func spread(xs []uint64, n int, bitmap []byte) {
	for i := len(xs) - 1; i >= 0; i-- {
		if bitmap[i/8]>>(i%8)&1 == 0 {
			xs[i] = 0
			continue
		}
		n--
		xs[i] = xs[n]
	}
}

// unary is the inverse of appendUnary.
func (c *cursor) unary(xs []uint64, parameter int) {
	at := 8 * c.at // in bits
	for i := range xs {
		zeros := 0
		for {
			word, n := c.bits(at)
			if n == 0 {
				c.fail(cutShort)
				return
			}
			if word != 0 {
				n = bits.TrailingZeros64(word)
				zeros, at = zeros+n, at+n+1
				break
			}
			zeros, at = zeros+n, at+n
		}
		xs[i] = uint64(zeros) << parameter
	}
	c.at = (at + 7) / 8
}

// bits is the next 57 bits or more of data, and how many; none behind its end.
func (c *cursor) bits(at int) (word uint64, n int) {
	if from := at / 8; len(c.data)-from >= 8 {
		return binary.LittleEndian.Uint64(c.data[from:]) >> (at % 8), 64 - at%8
	}
	for i, b := range c.data[min(at/8, len(c.data)):] {
		word |= uint64(b) << (8 * i)
		n += 8
	}
	return word >> (at % 8), max(n-at%8, 0)
}
