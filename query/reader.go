package query

import (
	"slices"
	"sort"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"carillon/bucket"
	"carillon/series"
)

// within is the buckets whose segments a stretch has. Buckets are sorted by time.
func (s stretch) within(buckets []bucket.Bucket, resolution int64) []bucket.Bucket {
	starts := func(time int64) int {
		return sort.Search(len(buckets), func(i int) bool { return buckets[i].Start(resolution) >= time })
	}
	return buckets[starts(s.from):starts(s.to)]
}

// reader collects what one series shows in one column, oldest first.
type reader struct {
	id     series.ID
	kind   series.Kind
	column column

	samples []sample
	total   float64 // of events so far

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
		r.samples = appendSamples(r.samples, &b, r.column, r.kind, resolution)
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
