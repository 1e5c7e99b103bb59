package bucket

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"carillon/series"
)

func TestRound(t *testing.T) {
	nan, tenth := math.NaN(), 0.1
	for _, test := range []struct {
		name string
		in   Bucket
		sum  float64
		m2   float64
	}{
		{"one", Bucket{First: 0.1, Last: 0.1, Min: 0.1, Max: 0.1, Count: 1, Sum: 0.1}, 0.1, 0},
		{"fractions", Bucket{First: 0.1, Last: 0.3, Min: 0.1, Max: 0.3, Count: 3, Sum: 0.1 + 0.2 + 0.3000000000000001, M2: 1}, 0.6, 1},
		{"the sum of two", Bucket{First: 0.1, Last: 0.2, Min: 0.1, Max: 0.2, Count: 2, Sum: 0.30000000000000004, M2: 0.75}, 0.30000000000000004, 0.75},
		{"finer than what is known", Bucket{First: 0.5, Last: 1, Min: 0.5, Max: 1, Count: 3, Sum: 2.1337, M2: 0.1}, 2.1337, 0.0999755859375},
		{"equal", Bucket{First: 0.1, Last: 0.1, Min: 0.1, Max: 0.1, Count: 3, Sum: 0.30000000000000004, M2: 1e-34}, 3 * tenth, 0},
		{"infinite", Bucket{First: 1, Last: math.Inf(1), Min: 1, Max: math.Inf(1), Count: 3, Sum: math.Inf(1), M2: nan}, math.Inf(1), nan},
		{"not a number", Bucket{First: 1, Last: 1, Min: 1, Max: 1, Count: 3, Sum: nan, M2: nan}, nan, nan},
		{"too large to be rounded", Bucket{First: -1e308, Last: 1e308, Min: -1e308, Max: 1e308, Count: 3, M2: math.MaxFloat64}, 0, math.MaxFloat64},
	} {
		b := test.in
		b.Round()
		if !near(b.Sum, test.sum, 0) || !near(b.M2, test.m2, 1e-15) {
			t.Errorf("%s: sum %v, m2 %v; want %v, %v", test.name, b.Sum, b.M2, test.sum, test.m2)
		}
	}
}

func near(a, b, tolerance float64) bool {
	return a == b || math.Abs(a-b) <= tolerance || math.IsNaN(a) && math.IsNaN(b)
}

// TestRoundIsClose: rounding moves M2 by less than one part in 2^DeviationBits and Sum by
// less than adding may have, and does nothing the second time.
func TestRoundIsClose(t *testing.T) {
	values := rapid.OneOf(
		rapid.Map(rapid.Int64Range(-1_000_000, 1_000_000), func(n int64) float64 { return float64(n) / 1000 }),
		rapid.Float64Range(-1e6, 1e6), rapid.Just(0.1), rapid.Float64(),
	)
	rapid.Check(t, func(t *rapid.T) {
		b := Of(0, values.Draw(t, "first"))
		for i := range rapid.IntRange(0, 50).Draw(t, "more") {
			later := Of(int64(i+1), values.Draw(t, "value"))
			b.Merge(series.Gauge, &later)
		}
		rounded := b
		rounded.Round()
		n := float64(b.Count)
		if off := math.Abs(rounded.Sum - b.Sum); off > n*n*max(math.Abs(b.Min), math.Abs(b.Max))*0x1p-52 {
			t.Errorf("sum %v became %v", b.Sum, rounded.Sum)
		}
		noise := n*n*max(b.Min*b.Min, b.Max*b.Max)*0x1p-100 + 0x1p-1030 // the latter is of denormal numbers
		if off := math.Abs(rounded.M2 - b.M2); off > b.M2/(1<<DeviationBits)+noise {
			t.Errorf("m2 %v became %v", b.M2, rounded.M2)
		}
		again := rounded
		again.Round()
		if again != rounded && !math.IsNaN(rounded.Sum) && !math.IsNaN(rounded.M2) {
			t.Errorf("%+v became %+v", rounded, again)
		}
		rounded.Sum, rounded.M2 = b.Sum, b.M2
		if rounded != b && !math.IsNaN(b.Sum) && !math.IsNaN(b.M2) {
			t.Errorf("%+v became %+v", b, rounded)
		}
	})
}
