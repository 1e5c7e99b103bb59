package query

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"carillon/bucket"
)

// anyValue draws numbers of all sorts, those that functions stumble over too.
func anyValue(t *rapid.T) float64 {
	return rapid.OneOf(
		rapid.Float64(),
		rapid.Float64Range(-10, 10),
		rapid.Map(rapid.Int64Range(-1000, 1000), func(n int64) float64 { return float64(n) / 100 }),
		rapid.SampledFrom([]float64{0, math.Copysign(0, -1), math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, -math.MaxFloat64, 5e-324}),
	).Draw(t, "value")
}

// TestDirectly: what is worked out from values alone is what the engine's own function says, to the
// bit, or left to it.
func TestDirectly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var samples []sample
		var values []float64
		for i := range rapid.IntRange(1, 40).Draw(t, "samples") {
			values = append(values, anyValue(t))
			samples = append(samples, sample{T: int64(i) * 1000, F: values[i]})
		}
		for function, direct := range directly {
			got, ok := direct(values)
			w := window{function: function, length: 60_000}
			want, _, _ := w.call(function).at(60_000, samples)
			if ok && math.Float64bits(got) != math.Float64bits(want) {
				t.Fatalf("%s of %v is %v, want %v", function, values, got, want)
			}
		}
	})
	for function, direct := range directly {
		if _, ok := direct([]float64{1.5, 2.25, -7}); !ok {
			t.Errorf("%s is left to the engine for ordinary values", function)
		}
	}
}

// TestSlide: in columns or not, a window comes to what its function says of the samples inside, and
// where there are none a staleness marker stands once.
func TestSlide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := window{
			function: rapid.SampledFrom([]string{"max_over_time", "avg_over_time", "rate", "changes"}).Draw(t, "function"),
			length:   rapid.Int64Range(1, 100_000).Draw(t, "length"),
			offset:   rapid.Int64Range(-50_000, 50_000).Draw(t, "offset"),
		}
		at := moments{step: rapid.Int64Range(0, 60_000).Draw(t, "step")}
		if at.step > 0 {
			at.end = rapid.Int64Range(0, 500_000).Draw(t, "end")
		}
		var times []int64
		var values []float64
		var samples []sample
		time := int64(-200_000)
		for range rapid.IntRange(0, 60).Draw(t, "samples") {
			time += rapid.Int64Range(1, 30_000).Draw(t, "gap")
			times, values = append(times, time), append(values, rapid.Float64Range(-10, 10).Draw(t, "value"))
			samples = append(samples, sample{T: time, F: values[len(values)-1]})
		}
		got := newSlider(&w, at).slide(samples, nil)
		if direct, ok := newSlider(&w, at).slideDirect(times, values); ok && !equalSamples(direct, got) {
			t.Fatalf("directly %v, otherwise %v", direct, got)
		}
		var want []sample
		there := false
		for moment := at.start; moment <= at.end; moment += max(at.step, 1) {
			var inside []sample
			for _, s := range samples {
				if end := moment - w.offset; s.T > end-w.length && s.T <= end {
					inside = append(inside, s)
				}
			}
			x, ok := 0.0, len(inside) > 0
			if ok {
				x, ok, _ = w.call(w.function).at(moment-w.offset, inside)
			}
			if ok {
				want = append(want, sample{T: moment, F: x})
			} else if there {
				want = append(want, sample{T: moment, F: math.Float64frombits(bucket.StaleNaN)})
			}
			there = ok
		}
		if !equalSamples(got, want) {
			t.Fatalf("%+v at %+v: got %v, want %v", w, at, got, want)
		}
	})
}

func equalSamples(a, b []sample) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].T != b[i].T || math.Float64bits(a[i].F) != math.Float64bits(b[i].F) {
			return false
		}
	}
	return true
}
