// Package bucket holds the unit of everything that Carillon stores: what one
// series did in one segment of time. The quantizer makes buckets from samples,
// the store keeps and merges them, queries read them. It is pure: no clock, no
// I/O, no state.
package bucket

import (
	"math"

	"carillon/series"
)

// StaleNaN is the NaN that Prometheus sends when a series has ended
// (prometheus/model/value). It is a marker, not a value.
const StaleNaN uint64 = 0x7ff0000000000002

// Bucket sums up the samples of one series in one segment [start,
// start+resolution). Times are milliseconds since the epoch.
//
// A bucket of one is the sample itself: Count is 1, the sample is (LastTime,
// Last), and every other column follows from it, exact to the bit. With a Count
// of 2 both samples are still there, as First and Last. Averages and deviations
// are derived, never stored, and a sum of squares is never kept: it cancels.
//
// The start of the segment is not a field: it is FirstTime rounded down to the
// resolution of the tier the bucket stands in. A bucket with Count 0 holds only
// a staleness marker.
type Bucket struct {
	FirstTime, LastTime int64   // exact times of the first and the last sample
	First, Last         float64 // their values
	Count               uint64  // samples
	Sum                 float64
	Min, Max            float64 // NaN samples are ignored unless there are no others
	M2                  float64 // sum of squared distances from the mean (Welford)
	// Resets is what a counter lost to resets inside the bucket: the sum of its
	// values just before each. The reset-corrected increase is Last-First+Resets;
	// kept this way it is zero nearly always and merges without rounding.
	Resets    float64
	StaleTime int64 // time of the newest staleness marker, 0 if none
}

// Of is the bucket of one sample, or of one staleness marker.
func Of(time int64, value float64) Bucket {
	if math.Float64bits(value) == StaleNaN {
		return Bucket{FirstTime: time, LastTime: time, StaleTime: time}
	}
	return Bucket{
		FirstTime: time, LastTime: time, First: value, Last: value,
		Count: 1, Sum: value, Min: value, Max: value,
	}
}

// Start is the start of the segment of the given resolution (milliseconds) in
// which the bucket lies.
func (b *Bucket) Start(resolution int64) int64 { return Floor(b.FirstTime, resolution) }

// Floor rounds a time down to a multiple of resolution; times before 1970 too.
func Floor(time, resolution int64) int64 {
	start := time - time%resolution
	if start > time {
		start -= resolution
	}
	return start
}

// Mean is the average of the samples, NaN without any.
func (b *Bucket) Mean() float64 { return b.Sum / float64(b.Count) }

// Deviation is the population standard deviation of the samples.
func (b *Bucket) Deviation() float64 { return math.Sqrt(b.M2 / float64(b.Count)) }

// Increase is how much a counter rose from the first sample to the last, resets
// corrected.
func (b *Bucket) Increase() float64 { return b.Last - b.First + b.Resets }

// Outcome says what a merge did with the later bucket.
type Outcome uint8

const (
	Merged    Outcome = iota // it was added
	Duplicate                // it was a sample already there: dropped
	Replaced                 // it was another value for the same millisecond: it won
)

// Merge adds to b what later holds, for the same series and any part of the same
// segment. The name later refers to the order in the journal, not to time:
// buckets may cover any times in any order, which makes late data, replicas and
// rollups one operation. Count, Min, Max, First and Last do not depend on the
// order; Sum and M2 do not but for rounding.
//
// A bucket of one is checked against the samples whose time and value b still
// knows, its first and its last: the same time and value is a duplicate; the same
// time with another value replaces a bucket of one, except for events, which
// always add. Resets is exact when the two do not overlap in time, or hold none;
// M2 is as in Chan, Golub and LeVeque, "Updating formulae", 1979.
func (b *Bucket) Merge(kind series.Kind, later *Bucket) Outcome {
	stale := max(b.StaleTime, later.StaleTime)
	switch {
	case b.Empty():
		*b = *later
		return Merged
	case later.Count == 0:
		return b.mergeMarker(later)
	case b.Count == 0:
		*b = *later
		b.StaleTime = stale
		return Merged
	}
	outcome := b.same(kind, later)
	switch {
	case outcome == Duplicate && later.Count == 1:
	case outcome != Merged:
		*b = *later
	default:
		b.add(kind, later)
	}
	b.StaleTime = stale
	return outcome
}

// Empty tells that the bucket holds neither a sample nor a marker.
func (b *Bucket) Empty() bool { return b.Count == 0 && b.StaleTime == 0 }

func (b *Bucket) mergeMarker(later *Bucket) Outcome {
	outcome := Merged
	if b.StaleTime == later.StaleTime {
		outcome = Duplicate
	}
	if b.Count == 0 {
		b.FirstTime = min(b.FirstTime, later.FirstTime)
		b.LastTime = max(b.LastTime, later.LastTime)
	}
	b.StaleTime = max(b.StaleTime, later.StaleTime)
	return outcome
}

// same finds out whether one of the two is a single sample that the other one
// already holds (Duplicate), or supersedes (Replaced).
func (b *Bucket) same(kind series.Kind, later *Bucket) Outcome {
	one, other := later, b
	if later.Count != 1 {
		one, other = b, later
	}
	if one.Count != 1 {
		return Merged
	}
	atLast := one.LastTime == other.LastTime
	atFirst := one.LastTime == other.FirstTime
	switch {
	case atLast && sameBits(one.Last, other.Last), atFirst && sameBits(one.Last, other.First):
		return Duplicate
	case atLast && other.Count == 1 && kind != series.Event:
		return Replaced
	}
	return Merged
}

func sameBits(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) }

func (b *Bucket) add(kind series.Kind, later *Bucket) {
	if kind == series.Counter {
		b.Resets = resets(b, later)
	}
	n, m := float64(b.Count), float64(later.Count)
	delta := later.Sum/m - b.Sum/n
	b.M2 += later.M2 + delta*delta*n*m/(n+m)
	b.Count += later.Count
	b.Sum += later.Sum
	if later.Min < b.Min || math.IsNaN(b.Min) {
		b.Min = later.Min
	}
	if later.Max > b.Max || math.IsNaN(b.Max) {
		b.Max = later.Max
	}
	if later.FirstTime < b.FirstTime {
		b.FirstTime, b.First = later.FirstTime, later.First
	}
	if later.LastTime >= b.LastTime {
		b.LastTime, b.Last = later.LastTime, later.Last
	}
}

// resets is Resets of the union of a and b.
func resets(a, b *Bucket) float64 {
	if b.LastTime < a.FirstTime {
		a, b = b, a
	}
	if b.FirstTime < a.LastTime { // interleaved: the larger is the better guess
		return max(a.Resets, b.Resets)
	}
	sum := a.Resets + b.Resets
	if b.First < a.Last {
		sum += a.Last
	}
	return sum
}
