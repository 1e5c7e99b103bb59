package query

import (
	"math"

	"carillon/bucket"
)

// directly are functions over windows that need nothing but values, of which there is one at
// least. What they come to is, to the bit, what the engine's own function comes to; where that
// does something out of the ordinary, as when a sum overflows, they report false.
var directly = map[string]func(values []float64) (float64, bool){
	"sum_over_time":   sumOver,
	"avg_over_time":   averageOver,
	"count_over_time": func(values []float64) (float64, bool) { return float64(len(values)), true },
	"min_over_time":   leastOver,
	"max_over_time":   mostOver,
}

// compensated is a sum and what rounding took from it (Kahan's, in Neumaier's variant: of
// two numbers the error of the smaller one counts). Knuth's TwoSum finds the same error, which is
// a float64 itself unless the sum overflows, without asking which one is smaller.
func compensated(sum float64, values []float64) (_, rest float64) {
	for _, x := range values {
		t := sum + x
		part := t - sum
		rest += (sum - (t - part)) + (x - part)
		sum = t
	}
	return sum, rest
}

func sumOver(values []float64) (float64, bool) {
	sum, rest := compensated(0, values)
	return sum + rest, isFinite(sum + rest)
}

func averageOver(values []float64) (float64, bool) {
	sum, rest := compensated(values[0], values[1:])
	count := float64(len(values))
	return sum/count + rest/count, isFinite(sum + rest)
}

// leastOver and mostOver use builtins, which need no branches that cannot be foretold. Where the engine
// comes to another zero, or to another answer to NaN, they leave it to the engine.
func leastOver(values []float64) (float64, bool) {
	least := values[0]
	for _, x := range values[1:] {
		least = min(least, x)
	}
	return least, !math.IsNaN(least) && (least != 0 || allSame(values))
}

func mostOver(values []float64) (float64, bool) {
	most := values[0]
	for _, x := range values[1:] {
		most = max(most, x)
	}
	return most, !math.IsNaN(most) && (most != 0 || allSame(values))
}

func allSame(values []float64) bool {
	first := math.Float64bits(values[0])
	for _, x := range values[1:] {
		if math.Float64bits(x) != first {
			return false
		}
	}
	return true
}

// isFinite tells whether nothing overflowed, and nothing was NaN or infinite.
func isFinite(x float64) bool { return math.Abs(x) <= math.MaxFloat64 }

func hasStale(values []float64) bool {
	for _, x := range values {
		if math.Float64bits(x) == bucket.StaleNaN {
			return true
		}
	}
	return false
}
