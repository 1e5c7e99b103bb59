package query

import (
	"fmt"
	"math"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"

	"carillon/bucket"
	"carillon/series"
)

// sample is one value at one time (milliseconds) as the engine reads it.
type sample = promql.FPoint

const sampleBytes = 16

// column is the side from which a bucket of many samples is shown to PromQL.
// A bucket that still holds each of its samples shows those, whatever the column.
type column uint8

const (
	// edges is the first and the last sample. It serves plain selections and
	// every function that has no better column.
	edges column = iota
	// rises is for rate, increase and resets: the edges, and for a counter that
	// was reset between them, samples that make the engine find exactly the
	// increase that the bucket recorded. Of events it is their running total.
	rises
	// sums, counts, minima, maxima and means are one sample at the time of the
	// last one.
	sums
	counts
	minima
	maxima
	means
	// spread is as many samples as there were, with the same mean and the same
	// sum of squared distances from it, see scatter.
	spread
)

// columnLabel is the label by which a selector asks for a column. The querier
// takes the matcher out, so series never have this label. Users may write it too.
const columnLabel = "__column__"

// columnNames are the values of columnLabel, indexed by column.
var columnNames = [...]string{
	edges: "edges", rises: "rises", sums: "sum", counts: "count",
	minima: "min", maxima: "max", means: "avg", spread: "spread",
}

func (c column) String() string { return columnNames[c] }

func (c column) matcher() *labels.Matcher {
	return &labels.Matcher{Type: labels.MatchEqual, Name: columnLabel, Value: c.String()}
}

// cutColumn takes the matcher of a column out of matchers, which it leaves as
// they are. Without one the column is edges.
func cutColumn(matchers []*labels.Matcher) (column, []*labels.Matcher, error) {
	chosen := edges
	rest := make([]*labels.Matcher, 0, len(matchers))
	for _, m := range matchers {
		if m.Name != columnLabel {
			rest = append(rest, m)
			continue
		}
		c, ok := parseColumn(m.Value)
		if !ok || m.Type != labels.MatchEqual {
			return 0, nil, fmt.Errorf("no column %s: want %s=\"…\" with one of %s", m, columnLabel, strings.Join(columnNames[:], ", "))
		}
		chosen = c
	}
	return chosen, rest, nil
}

func parseColumn(name string) (column, bool) {
	for c, n := range columnNames {
		if n == name {
			return column(c), true
		}
	}
	return 0, false
}

// appendSamples appends what the column shows of a bucket (of a tier with the
// given resolution, milliseconds), in order of time and no time twice. Spread is
// not among its columns, it has an iterator of its own.
func appendSamples(dst []sample, b *bucket.Bucket, c column, kind series.Kind, resolution int64) []sample {
	before := len(dst)
	switch {
	case b.Count == 0:
	case kind == series.Event && c == edges:
		seconds := float64(resolution) / 1000
		dst = append(dst, sample{T: b.LastTime, F: b.Sum / seconds})
	case kind == series.Event && c == rises:
		dst = append(dst, sample{T: b.LastTime, F: b.Sum}) // the reader made it the total so far
	case whole(b):
		dst = appendWhole(dst, b, c)
	default:
		dst = appendSummary(dst, b, c, kind)
	}
	return insertStale(dst, before, b.StaleTime)
}

// whole tells that the bucket still holds each of its samples. Two that were
// aggregated before they came, or that share a millisecond, it does not.
func whole(b *bucket.Bucket) bool {
	if b.Count != 2 || b.FirstTime == b.LastTime {
		return b.Count == 1
	}
	sum := b.First + b.Last
	return sum == b.Sum || math.IsNaN(sum) && math.IsNaN(b.Sum)
}

func appendWhole(dst []sample, b *bucket.Bucket, c column) []sample {
	first, last := b.First, b.Last
	if c == counts {
		first, last = 1, 1
	}
	if b.Count == 2 {
		dst = append(dst, sample{T: b.FirstTime, F: first})
	}
	return append(dst, sample{T: b.LastTime, F: last})
}

func appendSummary(dst []sample, b *bucket.Bucket, c column, kind series.Kind) []sample {
	switch c {
	case sums:
		return append(dst, sample{T: b.LastTime, F: b.Sum})
	case counts:
		return append(dst, sample{T: b.LastTime, F: float64(b.Count)})
	case minima:
		return append(dst, sample{T: b.LastTime, F: b.Min})
	case maxima:
		return append(dst, sample{T: b.LastTime, F: b.Max})
	case means:
		return append(dst, sample{T: b.LastTime, F: b.Mean()})
	}
	if b.FirstTime < b.LastTime {
		dst = append(dst, sample{T: b.FirstTime, F: b.First})
	}
	if c == rises && kind == series.Counter {
		dst = appendResets(dst, b)
	}
	return append(dst, sample{T: b.LastTime, F: b.Last})
}

// appendResets appends what stands between the edges of a counter that was
// reset. The engine adds a value to the increase wherever the next one is lower;
// so a peak of b.Resets followed by something lower yields Last-First+Resets. If
// the last value is not lower itself, a zero goes between. Where the milliseconds
// for this are missing, or the peak would be lower than the first value (only
// overlapping buckets are that inexact), the edges must do.
func appendResets(dst []sample, b *bucket.Bucket) []sample {
	if !(b.Resets > 0) || b.Resets < b.First {
		return dst
	}
	between := b.LastTime - b.FirstTime - 1
	middle := b.FirstTime + (b.LastTime-b.FirstTime)/2
	switch {
	case b.Last < b.Resets && between >= 1:
		return append(dst, sample{T: middle, F: b.Resets})
	case between >= 2 && b.Last >= 0:
		return append(dst, sample{T: middle, F: b.Resets}, sample{T: middle + 1, F: 0})
	}
	return dst
}

// insertStale puts a staleness marker among dst[from:], unless a sample has its
// time.
func insertStale(dst []sample, from int, time int64) []sample {
	if time == 0 {
		return dst
	}
	at := len(dst)
	for at > from && dst[at-1].T >= time {
		at--
	}
	if at < len(dst) && dst[at].T == time {
		return dst
	}
	dst = append(dst, sample{})
	copy(dst[at+1:], dst[at:])
	dst[at] = sample{T: time, F: math.Float64frombits(bucket.StaleNaN)}
	return dst
}

// maxScatter bounds the samples that stand for one bucket in the spread column,
// so that a bucket said to hold a billion does not become a billion samples.
const maxScatter = 4096

// scatterScale is by how much the counts of a series' buckets must be divided so
// that none becomes more than maxScatter samples or more than its segment has
// milliseconds. Up to there, 1, the spread column is exact.
func scatterScale(count uint64, resolution int64) uint64 {
	most := uint64(min(maxScatter, resolution))
	return (count + most - 1) / most
}

// scatter appends about b.Count/scale samples with the mean and the variance of
// the bucket: pairs at equal distances above and below the mean, and one at the
// mean if their number is odd. Their times are distinct and lie between those of
// the first and the last sample, or if that is too narrow, inside the segment.
func scatter(dst []sample, b *bucket.Bucket, scale uint64, resolution int64) []sample {
	n := int64((b.Count + scale/2) / scale)
	if n <= 1 {
		return append(dst, sample{T: b.LastTime, F: b.Mean()})
	}
	from, to := b.FirstTime, b.LastTime
	if to-from < n-1 {
		from = max(b.Start(resolution), to-(n-1))
		to = max(to, from+n-1)
	}
	mean, pairs := b.Mean(), n/2
	distance := math.Sqrt(b.M2 / float64(b.Count) * float64(n) / float64(2*pairs))
	for i := range n {
		value := mean + distance
		if i%2 == 1 {
			value = mean - distance
		}
		if i == 2*pairs {
			value = mean
		}
		dst = append(dst, sample{T: from + (to-from)*i/(n-1), F: value})
	}
	return dst
}
