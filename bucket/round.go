package bucket

import "math"

// DeviationBits is to how many significant bits Round rounds M2: a deviation is then
// right to one part in 2^11, more than three digits.
const DeviationBits = 10

// Round leaves out what only rounding put into Sum and M2, and more of M2 than anybody
// reads. The store does this to the buckets of all tiers but the finest one
// (docs/adr/0007-coarse-deviations-are-rounded.md).
//
//   - M2 is rounded to DeviationBits.
//   - Where First, Last, Min and Max are decimal fractions, Sum becomes the one that it is
//     nearest to, if adding can have led away from it.
//   - If all samples are equal, Sum is their product with Count, and M2 is 0.
//
// Rounding a second time changes nothing. A bucket of one stays as it is, and so does the
// Sum of two, by which they are known to be First and Last.
func (b *Bucket) Round() {
	switch {
	case b.Count < 2:
	case b.Min == b.Max && !math.IsNaN(b.Sum) && !math.IsInf(b.Sum, 0):
		b.M2 = 0
		if b.Min != 0 { // else some may have been -0
			b.Sum = float64(b.Count) * b.Min
		}
	default:
		b.M2 = significant(b.M2)
		if b.Count > 2 {
			b.Sum = b.decimalSum()
		}
	}
}

// significant rounds to DeviationBits.
func significant(x float64) float64 {
	const cut = 53 - DeviationBits
	rounded := math.Float64frombits((math.Float64bits(x) + 1<<cut>>1) &^ (1<<cut - 1))
	if math.IsNaN(x) || math.IsInf(rounded, 0) {
		return x
	}
	return rounded
}

// decimalSum is the sum of samples that have no more decimals than those which are known.
func (b *Bucket) decimalSum() float64 {
	const most = 1e9 // all powers of ten up to there are exact
	power := 1.0
	for _, x := range [...]float64{b.First, b.Last, b.Min, b.Max} {
		for power <= most && math.RoundToEven(float64(x*power))/power != x {
			power *= 10
		}
	}
	if power > most {
		return b.Sum
	}
	sum := math.RoundToEven(float64(b.Sum*power)) / power
	// Each of Count sums is at most so large, and was rounded by 2^-53 of that.
	n := float64(b.Count)
	if away := math.Abs(sum - b.Sum); away <= float64(n*n*max(math.Abs(b.Min), math.Abs(b.Max)))*0x1p-53 {
		return sum
	}
	return b.Sum
}
