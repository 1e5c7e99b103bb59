package page

import (
	"encoding/binary"
	"math"
	"slices"

	"carillon/bucket"
)

// The float columns of whole buckets, in the order in which they are written: each
// may be predicted from those before it.
const (
	columnLast = iota
	columnFirst
	columnMin
	columnMax
	columnSum
	columnM2
	columnResets
	floatColumns

	scaledColumns = columnSum + 1 // the first ones may be written as whole numbers
)

// coded is set in the form of a column whose numbers are in Rice codes, not packed.
const coded = 0x08

// How a float column is written.
const (
	floatsPredicted = iota // as predicted: nothing follows
	floatsScaled           // as whole numbers, less what is predicted of them
	floatsDistance         // bits less those of the prediction
	floatsXOR              // bits XOR those of the value before, trimmed
	floatsRaw              // 8 bytes each
)

// How an integer column is written: the same number, or packed, after so many
// differences were taken.
const (
	intsSame = iota
	intsPacked
	intsFirst
	intsSecond
)

// rolled is whole buckets as columns.
type rolled struct {
	floats   [floatColumns][]float64
	decimals [scaledColumns]decimal
	counts   []uint64
}

func (r *rolled) size(n int) {
	for c := range r.floats {
		r.floats[c] = sized(r.floats[c], n)
	}
	r.counts = sized(r.counts, n)
}

func (e *Encoder) wholes(s shape, times []int64, buckets []bucket.Bucket) []byte {
	dst := e.head(flagWholes, s, times)
	r := &e.rolled
	r.size(len(buckets))
	xs, ys := e.scratch(len(buckets))
	for i := range buckets {
		b := &buckets[i]
		for c, v := range [floatColumns]float64{b.Last, b.First, b.Min, b.Max, b.Sum, b.M2, b.Resets} {
			r.floats[c][i] = v
		}
		r.counts[i] = b.Count
		xs[i], ys[i] = uint64(b.LastTime-b.FirstTime), uint64(b.StaleTime)
	}
	dst = e.appendInts(dst, xs)
	copy(xs, r.counts)
	dst = e.appendInts(dst, xs)
	dst = e.appendInts(dst, ys)

	scale, scaled := r.scale()
	if !scaled {
		scale = scaleRaw
	}
	dst = append(dst, byte(scale))
	for c := range floatColumns {
		dst = e.appendFloats(dst, c, scaled)
	}
	e.strip = dst
	return dst
}

// appendInts writes integers; what is in xs is lost.
func (e *Encoder) appendInts(dst []byte, xs []uint64) []byte {
	if !slices.ContainsFunc(xs, func(x uint64) bool { return x != xs[0] }) {
		return binary.AppendUvarint(append(dst, intsSame), xs[0])
	}
	order, form := bestOrder(xs), len(dst)
	dst = append(dst, byte(intsPacked+order))
	for i := range order {
		differences(xs[i:])
		dst = binary.AppendUvarint(dst, zigzag(xs[i]))
	}
	return e.appendNumbers(dst, form, xs[order:])
}

// scale turns the columns but for M2 and resets into whole numbers of one scale, if
// nearly all of them are.
func (r *rolled) scale() (scale int, ok bool) {
	for c := columnLast; c < columnSum; c++ {
		if !r.decimals[c].set(r.floats[c], scale) {
			return 0, false
		}
		scale = r.decimals[c].scale
	}
	for c := columnLast; c < columnSum; c++ {
		if r.decimals[c].scale == scale {
			continue
		}
		if finer, ok := r.decimals[c].try(r.floats[c], scale); !ok || finer != scale {
			return 0, false
		}
	}
	r.sum(scale)
	return scale, true
}

// sum finds the whole numbers that the sums are near to: adding fractions rounds.
func (r *rolled) sum(scale int) {
	d := &r.decimals[columnSum]
	d.scale, d.numbers = scale, sized(d.numbers, len(r.counts))
	for i, v := range r.floats[columnSum] {
		d.numbers[i] = uint64(whole(v, scale))
	}
}

// numbers is the whole numbers of a column.
func (r *rolled) numbers(c int) []uint64 { return r.decimals[c].numbers }

// guesses is in how many ways a column is predicted.
func guesses(c int) int {
	switch c {
	case columnFirst, columnMin, columnMax:
		return 2
	case columnSum:
		return 3
	}
	return 1
}

// guess is what the whole numbers of a column most likely are, given the columns before
// it. The last one has none before it.
func (r *rolled) guess(c, which int, dst []uint64) {
	if which == 1 && c != columnSum {
		clear(dst)
		return
	}
	last := r.numbers(columnLast)
	if c == columnFirst {
		dst[0] = last[0]
		copy(dst[1:], last)
		return
	}
	first := r.numbers(columnFirst)[:len(dst)]
	last = last[:len(dst)]
	switch c {
	case columnMin:
		for i, x := range first {
			dst[i] = uint64(min(int64(x), int64(last[i])))
		}
		return
	case columnMax:
		for i, x := range first {
			dst[i] = uint64(max(int64(x), int64(last[i])))
		}
		return
	}
	least, most, counts := r.numbers(columnMin)[:len(dst)], r.numbers(columnMax)[:len(dst)], r.counts[:len(dst)]
	for i, n := range counts {
		switch which {
		case 0:
			dst[i] = uint64(int64(n*(first[i]+last[i])) / 2)
		case 1:
			dst[i] = uint64(int64(n*(least[i]+most[i])) / 2)
		default:
			dst[i] = uint64(int64(n*(first[i]+last[i]+least[i]+most[i])) / 4)
		}
	}
}

// predict is the bits that a column most likely has, given those before it. It is part
// of the format, so it must give the same ones everywhere: it adds nothing to a
// product, which some processors round once and others twice, and returns no NaN that
// arithmetic made, since they differ too.
func (r *rolled) predict(c int, dst []uint64) {
	first, last := r.floats[columnFirst][:len(dst)], r.floats[columnLast][:len(dst)]
	switch c {
	case columnLast, columnFirst: // the last of the bucket before
		before := math.Float64bits(last[0])
		if c == columnLast {
			before = 0
		}
		for i, x := range last {
			dst[i], before = before, math.Float64bits(x)
		}
	case columnMin:
		for i, value := range first {
			if last[i] < value {
				value = last[i]
			}
			dst[i] = math.Float64bits(value)
		}
	case columnMax:
		for i, value := range first {
			if last[i] > value {
				value = last[i]
			}
			dst[i] = math.Float64bits(value)
		}
	case columnSum: // of samples that lie evenly between the first and the last
		for i, x := range first {
			value := float64(r.counts[i]) * ((x + last[i]) / 2)
			if math.IsNaN(value) {
				value = x
			}
			dst[i] = math.Float64bits(value)
		}
	case columnM2: // of samples that lie evenly between the least and the largest
		least, most := r.floats[columnMin][:len(dst)], r.floats[columnMax][:len(dst)]
		for i := range dst {
			n, d, value := float64(r.counts[i]), most[i]-least[i], 0.0
			if n >= 2 {
				value = d * d * (n * (n + 1) / (12 * (n - 1)))
			}
			if math.IsNaN(value) {
				value = 0
			}
			dst[i] = math.Float64bits(value)
		}
	default:
		clear(dst)
	}
}

// appendFloats writes a float column.
func (e *Encoder) appendFloats(dst []byte, c int, scaled bool) []byte {
	r := &e.rolled
	xs, predicted := e.scratch(len(r.counts))
	r.predict(c, predicted)
	for i, v := range r.floats[c] {
		xs[i] = math.Float64bits(v)
	}
	if slices.Equal(xs, predicted) {
		return append(dst, floatsPredicted)
	}
	if scaled && c < scaledColumns {
		return e.appendGuessed(append(dst, floatsScaled), c)
	}
	start := len(dst)
	dst = e.appendDistance(append(dst, floatsDistance), xs, predicted)
	middle := len(dst)
	before := uint64(0)
	for i, v := range r.floats[c] {
		x := math.Float64bits(v)
		xs[i], before = x^before, x
	}
	dst = appendTrimmed(append(dst, floatsXOR), xs)
	if middle-start <= len(dst)-middle {
		dst = dst[:middle]
	} else {
		dst = append(dst[:start], dst[middle:]...)
	}
	if len(dst)-start > 1+8*len(xs) {
		dst = append(dst[:start], floatsRaw)
		for _, v := range r.floats[c] {
			dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(v))
		}
	}
	return dst
}

// appendDistance writes bits less those that are predicted, without the low ones that
// are zero everywhere. What is in xs is lost.
func (e *Encoder) appendDistance(dst []byte, xs, predicted []uint64) []byte {
	shift, form := lowZeros(xs), len(dst)-1
	dst = append(dst, byte(shift))
	for i, x := range xs {
		xs[i] = x>>shift - rounded(predicted[i], shift)
	}
	return e.appendNumbers(dst, form, xs)
}

// rounded is bits without the lowest ones, rounded to the nearest as those of a column
// that has zeros there are likely to be.
func rounded(x uint64, shift int) uint64 { return (x + 1<<shift>>1) >> shift }

// appendGuessed writes a column as whole numbers.
func (e *Encoder) appendGuessed(dst []byte, c int) []byte {
	r := &e.rolled
	d := &r.decimals[c]
	xs, ys := e.scratch(len(r.counts))
	if c == columnLast {
		copy(xs, d.numbers)
		return d.appendExceptions(e.appendInts(dst, xs), r.floats[c])
	}
	which, form := r.bestGuess(c, xs), len(dst)-1
	dst = append(dst, byte(which))
	r.guess(c, which, xs)
	for i, x := range d.numbers {
		xs[i] = x - xs[i]
	}
	if c == columnFirst { // whose first number has none before it, and would be far from the others
		dst = binary.AppendUvarint(dst, zigzag(xs[0]))
		xs = xs[1:]
	}
	dst = e.appendNumbers(dst, form, xs)
	if c != columnSum {
		return d.appendExceptions(dst, r.floats[c])
	}
	for i, v := range r.floats[c] {
		ys[i] = math.Float64bits(v) - math.Float64bits(fraction(int64(d.numbers[i]), d.scale))
	}
	return e.appendInts(dst, ys)
}

// bestGuess is the one that leaves the numbers of a column closest together, on average.
// xs is scratch.
func (r *rolled) bestGuess(c int, xs []uint64) int {
	best, closest := 0, math.MaxFloat64
	for which := range guesses(c) {
		r.guess(c, which, xs)
		if off := deviation(r.numbers(c), xs); off < closest {
			best, closest = which, off
		}
	}
	return best
}

// deviation is how far differences are from their mean, in sum.
func deviation(xs, ys []uint64) (sum float64) {
	mean := 0.0
	for i, x := range xs {
		mean += float64(int64(x - ys[i]))
	}
	mean /= float64(len(xs))
	for i, x := range xs {
		sum += math.Abs(float64(int64(x-ys[i])) - mean)
	}
	return sum
}
