package istatd

import (
	"math"

	"carillon/bucket"
	"carillon/receive/text"
)

const (
	// rounding is how far, relative to the larger end of the range, a mean may
	// lie outside min..max: istatd keeps min and max as float32 and prints six
	// significant digits when it forwards.
	rounding = 1e-5
	// maxCount is up to where a float64 counts exactly.
	maxCount = 1 << 53
)

// parseBucket reads sum sumsq min max count. A bucket of one is an exact sample,
// and becomes a Value.
func (l *Line) parseBucket(fields [][]byte) Reason {
	var numbers [5]float64
	for i := range numbers {
		var ok bool
		if numbers[i], ok = text.Float(fields[i]); !ok {
			return BadValue
		}
	}
	sum, squares, low, high, count := numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
	if !(count >= 1 && count <= maxCount) || count != math.Trunc(count) {
		return BadCount
	}
	mean := sum / count
	slack := rounding * max(math.Abs(low), math.Abs(high))
	if math.IsInf(slack, 0) {
		slack = 0
	}
	if !(mean >= low-slack && mean <= high+slack) {
		return MeanOutOfRange
	}
	if count == 1 {
		l.Form, l.Value = Value, sum
		return ""
	}
	for _, number := range numbers {
		if math.IsInf(number, 0) {
			return BadValue
		}
	}
	l.Form = Aggregate
	l.Bucket = bucket.Bucket{
		FirstTime: l.Time, LastTime: l.Time, First: mean, Last: mean,
		Count: uint64(count), Sum: sum, Min: low, Max: high,
		M2: squaredDistances(sum, squares, count),
	}
	return ""
}

// squaredDistances is squares - sum²/count, the sum of squared distances from
// the mean. Both terms are large and nearly equal when the deviation is small
// beside the mean, so each product keeps the part that rounding cuts off
// (Kahan's difference of products). What the sender has already rounded away
// is lost: a negative rest is noise around zero.
func squaredDistances(sum, squares, count float64) float64 {
	a, b := squares*count, sum*sum
	if math.IsInf(a, 0) || math.IsInf(b, 0) {
		return finite(squares - sum/count*sum)
	}
	cutOff := math.FMA(squares, count, -a) - math.FMA(sum, sum, -b)
	return finite((a - b + cutOff) / count)
}

func finite(m2 float64) float64 {
	if m2 > 0 && !math.IsInf(m2, 0) {
		return m2
	}
	return 0
}
