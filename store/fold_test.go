package store

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"carillon/bucket"
)

// TestAddSamples: a fold makes of samples, in any portions, the very bits that it makes
// of them as buckets.
func TestAddSamples(t *testing.T) {
	values := rapid.OneOf(
		rapid.SampledFrom([]float64{0, math.Copysign(0, -1), math.Inf(1), math.NaN(), math.Float64frombits(bucket.StaleNaN)}),
		rapid.Float64(), rapid.Float64Range(-10, 10),
	)
	rapid.Check(t, func(t *rapid.T) {
		var samples columns
		var buckets []bucket.Bucket
		time := int64(-100 * second)
		for range rapid.IntRange(0, 40).Draw(t, "samples") {
			time += rapid.SampledFrom([]int64{1, second, 10 * second, minute}).Draw(t, "step")
			value := values.Draw(t, "value")
			samples.times, samples.values = append(samples.times, time), append(samples.values, value)
			buckets = append(buckets, bucket.Of(time, value))
		}
		kind := kindOf(rapid.Uint32Range(0, 2).Draw(t, "kind"))
		one, two := fold{kind: kind, resolution: 20 * second}, fold{kind: kind, resolution: 20 * second}
		one.add(buckets, false)
		cut := rapid.IntRange(0, len(buckets)).Draw(t, "cut")
		two.addSamples(samples.slice(0, cut))
		two.addSamples(samples.slice(cut, len(buckets)))
		if len(one.acc) != len(two.acc) {
			t.Fatalf("%d buckets, not %d", len(two.acc), len(one.acc))
		}
		for i := range one.acc {
			if !sameBits(one.acc[i], two.acc[i]) {
				t.Fatalf("bucket %d:\n got %v\nwant %v", i, two.acc[i], one.acc[i])
			}
		}
	})
}
