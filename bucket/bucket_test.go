package bucket_test

import (
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"carillon/bucket"
	"carillon/series"
)

type sample struct {
	Time  int64
	Value float64
}

// naive computes a bucket from all of its samples at once, in two passes.
func naive(kind series.Kind, samples []sample) bucket.Bucket {
	sorted := slices.Clone(samples)
	slices.SortFunc(sorted, func(a, b sample) int { return int(a.Time - b.Time) })
	first, last := sorted[0], sorted[len(sorted)-1]
	b := bucket.Bucket{
		FirstTime: first.Time, First: first.Value, LastTime: last.Time, Last: last.Value,
		Count: uint64(len(sorted)), Min: math.Inf(1), Max: math.Inf(-1),
	}
	for i, s := range sorted {
		b.Sum += s.Value
		b.Min, b.Max = min(b.Min, s.Value), max(b.Max, s.Value)
		if i > 0 && s.Value < sorted[i-1].Value && kind == series.Counter {
			b.Resets += sorted[i-1].Value
		}
	}
	for _, s := range sorted {
		d := s.Value - b.Sum/float64(len(sorted))
		b.M2 += d * d
	}
	return b
}

// near compares what may differ by rounding; the rest must be equal.
func near(t interface{ Fatalf(string, ...any) }, got, want bucket.Bucket) {
	scale := math.Max(math.Abs(want.Max), math.Abs(want.Min))
	if math.Abs(got.Sum-want.Sum) > 1e-12*scale*float64(want.Count) {
		t.Fatalf("sum: got %v, want %v", got.Sum, want.Sum)
	}
	if math.Abs(got.M2-want.M2) > 1e-9*scale*scale*float64(want.Count) {
		t.Fatalf("m2: got %v, want %v", got.M2, want.M2)
	}
	got.Sum, got.M2 = want.Sum, want.M2
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("bucket differs (-want +got):\n%s", diff)
	}
}

func drawSamples(t *rapid.T) []sample {
	times := rapid.SliceOfNDistinct(rapid.Int64Range(0, 9999), 1, 40, rapid.ID[int64]).Draw(t, "times")
	samples := make([]sample, len(times))
	for i, at := range times {
		samples[i] = sample{1e12 + at, rapid.Float64Range(-1e6, 1e6).Draw(t, "value")}
	}
	return samples
}

func TestAnyOrderAndSplitMakesTheSameBucket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		samples := drawSamples(t)
		parts := make([]bucket.Bucket, rapid.IntRange(1, 5).Draw(t, "parts"))
		for _, s := range rapid.Permutation(samples).Draw(t, "order") {
			one := bucket.Of(s.Time, s.Value)
			parts[rapid.IntRange(0, len(parts)-1).Draw(t, "part")].Merge(series.Gauge, &one)
		}
		var whole bucket.Bucket
		for i := range parts {
			whole.Merge(series.Gauge, &parts[i])
		}
		near(t, whole, naive(series.Gauge, samples))
	})
}

func TestResetsAreExactForPartsThatFollowEachOther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		samples := drawSamples(t)
		for i := range samples {
			samples[i].Value = math.Abs(math.Round(samples[i].Value))
		}
		slices.SortFunc(samples, func(a, b sample) int { return int(a.Time - b.Time) })
		cut := rapid.IntRange(0, len(samples)).Draw(t, "cut")
		var early, late bucket.Bucket
		for i, s := range samples {
			one := bucket.Of(s.Time, s.Value)
			if i < cut {
				early.Merge(series.Counter, &one)
			} else {
				late.Merge(series.Counter, &one)
			}
		}
		want := naive(series.Counter, samples)
		forward, backward := early, late
		forward.Merge(series.Counter, &late)
		backward.Merge(series.Counter, &early)
		near(t, forward, want)
		near(t, backward, want)
	})
}

func of(samples ...sample) (b bucket.Bucket) {
	for _, s := range samples {
		one := bucket.Of(s.Time, s.Value)
		b.Merge(series.Gauge, &one)
	}
	return b
}

func TestSameMillisecond(t *testing.T) {
	three := of(sample{10, 1}, sample{20, 2}, sample{30, 3})
	for _, c := range []struct {
		name        string
		kind        series.Kind
		old, later  bucket.Bucket
		outcome     bucket.Outcome
		count       uint64
		first, last float64
	}{
		{"same value", series.Gauge, of(sample{10, 1}), of(sample{10, 1}), bucket.Duplicate, 1, 1, 1},
		{"same event", series.Event, of(sample{10, 1}), of(sample{10, 1}), bucket.Duplicate, 1, 1, 1},
		{"other value", series.Gauge, of(sample{10, 1}), of(sample{10, 7}), bucket.Replaced, 1, 7, 7},
		{"other event", series.Event, of(sample{10, 1}), of(sample{10, 7}), bucket.Merged, 2, 1, 7},
		{"first of many", series.Gauge, three, of(sample{10, 1}), bucket.Duplicate, 3, 1, 3},
		{"last of many", series.Gauge, three, of(sample{30, 3}), bucket.Duplicate, 3, 1, 3},
		{"one before many", series.Gauge, of(sample{30, 3}), three, bucket.Duplicate, 3, 1, 3},
		{"another time", series.Gauge, three, of(sample{25, 3}), bucket.Merged, 4, 1, 3},
		{"NaN", series.Gauge, of(sample{10, math.NaN()}), of(sample{10, math.NaN()}), bucket.Duplicate, 1, math.NaN(), math.NaN()},
		{"-0 is not 0", series.Gauge, of(sample{10, 0}), of(sample{10, math.Copysign(0, -1)}), bucket.Replaced, 1, 0, 0},
	} {
		b := c.old
		outcome := b.Merge(c.kind, &c.later)
		got := []any{outcome, b.Count, b.First, b.Last}
		want := []any{c.outcome, c.count, c.first, c.last}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b float64) bool { return a == b || a != a && b != b })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestMarkersAndNaN(t *testing.T) {
	marker := bucket.Of(1500, math.Float64frombits(bucket.StaleNaN))
	if marker.Count != 0 || marker.StaleTime != 1500 || marker.Start(1000) != 1000 {
		t.Errorf("marker: %+v", marker)
	}
	b := of(sample{1100, 4})
	b.Merge(series.Gauge, &marker)
	if b.Count != 1 || b.Sum != 4 || b.StaleTime != 1500 {
		t.Errorf("a marker must not count as a sample: %+v", b)
	}
	if outcome := b.Merge(series.Gauge, &marker); outcome != bucket.Duplicate {
		t.Errorf("second marker: outcome %v", outcome)
	}
	m := marker
	one := of(sample{1100, 4})
	m.Merge(series.Gauge, &one)
	if m != b {
		t.Errorf("order matters: %+v, %+v", m, b)
	}
	n := of(sample{1, math.NaN()}, sample{2, 5}, sample{3, -1})
	if n.Min != -1 || n.Max != 5 || !math.IsNaN(n.Sum) {
		t.Errorf("NaN poisons sum, not min and max: %+v", n)
	}
}

func TestDerived(t *testing.T) {
	b := of(sample{1, 2}, sample{2, 4}, sample{3, 4}, sample{4, 4}, sample{5, 5}, sample{6, 5}, sample{7, 7}, sample{8, 9})
	if b.Mean() != 5 || b.Deviation() != 2 || b.Increase() != 7 {
		t.Errorf("mean %v, deviation %v, increase %v; want 5, 2, 7", b.Mean(), b.Deviation(), b.Increase())
	}
	for _, c := range [][3]int64{{0, 10, 0}, {19, 10, 10}, {-1, 10, -10}, {-10, 10, -10}} {
		if got := bucket.Floor(c[0], c[1]); got != c[2] {
			t.Errorf("Floor(%d, %d) = %d, want %d", c[0], c[1], got, c[2])
		}
	}
}
