package store

import (
	"math"

	"carillon/bucket"
)

// summary is what the samples of a page come to. The index has it of every page, so
// that long ranges of one series need not be read (cursor.summed).
type summary struct {
	samples  uint64
	sum      float64
	min, max float64 // NaN if no sample is a number
}

func noSamples() summary { return summary{min: math.NaN(), max: math.NaN()} }

func (s *summary) addBuckets(buckets []bucket.Bucket) {
	for i := range buckets {
		b := &buckets[i]
		if b.Count == 0 {
			continue
		}
		s.samples += b.Count
		s.sum += b.Sum
		if b.Min < s.min || s.min != s.min {
			s.min = b.Min
		}
		if b.Max > s.max || s.max != s.max {
			s.max = b.Max
		}
	}
}

// addSamples is addBuckets for what bucket.Of makes of values.
func (s *summary) addSamples(values []float64) {
	sum, least, most := s.sum, s.min, s.max
	samples := len(values)
	for _, x := range values {
		if x != x && math.Float64bits(x) == bucket.StaleNaN {
			samples--
			continue
		}
		sum += x
		if x < least || least != least {
			least = x
		}
		if x > most || most != most {
			most = x
		}
	}
	s.samples += uint64(samples)
	s.sum, s.min, s.max = sum, least, most
}

// bits is a float as the index has it: which NaN arithmetic makes differs between
// processors.
func (s *summary) bits() [3]uint64 {
	var bits [3]uint64
	for i, x := range [...]float64{s.sum, s.min, s.max} {
		if x != x {
			x = math.NaN()
		}
		bits[i] = math.Float64bits(x)
	}
	return bits
}

// bucket is the samples as one bucket, of which no more is known than their count, sum,
// least and largest, and that they lie in a span of segments.
func (s *summary) bucket(first, last int64) bucket.Bucket {
	return bucket.Bucket{FirstTime: first, LastTime: last, Count: s.samples, Sum: s.sum, Min: s.min, Max: s.max}
}
