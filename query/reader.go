package query

import (
	"math"
	"slices"
	"sort"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"carillon/bucket"
	"carillon/series"
)

// within is the buckets whose segments a stretch has. Buckets are sorted by time.
func (s stretch) within(buckets []bucket.Bucket, resolution int64) []bucket.Bucket {
	from, to := s.bounds(len(buckets), func(i int) int64 { return buckets[i].Start(resolution) })
	return buckets[from:to]
}

// bounds is the part of n segments, in order, that a stretch has.
func (s stretch) bounds(n int, start func(i int) int64) (from, to int) {
	from = sort.Search(n, func(i int) bool { return start(i) >= s.from })
	return from, from + sort.Search(n-from, func(i int) bool { return start(from+i) >= s.to })
}

// reader collects what one series shows in one column, oldest first.
type reader struct {
	id     series.ID
	kind   series.Kind
	column column
	window bool // staleness markers are left out
	mean   bool // of sums: weights are needed

	samples []sample
	weights []sample // by how many each of samples counts; nil while all are 1
	total   float64  // of events so far
	slid    bool     // samples are what came out of the window

	segments []segment // in the spread column, instead of samples
	scale    uint64
}

// add takes buckets of one tier, later than all before, and returns how many
// bytes it keeps of them.
func (r *reader) add(buckets []bucket.Bucket, resolution int64) int64 {
	if r.column == spread {
		return r.addSegments(buckets, resolution)
	}
	before := len(r.samples)
	r.samples = slices.Grow(r.samples, len(buckets))
	for _, b := range buckets {
		if r.kind == series.Event && r.column == rises {
			r.total += b.Sum
			b.Sum = r.total
		}
		if r.window {
			b.StaleTime = 0
		}
		if r.mean {
			r.weigh(&b, resolution)
		}
		r.samples = appendSamples(r.samples, &b, r.column, r.kind, resolution)
	}
	return int64(len(r.samples)-before) * sampleBytes
}

// weigh appends the weights of the samples that stand for a bucket.
func (r *reader) weigh(b *bucket.Bucket, resolution int64) {
	if r.weights == nil && (b.Count == 0 || whole(b)) {
		return
	}
	r.weightsOfOne()
	r.weights = appendSamples(r.weights, b, counts, r.kind, resolution)
}

// weightsOfOne is the weights of the samples that have none yet.
func (r *reader) weightsOfOne() {
	for _, s := range r.samples[len(r.weights):] {
		r.weights = append(r.weights, sample{T: s.T, F: 1})
	}
}

// addSamples is add for what is nothing but samples, and not in the spread column.
func (r *reader) addSamples(times []int64, values []float64, resolution int64) int64 {
	before := len(r.samples)
	r.samples = slices.Grow(r.samples, len(times))
	for i, value := range values {
		stale := math.Float64bits(value) == bucket.StaleNaN
		switch {
		case stale && r.window:
			continue
		case stale:
		case r.column == counts:
			value = 1
		case r.kind == series.Event && r.column == edges:
			value /= float64(resolution) / 1000
		case r.kind == series.Event && r.column == rises:
			r.total += value
			value = r.total
		}
		r.samples = append(r.samples, sample{T: times[i], F: value})
	}
	if r.weights != nil {
		r.weightsOfOne()
	}
	return int64(len(r.samples)-before) * sampleBytes
}

func (r *reader) addSegments(buckets []bucket.Bucket, resolution int64) int64 {
	before := len(r.segments)
	for _, b := range buckets {
		if b.Count == 0 {
			continue // only a staleness marker, which range functions do not see
		}
		r.segments = append(r.segments, segment{b, resolution})
		r.scale = max(r.scale, scatterScale(b.Count, resolution))
	}
	return int64(len(r.segments)-before) * segmentBytes
}

func (r *reader) empty() bool { return len(r.samples) == 0 && len(r.segments) == 0 }

func (r *reader) series(set labels.Labels) storage.Series {
	if r.column == spread {
		return &scattered{labels: set, buckets: r.segments, scale: r.scale}
	}
	return &sampled{labels: set, samples: r.samples}
}
