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
	dst = appendInts(dst, xs)
	copy(xs, r.counts)
	dst = appendInts(dst, xs)
	dst = appendInts(dst, ys)

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
func appendInts(dst []byte, xs []uint64) []byte {
	if !slices.ContainsFunc(xs, func(x uint64) bool { return x != xs[0] }) {
		return binary.AppendUvarint(append(dst, intsSame), xs[0])
	}
	order := bestOrder(xs)
	dst = append(dst, byte(intsPacked+order))
	for i := range order {
		differences(xs[i:])
		dst = binary.AppendUvarint(dst, zigzag(xs[i]))
	}
	return appendPacked(dst, xs[order:])
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
	case columnFirst:
		return 2
	case columnSum:
		return 3
	}
	return 1
}

// guess is what the whole number of a column most likely is, given the columns before
// it. The last one has none before it.
func (r *rolled) guess(c, i, which int) uint64 {
	last := int64(r.numbers(columnLast)[i])
	if c == columnFirst {
		switch {
		case which == 1:
			return 0
		case i > 0:
			return r.numbers(columnLast)[i-1]
		}
		return uint64(last)
	}
	first := int64(r.numbers(columnFirst)[i])
	switch c {
	case columnMin:
		return uint64(min(first, last))
	case columnMax:
		return uint64(max(first, last))
	}
	least, most, n := int64(r.numbers(columnMin)[i]), int64(r.numbers(columnMax)[i]), int64(r.counts[i])
	switch which {
	case 0:
		return uint64(n * (first + last) / 2)
	case 1:
		return uint64(n * (least + most) / 2)
	}
	return uint64(n * (first + last + least + most) / 4)
}

// predict is the bits that a column most likely has, given those before it. It is part
// of the format, so it must give the same ones everywhere: it adds nothing to a
// product, which some processors round once and others twice, and returns no NaN that
// arithmetic made, since they differ too.
func (r *rolled) predict(c, i int) uint64 {
	value := 0.0
	first, last, n := r.floats[columnFirst][i], r.floats[columnLast][i], float64(r.counts[i])
	switch c {
	case columnLast:
		if i > 0 {
			value = r.floats[columnLast][i-1]
		}
	case columnFirst:
		value = r.floats[columnLast][max(i-1, 0)]
	case columnMin:
		value = first
		if last < first {
			value = last
		}
	case columnMax:
		value = first
		if last > first {
			value = last
		}
	case columnSum: // of samples that lie evenly between the first and the last
		value = n * ((first + last) / 2)
		if math.IsNaN(value) {
			value = first
		}
	case columnM2: // of samples that lie evenly between the least and the largest
		d := r.floats[columnMax][i] - r.floats[columnMin][i]
		if n >= 2 {
			value = d * d * (n * (n + 1) / (12 * (n - 1)))
		}
		if math.IsNaN(value) {
			value = 0
		}
	}
	return math.Float64bits(value)
}

func (r *rolled) allPredicted(c int) bool {
	for i, v := range r.floats[c] {
		if math.Float64bits(v) != r.predict(c, i) {
			return false
		}
	}
	return true
}

// appendFloats writes a float column.
func (e *Encoder) appendFloats(dst []byte, c int, scaled bool) []byte {
	r := &e.rolled
	if r.allPredicted(c) {
		return append(dst, floatsPredicted)
	}
	if scaled && c < scaledColumns {
		return e.appendGuessed(append(dst, floatsScaled), c)
	}
	start := len(dst)
	dst = e.appendDistance(append(dst, floatsDistance), c)
	middle := len(dst)
	xs, _ := e.scratch(len(r.counts))
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

// appendDistance writes the bits less those of the prediction, without the low bits
// that are zero everywhere.
func (e *Encoder) appendDistance(dst []byte, c int) []byte {
	r := &e.rolled
	xs, _ := e.scratch(len(r.counts))
	for i, v := range r.floats[c] {
		xs[i] = math.Float64bits(v)
	}
	shift := lowZeros(xs)
	dst = append(dst, byte(shift))
	for i, x := range xs {
		xs[i] = x>>shift - r.predict(c, i)>>shift
	}
	return appendPacked(dst, xs)
}

// appendGuessed writes a column as whole numbers.
func (e *Encoder) appendGuessed(dst []byte, c int) []byte {
	r := &e.rolled
	d := &r.decimals[c]
	xs, ys := e.scratch(len(r.counts))
	if c == columnLast {
		copy(xs, d.numbers)
		return d.appendExceptions(appendInts(dst, xs), r.floats[c])
	}
	which := r.bestGuess(c)
	if guesses(c) > 1 {
		dst = append(dst, byte(which))
	}
	for i, x := range d.numbers {
		xs[i] = x - r.guess(c, i, which)
	}
	dst = appendPacked(dst, xs)
	if c != columnSum {
		return d.appendExceptions(dst, r.floats[c])
	}
	for i, v := range r.floats[c] {
		ys[i] = math.Float64bits(v) - math.Float64bits(fraction(int64(d.numbers[i]), d.scale))
	}
	return appendInts(dst, ys)
}

// bestGuess is the one that leaves the numbers of a column closest together.
func (r *rolled) bestGuess(c int) int {
	best, closest := 0, uint64(math.MaxUint64)
	for which := range guesses(c) {
		low, high := int64(math.MaxInt64), int64(math.MinInt64)
		for i, x := range r.numbers(c) {
			off := int64(x - r.guess(c, i, which))
			low, high = min(low, off), max(high, off)
		}
		if spread := uint64(high) - uint64(low); spread < closest {
			best, closest = which, spread
		}
	}
	return best
}
