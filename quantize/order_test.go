package quantize_test

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"carillon/bucket"
	"carillon/quantize"
	"carillon/series"
)

type point struct {
	number uint32
	time   int64
	value  float64
}

// TestAnyOrderMakesTheSameBuckets sends the same points in any order, with seals
// and advances anywhere between, and compares with buckets made at once.
func TestAnyOrderMakesTheSameBuckets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const numSeries = 3
		type place struct {
			number  uint32
			segment int64
		}
		at := rapid.SliceOfNDistinct(rapid.Int64Range(0, 89_999), 1, 60, rapid.ID[int64]).Draw(t, "times")
		points := make([]point, len(at))
		inOrder := map[place][]point{}
		newest := map[uint32]int64{}
		slices.Sort(at)
		for i := range at {
			points[i] = point{
				number: uint32(rapid.IntRange(0, numSeries-1).Draw(t, "series")),
				time:   1e12 + at[i],
				value:  rapid.Float64Range(-1e6, 1e6).Draw(t, "value"),
			}
			p := place{points[i].number, bucket.Floor(points[i].time, config.Resolution)}
			inOrder[p] = append(inOrder[p], points[i])
			newest[p.number] = p.segment
		}

		stored := map[place]*bucket.Bucket{}
		keep := func(number uint32, b bucket.Bucket) bool {
			p := place{number, b.Start(config.Resolution)}
			if stored[p] == nil {
				stored[p] = &bucket.Bucket{}
			}
			stored[p].Merge(series.Gauge, &b)
			return true
		}
		published := map[place]int{}
		q := quantize.New(config)
		for range numSeries {
			q.Define(series.Gauge)
		}
		var out quantize.Output
		drain := func() {
			for number, b := range out.Kept.All() {
				keep(number, b)
			}
			for number, b := range out.Completed.All() {
				published[place{number, b.Start(config.Resolution)}]++
			}
			out.Reset()
		}
		now := int64(1e12 + 89_999)
		for _, p := range rapid.Permutation(points).Draw(t, "order") {
			add(q, now, p.number, p.time, p.value, &out)
			switch rapid.IntRange(0, 9).Draw(t, "then") {
			case 0:
				q.Seal(keep)
			case 1:
				q.Advance(now, &out)
			case 2:
				drain()
			}
		}
		drain() // before the seal: the journal's order
		q.Seal(keep)
		q.Advance(now+config.MaxDelay+config.Resolution, &out)
		drain()

		if c := q.Counts().Verdicts; c[quantize.OnTime]+c[quantize.Late] != uint64(len(points)) {
			t.Fatalf("verdicts %v on %d points", c, len(points))
		}
		if len(stored) != len(inOrder) {
			t.Fatalf("%d segments, want %d", len(stored), len(inOrder))
		}
		for p, samples := range inOrder {
			compare(t, *stored[p], samples)
			// A segment all of whose points came after a later one began is old
			// news; the newest one is always told of, and none twice.
			if n := published[p]; n > 1 || n == 0 && p.segment == newest[p.number] {
				t.Fatalf("segment %v was published %d times", p, n)
			}
		}
	})
}

func compare(t *rapid.T, got bucket.Bucket, samples []point) {
	want := bucket.Bucket{Count: uint64(len(samples)), Min: math.Inf(1), Max: math.Inf(-1)}
	for _, s := range samples {
		want.Sum += s.value
		want.Min, want.Max = min(want.Min, s.value), max(want.Max, s.value)
	}
	for _, s := range samples {
		d := s.value - want.Sum/float64(want.Count)
		want.M2 += d * d
	}
	first, last := samples[0], samples[len(samples)-1]
	exact := got.Count == want.Count && got.Min == want.Min && got.Max == want.Max &&
		got.FirstTime == first.time && got.First == first.value && got.LastTime == last.time && got.Last == last.value
	if !exact {
		t.Fatalf("got %+v from %+v", got, samples)
	}
	scale := max(math.Abs(want.Min), math.Abs(want.Max))
	n := float64(want.Count)
	if math.Abs(got.Sum-want.Sum) > 1e-12*scale*n || math.Abs(got.M2-want.M2) > 1e-9*scale*scale*n {
		t.Fatalf("sum %v m2 %v, want %v and %v", got.Sum, got.M2, want.Sum, want.M2)
	}
}
