package page

import (
	"math"

	"carillon/bucket"
)

// column is one field of a page's buckets, in the order in which they are
// written: a column may be predicted from those before it.
type column uint8

const (
	firstTime column = iota
	span             // LastTime - FirstTime
	count
	staleTime
	first
	last
	minimum
	maximum
	sum
	m2
	resets
	sample // of a page of ones: the value from which setOne makes all the rest
)

// String is the column's name in errors and in the format's description.
func (c column) String() string {
	return [...]string{"first time", "span", "count", "stale time", "first", "last", "min", "max",
		"sum", "m2", "resets", "sample"}[c]
}

// get is one field of a bucket: an integer, or the bits of a float.
func (c column) get(b *bucket.Bucket) uint64 {
	switch c {
	case firstTime:
		return uint64(b.FirstTime)
	case span:
		return uint64(b.LastTime - b.FirstTime)
	case count:
		return b.Count
	case staleTime:
		return uint64(b.StaleTime)
	case first, sample:
		return math.Float64bits(b.First)
	case last:
		return math.Float64bits(b.Last)
	case minimum:
		return math.Float64bits(b.Min)
	case maximum:
		return math.Float64bits(b.Max)
	case sum:
		return math.Float64bits(b.Sum)
	case m2:
		return math.Float64bits(b.M2)
	}
	return math.Float64bits(b.Resets)
}

// set is the inverse of get, for all but sample. FirstTime is set before span.
func (c column) set(b *bucket.Bucket, bits uint64) {
	switch c {
	case firstTime:
		b.FirstTime = int64(bits)
	case span:
		b.LastTime = b.FirstTime + int64(bits)
	case count:
		b.Count = bits
	case staleTime:
		b.StaleTime = int64(bits)
	case first:
		b.First = math.Float64frombits(bits)
	case last:
		b.Last = math.Float64frombits(bits)
	case minimum:
		b.Min = math.Float64frombits(bits)
	case maximum:
		b.Max = math.Float64frombits(bits)
	case sum:
		b.Sum = math.Float64frombits(bits)
	case m2:
		b.M2 = math.Float64frombits(bits)
	case resets:
		b.Resets = math.Float64frombits(bits)
	}
}

// gather fills block with the fields of the first len(block) buckets.
func (c column) gather(block []uint64, buckets []bucket.Bucket) {
	for i := range block {
		block[i] = c.get(&buckets[i])
	}
}

// scatter is the inverse of gather.
func (c column) scatter(block []uint64, buckets []bucket.Bucket) {
	if c == sample { // the hot one, of which the compiler makes a tight loop here
		for i, x := range block {
			setOne(&buckets[i], math.Float64frombits(x))
		}
		return
	}
	for i, x := range block {
		c.set(&buckets[i], x)
	}
}

// predictable tells whether predict knows anything about the column.
func (c column) predictable() bool { return c >= last && c <= resets }

// predict is what a field most likely is, given the columns before it: exact for
// buckets of one and nearly always of two, often for counters and constants, and
// close for the rest. It is part of the format, so it must give the same bits
// everywhere: it adds nothing to a product, which some processors round once and
// others twice, and returns no NaN that arithmetic made, since they differ too.
func (c column) predict(b *bucket.Bucket) uint64 {
	value := 0.0
	switch c {
	case last:
		value = b.First
	case minimum:
		value = b.First
		if b.Last < b.First {
			value = b.Last
		}
	case maximum:
		value = b.First
		if b.Last > b.First {
			value = b.Last
		}
	case sum: // of samples that lie evenly between the first and the last
		value = float64(b.Count) * ((b.First + b.Last) / 2)
		if math.IsNaN(value) {
			value = b.First
		}
	case m2: // of the same
		if b.Count >= 2 {
			n, d := float64(b.Count), b.Last-b.First
			value = d * d * (n * (n + 1) / (12 * (n - 1)))
		}
		if math.IsNaN(value) {
			value = 0
		}
	}
	return math.Float64bits(value)
}

// allOnes tells whether every bucket isOne.
func allOnes(buckets []bucket.Bucket) bool {
	for i := range buckets {
		if !isOne(&buckets[i]) {
			return false
		}
	}
	return true
}

// isOne tells whether the bucket is exactly what setOne makes of its first time
// and value, to the bit: NaN equals the same NaN, and 0 differs from -0.
func isOne(b *bucket.Bucket) bool {
	x := math.Float64bits(b.First)
	return b.Count == 1 && b.LastTime == b.FirstTime && b.StaleTime == 0 &&
		math.Float64bits(b.Last) == x && math.Float64bits(b.Sum) == x &&
		math.Float64bits(b.Min) == x && math.Float64bits(b.Max) == x &&
		math.Float64bits(b.M2) == 0 && math.Float64bits(b.Resets) == 0
}

// setOne makes of b, whose FirstTime is set, what bucket.Of makes of one sample;
// field by field, which is several times as fast as by way of a copy.
func setOne(b *bucket.Bucket, value float64) {
	b.LastTime = b.FirstTime
	b.First, b.Last = value, value
	b.Count = 1
	b.Sum, b.Min, b.Max = value, value, value
	b.M2, b.Resets = 0, 0
	b.StaleTime = 0
}
