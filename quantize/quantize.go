// Package quantize aligns points to the beat: points of any series in any order
// come in, buckets of one segment each come out, together with the news of which
// segments are complete. One goroutine, the loop of a partition, owns a
// Quantizer and feeds it in journal order. It is pure: time is an argument,
// results are returned, there is no clock, no I/O and no lock.
package quantize

import (
	"iter"
	"math"

	"carillon/bucket"
	"carillon/series"
	"carillon/slab"
)

// Config holds the limits of one quantizer; all are milliseconds.
type Config struct {
	Resolution      int64 // length of a segment
	FinestRetention int64 // points older than this are counted as Older
	Retention       int64 // points older than this, which no tier covers, are refused
	FutureTolerance int64 // points further ahead than this are refused
	MinDelay        int64 // a segment is complete no sooner than this after its end,
	MaxDelay        int64 // and no later than this

	// MaxPoints is how many points a series may bring in one segment; 0 is any number.
	// It is asked once a series, when that is defined. Nil sets no limit.
	MaxPoints func(number uint32) uint64
}

// Verdict says what became of a point.
type Verdict uint8

const (
	OnTime    Verdict = iota // merged into the open segment
	Late                     // merged into an earlier segment, as a revision
	Older                    // beyond the finest tier: merged into the coarser ones
	Replaced                 // another value for the newest millisecond: it won
	Duplicate                // dropped: the same series, millisecond and value
	Future                   // refused: beyond the tolerance
	TooOld                   // refused: no tier reaches so far back
	Spanning                 // refused: an aggregate that crosses segments
	TooMany                  // refused: the segment has as many points as the series may bring
	numVerdicts
)

// Verdicts is how many verdicts there are.
const Verdicts = int(numVerdicts)

// String is the reason under which the verdict is counted.
func (v Verdict) String() string {
	names := [...]string{"on_time", "late", "older", "replaced", "duplicate", "future", "too_old", "spanning", "too_many"}
	return names[v]
}

// refused tells whether the point was not taken. A dropped duplicate was taken
// before.
func (v Verdict) refused() bool { return v >= Future }

// Counts is what a quantizer has seen.
type Counts struct {
	Verdicts     [Verdicts]uint64
	StaleMarkers uint64 // points that were staleness markers
	NotFinite    uint64 // points that were another NaN, or infinite; stored as they are
	Completed    uint64 // segments published
}

// ByReason yields every count under its name.
func (c *Counts) ByReason() iter.Seq2[string, uint64] {
	return func(yield func(string, uint64) bool) {
		for v, n := range c.Verdicts {
			if !yield(Verdict(v).String(), n) {
				return
			}
		}
		_ = yield("stale_marker", c.StaleMarkers) && yield("not_finite", c.NotFinite) && yield("completed", c.Completed)
	}
}

// Quantizer aligns the points of one partition. Its memory is one cache line a
// series, and 96 bytes for each bucket that does not fit there; see record.
type Quantizer struct {
	config  Config
	records slab.Table[record] // by series number
	defined int                // how many of them there are

	// parts are what does not fit into records, which name them by number. Number
	// 0 is none.
	parts     slab.Table[part]
	partsUsed uint32 // numbers given out so far
	partsFree uint32 // the first one that is free again; its next is another one

	limits map[uint32]uint64 // Config.MaxPoints of series with the flag limited

	due    []int64 // by block of series; see Advance
	cursor int     // block at which Advance goes on

	counts  Counts
	touched uint64 // keeps the compiler from leaving out what touch does
}

// New makes a quantizer without any series.
func New(config Config) *Quantizer {
	return &Quantizer{config: config, partsUsed: 1, limits: make(map[uint32]uint64)}
}

// Define adds the next series; its number is the count of those before it.
func (q *Quantizer) Define(kind series.Kind) {
	if q.defined == q.records.Len() {
		q.records.Grow(q.defined + 1)
	}
	if q.defined%blockSeries == 0 {
		q.due = append(q.due, math.MaxInt64)
	}
	r := record{segment: never, newest: sample{time: never}, kind: kind}
	if number := uint32(q.defined); q.config.MaxPoints != nil {
		if most := q.config.MaxPoints(number); most > 0 {
			q.limits[number] = most
			r.flags |= limited
		}
	}
	*q.records.At(uint32(q.defined)) = r
	q.defined++
}

// Series is how many series are defined.
func (q *Quantizer) Series() int { return q.defined }

// SetKind changes the kind of a series, from now on.
func (q *Quantizer) SetKind(number uint32, kind series.Kind) { q.record(number).kind = kind }

// Counts is what happened so far, by reason.
func (q *Quantizer) Counts() Counts { return q.counts }

// Bytes is the memory of all series.
func (q *Quantizer) Bytes() int64 {
	return int64(q.defined)*q.records.RowBytes() + int64(q.partsUsed)*q.parts.RowBytes() + int64(cap(q.due))*8
}

// Open is the part of a series' open segment that the store does not have yet.
func (q *Quantizer) Open(number uint32) (bucket.Bucket, bool) {
	b := q.unkept(q.record(number))
	return b, !b.Empty()
}

// Seal yields every open segment as far as it has come. Afterwards the store has
// all that was ever added; what is added to the same segments from now on merges
// with it there.
func (q *Quantizer) Seal(yield func(number uint32, b bucket.Bucket) bool) {
	for number := range uint32(q.defined) {
		r := q.records.At(number)
		b := q.unkept(r)
		if b.Empty() {
			continue
		}
		q.seal(r, &b)
		if !yield(number, b) {
			return
		}
	}
}

// record is that of a series, which must be defined.
func (q *Quantizer) record(number uint32) *record {
	if int(number) >= q.defined {
		panic("quantize: a point of a series that is not defined")
	}
	return q.records.At(number)
}
