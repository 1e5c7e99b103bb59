package query

import (
	"sort"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/annotations"

	"carillon/bucket"
)

// milliseconds is what the engine seeks by. The alias tells go vet that Seek is not
// meant to be io.Seeker's.
type milliseconds = int64

// sampled is a series whose samples are in memory.
type sampled struct {
	labels  labels.Labels
	samples []sample
}

func (s *sampled) Labels() labels.Labels { return s.labels }

func (s *sampled) Iterator(reuse chunkenc.Iterator) chunkenc.Iterator {
	it, ok := reuse.(*sampleIterator)
	if !ok {
		it = &sampleIterator{}
	}
	*it = sampleIterator{samples: s.samples, at: -1}
	return it
}

// sampleIterator walks over samples; at is the index of the current one.
type sampleIterator struct {
	floatsOnly
	samples []sample
	at      int
}

func (it *sampleIterator) Next() chunkenc.ValueType {
	if it.at < len(it.samples) {
		it.at++
	}
	return it.here()
}

func (it *sampleIterator) Seek(time milliseconds) chunkenc.ValueType {
	it.at = max(it.at, 0)
	if it.at < len(it.samples) && it.samples[it.at].T < time {
		rest := it.samples[it.at:]
		it.at += sort.Search(len(rest), func(i int) bool { return rest[i].T >= time })
	}
	return it.here()
}

func (it *sampleIterator) here() chunkenc.ValueType {
	if it.at < len(it.samples) {
		return chunkenc.ValFloat
	}
	return chunkenc.ValNone
}

func (it *sampleIterator) At() (int64, float64) {
	s := it.samples[it.at]
	return s.T, s.F
}

func (it *sampleIterator) AtT() int64 { return it.samples[it.at].T }

// scattered is a series in the spread column: it keeps buckets, and makes their
// samples only when it is walked over.
type scattered struct {
	labels  labels.Labels
	buckets []segment
	scale   uint64
}

// segment is a bucket with the resolution of its tier, milliseconds.
type segment struct {
	bucket.Bucket
	resolution int64
}

const segmentBytes = 96

func (s *scattered) Labels() labels.Labels { return s.labels }

func (s *scattered) Iterator(reuse chunkenc.Iterator) chunkenc.Iterator {
	it, ok := reuse.(*scatterIterator)
	if !ok {
		it = &scatterIterator{}
	}
	*it = scatterIterator{
		buckets:        s.buckets,
		scale:          s.scale,
		sampleIterator: sampleIterator{samples: it.samples[:0]},
	}
	return it
}

// scatterIterator walks over the samples of one bucket after the other. The
// samples of the current one are in the embedded iterator, whose memory is used
// again for the next.
type scatterIterator struct {
	sampleIterator
	buckets []segment // those still to come
	scale   uint64
}

func (it *scatterIterator) Next() chunkenc.ValueType {
	if it.sampleIterator.Next() == chunkenc.ValFloat {
		return chunkenc.ValFloat
	}
	return it.open(0)
}

func (it *scatterIterator) Seek(time milliseconds) chunkenc.ValueType {
	if it.sampleIterator.Seek(time) == chunkenc.ValFloat {
		return chunkenc.ValFloat
	}
	ends := func(i int) bool { return it.buckets[i].Start(it.buckets[i].resolution)+it.buckets[i].resolution > time }
	for it.open(sort.Search(len(it.buckets), ends)) == chunkenc.ValFloat {
		if it.sampleIterator.Seek(time) == chunkenc.ValFloat {
			return chunkenc.ValFloat
		}
	}
	return chunkenc.ValNone
}

// open makes the samples of the i-th bucket to come, and skips those before.
func (it *scatterIterator) open(i int) chunkenc.ValueType {
	it.at, it.samples = 0, it.samples[:0]
	if i >= len(it.buckets) {
		it.buckets = nil
		return chunkenc.ValNone
	}
	b := &it.buckets[i]
	it.buckets = it.buckets[i+1:]
	if it.scale == 1 && whole(&b.Bucket) {
		it.samples = appendWhole(it.samples, &b.Bucket, spread)
	} else {
		it.samples = scatter(it.samples, &b.Bucket, it.scale, b.resolution)
	}
	return chunkenc.ValFloat
}

// floatsOnly is the rest of chunkenc.Iterator for series without native
// histograms and start timestamps.
type floatsOnly struct{}

func (floatsOnly) AtHistogram(*histogram.Histogram) (int64, *histogram.Histogram) {
	panic("query: asked for a histogram where there are only floats")
}

func (floatsOnly) AtFloatHistogram(*histogram.FloatHistogram) (int64, *histogram.FloatHistogram) {
	panic("query: asked for a histogram where there are only floats")
}

func (floatsOnly) AtST() int64 { return 0 }
func (floatsOnly) Err() error  { return nil }

// listSet is a storage.SeriesSet of series that are all there.
type listSet struct {
	storage.SeriesSet // an empty one: it has the methods that never differ
	series            []storage.Series
	notes             annotations.Annotations
	next              int
}

func newListSet(series []storage.Series, notes annotations.Annotations) *listSet {
	return &listSet{SeriesSet: storage.EmptySeriesSet(), series: series, notes: notes}
}

func (s *listSet) Warnings() annotations.Annotations { return s.notes }

func (s *listSet) Next() bool {
	s.next++
	return s.next <= len(s.series)
}

func (s *listSet) At() storage.Series { return s.series[s.next-1] }
