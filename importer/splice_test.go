package importer

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"carillon/bucket"
)

// TestSplice makes levels of the same samples, each as far back as it goes, and finds every
// sample in what they are put together to exactly once.
func TestSplice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const end = 100_000
		var times []int64
		for range rapid.IntRange(0, 60).Draw(t, "samples") {
			times = append(times, rapid.Int64Range(0, end-1).Draw(t, "time"))
		}
		slices.Sort(times)
		var levels []Level
		oldest := int64(end)
		for _, resolution := range []int64{10, 50, 500, 5000} {
			slots := rapid.Int64Range(1, end/resolution).Draw(t, "slots")
			l := Level{Resolution: resolution, Since: end - slots*resolution}
			l.Since -= l.Since % resolution
			if rapid.IntRange(0, 4).Draw(t, "empty") == 0 {
				continue
			}
			for _, at := range times {
				switch start := bucket.Floor(at, resolution); {
				case start < l.Since:
				case len(l.Buckets) > 0 && l.Buckets[len(l.Buckets)-1].FirstTime == start:
					l.Buckets[len(l.Buckets)-1].Count++
				default:
					l.Buckets = append(l.Buckets, bucket.Bucket{FirstTime: start, LastTime: start, Count: 1, Sum: float64(resolution)})
				}
			}
			if len(l.Buckets) > 0 {
				oldest = min(oldest, l.Since)
			}
			levels = append(levels, l)
		}
		want := uint64(0)
		for _, at := range times {
			if at >= oldest {
				want++
			}
		}
		all := Splice(slices.Clone(levels))
		have := uint64(0)
		for i, b := range all {
			have += b.Count
			if i > 0 && b.FirstTime <= all[i-1].FirstTime {
				t.Fatalf("%d comes after %d", b.FirstTime, all[i-1].FirstTime)
			}
		}
		for _, b := range all {
			for _, l := range levels {
				if float64(l.Resolution) < b.Sum && len(l.Buckets) > 0 && l.Since <= b.FirstTime {
					t.Fatalf("%d is of %v, and %d has all of it", b.FirstTime, b.Sum, l.Resolution)
				}
			}
		}
		if have != want {
			t.Fatalf("%d of %d samples", have, want)
		}
	})
}

func TestKeep(t *testing.T) {
	l := Level{Resolution: 10}
	for at := int64(0); at < 100; at += 10 {
		l.Buckets = append(l.Buckets, bucket.Of(at, 1))
	}
	if unfinished := l.Keep(Span{20, 65}, 65); unfinished != 1 {
		t.Errorf("%d unfinished", unfinished)
	}
	var have []int64
	for _, b := range l.Buckets {
		have = append(have, b.FirstTime)
	}
	if want := []int64{20, 30, 40, 50, 70, 80, 90}; !slices.Equal(have, want) {
		t.Errorf("have %v, want %v", have, want)
	}
}
