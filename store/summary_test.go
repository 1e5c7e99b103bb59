package store

import (
	"fmt"
	"math"
	"testing"

	"carillon/bucket"
)

// totals is what buckets come to, but for when.
func totals(buckets []bucket.Bucket) summary {
	s := noSamples()
	s.addBuckets(buckets)
	return s
}

// sumsDiffer compares ReadSums with the buckets that Read has of the same.
func sumsDiffer(view *View, number uint32, tier int, from, to int64, buckets []bucket.Bucket) error {
	sums, err := view.ReadSums(number, tier, from, to, nil)
	if err != nil {
		return err
	}
	got, want := totals(sums), totals(buckets)
	sumOff := math.Abs(got.sum-want.sum) > 1e-9*math.Abs(want.sum)
	got.sum = want.sum
	if sumOff || got.samples != want.samples || got.bits() != want.bits() {
		return fmt.Errorf("series %d, tier %d in [%d, %d]: %+v as sums, %+v as buckets", number, tier, from, to, got, want)
	}
	return nil
}

// TestReadSums: what covers pages of one series comes from the index, unless anything is
// laid over it or deleted from it.
func TestReadSums(t *testing.T) {
	tiers := testTiers(t, "10s:10d,1m:100d")
	s, err := newStore(testConfig(newMemFS(), tiers))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stop(s) }()
	const points, start = windowSegments, 100 * day
	state := uint64(1)
	for number := range uint32(2) {
		for i := range int64(points) {
			state = state*6364136223846793005 + 1442695040888963407
			s.AddSamples([]uint32{number}, []int64{start + i*10*second + 7}, []float64{float64(state>>44) / 1000})
		}
	}
	sealed := uint64(0)
	seal := func(now int64) {
		sealed++
		if err := s.Seal(now, sealed, none); err != nil {
			t.Fatal(err)
		}
		drive(s)
	}
	seal(start + day + hour)
	// check reads all that is asked for, and expects fewer rows than most.
	check := func(when string, number uint32, tier int, from, to int64, most int) {
		t.Helper()
		view := s.View([]uint32{number}, nil)
		defer view.Close()
		buckets, err := view.Read(number, tier, from, to, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := sumsDiffer(view, number, tier, from, to, buckets); err != nil {
			t.Errorf("%s: %v", when, err)
		}
		sums, err := view.ReadSums(number, tier, from, to, nil)
		if err != nil || len(sums) > most || most == len(buckets) && len(sums) != most {
			t.Errorf("%s: %d buckets for %d, want %d at most; %v", when, len(sums), len(buckets), most, err)
		}
	}
	all := func(when string, number uint32, most int) {
		t.Helper()
		check(when, number, 0, math.MinInt64, math.MaxInt64, most)
	}
	const pages = 3 // a series, a strip each
	all("whole", 0, pages)
	check("whole, a coarser tier", 1, 1, math.MinInt64, math.MaxInt64, 1440/2)
	for _, cut := range []int64{1, 5 * second, 10 * second, hour, 13 * hour} {
		check("without a beginning", 1, 0, start+cut, math.MaxInt64, points/2)
		check("without an end", 1, 0, math.MinInt64, start+day-cut, points/2)
		check("without both", 1, 1, start+cut, start+day-cut, 1440)
	}
	check("an hour", 0, 0, start, start+hour-1, 360)

	late := bucket.Of(start+12*hour, 1e9)
	s.Add(0, &late)
	all("late, in memory", 0, points/2)
	all("of another series", 1, pages)
	seal(start + day + hour)
	all("late, in a file", 0, points/2)

	if err := s.worker.delete(Deletion{Numbers: []uint32{1}, From: start + 6*hour, To: start + 6*hour + 30*second}); err != nil {
		t.Fatal(err)
	}
	all("deleted", 1, points-3)
}

// TestSummaryIsThatOfBuckets: columns and buckets come to the same, whatever is in them.
func TestSummaryIsThatOfBuckets(t *testing.T) {
	stale := math.Float64frombits(bucket.StaleNaN)
	for _, values := range [][]float64{
		{}, {stale}, {1}, {math.NaN()}, {math.NaN(), 2, stale, -3}, {0, math.Copysign(0, -1)},
		{math.Inf(1), math.Inf(-1)}, {0.1, 0.2, 0.3},
	} {
		columns, buckets := noSamples(), noSamples()
		columns.addSamples(values)
		for _, x := range values {
			buckets.addBuckets([]bucket.Bucket{bucket.Of(5, x)})
		}
		if columns.samples != buckets.samples || columns.bits() != buckets.bits() {
			t.Errorf("%v: %+v as samples, %+v as buckets", values, columns, buckets)
		}
	}
}
