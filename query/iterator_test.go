package query

import (
	"slices"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"pgregory.net/rapid"

	"carillon/bucket"
	"carillon/series"
)

func drawBucket(t *rapid.T, start, resolution int64, kind series.Kind) bucket.Bucket {
	b := bucket.Of(start+rapid.Int64Range(0, resolution-1).Draw(t, "time"), float64(rapid.IntRange(0, 9).Draw(t, "value")))
	for range rapid.IntRange(0, 12).Draw(t, "more") {
		one := bucket.Of(start+rapid.Int64Range(0, resolution-1).Draw(t, "time"), float64(rapid.IntRange(0, 9).Draw(t, "value")))
		b.Merge(kind, &one)
	}
	if rapid.Bool().Draw(t, "stale") {
		b.StaleTime = start + rapid.Int64Range(0, resolution-1).Draw(t, "time")
	}
	return b
}

// TestIterators: in each column, times only rise and stay in their segment, and
// seeking finds what walking finds.
func TestIterators(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const resolution = 1000
		kind := rapid.SampledFrom([]series.Kind{series.Gauge, series.Counter, series.Event}).Draw(t, "kind")
		c := rapid.SampledFrom([]column{edges, rises, sums, counts, minima, maxima, means, spread}).Draw(t, "column")
		r := reader{kind: kind, column: c}
		var buckets []bucket.Bucket
		for i := range rapid.Int64Range(1, 8).Draw(t, "buckets") {
			if rapid.Bool().Draw(t, "there") {
				buckets = append(buckets, drawBucket(t, i*resolution, resolution, kind))
			}
		}
		r.add(buckets, resolution)
		s := r.series(labels.EmptyLabels())
		all := walkAll(t, s)
		for i, sample := range all {
			if i > 0 && sample.T <= all[i-1].T {
				t.Fatalf("times do not rise: %v", all)
			}
		}
		var it chunkenc.Iterator
		for range 3 { // the iterator is used again
			it = s.Iterator(it)
			from := 0
			for range 5 {
				target := rapid.Int64Range(-1, 9*resolution).Draw(t, "seek")
				want := from + slices.IndexFunc(all[from:], func(s sample) bool { return s.T >= target })
				if want < from { // nothing so late
					if it.Seek(target) != chunkenc.ValNone || it.Next() != chunkenc.ValNone {
						t.Fatalf("seek %d past the end found something in %v", target, all)
					}
					break
				}
				if it.Seek(target) != chunkenc.ValFloat || it.AtT() != all[want].T {
					t.Fatalf("seek %d from %d in %v: at %d", target, from, all, it.AtT())
				}
				from = want
			}
		}
	})
}

func walkAll(t *rapid.T, s storage.Series) []sample {
	var all []sample
	it := s.Iterator(nil)
	for it.Next() == chunkenc.ValFloat {
		time, value := it.At()
		all = append(all, sample{T: time, F: value})
	}
	if it.Next() != chunkenc.ValNone || it.Err() != nil {
		t.Fatal("the end is not the end")
	}
	return all
}

// TestRises: the engine's reset correction over the samples of a bucket finds the
// increase that the bucket recorded, whenever there are milliseconds enough.
func TestRises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b bucket.Bucket
		time, value := int64(0), 0.0
		for range rapid.IntRange(3, 20).Draw(t, "samples") {
			time += rapid.Int64Range(3, 100).Draw(t, "gap")
			if value += float64(rapid.IntRange(0, 50).Draw(t, "rise")); rapid.IntRange(0, 4).Draw(t, "reset") == 0 {
				value = float64(rapid.IntRange(0, 5).Draw(t, "low"))
			}
			one := bucket.Of(time, value)
			b.Merge(series.Counter, &one)
		}
		samples := appendSamples(nil, &b, rises, series.Counter, 1<<20)
		increase := samples[len(samples)-1].F - samples[0].F
		for i := 1; i < len(samples); i++ {
			if samples[i].F < samples[i-1].F {
				increase += samples[i-1].F
			}
		}
		if increase != b.Increase() {
			t.Fatalf("increase %v of %v, want %v of %+v", increase, samples, b.Increase(), b)
		}
	})
}
