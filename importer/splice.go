package importer

import (
	"cmp"
	"slices"

	"carillon/bucket"
)

// Level is what one file, or one part of a file, has of a series: a ring of segments of
// one length.
type Level struct {
	Resolution int64 // milliseconds
	// Since is the time since when the level has all there is; what came before was
	// overwritten, or comes from before the file was made.
	Since   int64
	Buckets []bucket.Bucket // sorted by time, one a segment
}

// Keep leaves in the level what belongs to a span, and returns how many segments have begun
// at the time now, milliseconds, and are not over. What begins later stays: an Importer says
// what it thinks of it.
func (l *Level) Keep(span Span, now int64) (unfinished uint64) {
	l.Buckets = slices.DeleteFunc(l.Buckets, func(b bucket.Bucket) bool {
		start := b.FirstTime
		if start > now {
			return false
		}
		if start > now-l.Resolution {
			unfinished++
		}
		return !span.Holds(start, l.Resolution)
	})
	return unfinished
}

// Splice puts one history together from levels of the same samples, finest first: each
// segment from the finest level that has all of it, so that nothing counts twice and
// nothing is left out. A coarse segment in the middle of which a finer level begins takes
// the place of what that has of it. The levels' buckets may be written over.
func Splice(levels []Level) []bucket.Bucket {
	levels = slices.DeleteFunc(levels, func(l Level) bool { return len(l.Buckets) == 0 })
	if len(levels) == 0 {
		return nil
	}
	all, since := levels[0].Buckets, levels[0].Since
	for _, l := range levels[1:] {
		all = before(all, since, l)
		since = min(since, l.Since)
	}
	return all
}

// before puts what a coarser level has in front of finer buckets that are whole since a
// time.
func before(fine []bucket.Bucket, since int64, l Level) []bucket.Bucket {
	cut := bucket.Floor(since+l.Resolution-1, l.Resolution)
	older := l.Buckets[:from(l.Buckets, cut)]
	if len(older) == 0 {
		return fine
	}
	at := from(fine, cut)
	early, rest := fine[:at], fine[at:]
	early = slices.DeleteFunc(early, func(b bucket.Bucket) bool {
		_, covered := slices.BinarySearchFunc(older, b.Start(l.Resolution), byTime)
		return covered
	})
	all := make([]bucket.Bucket, 0, len(older)+len(early)+len(rest))
	for len(early) > 0 && len(older) > 0 {
		next := &older
		if early[0].FirstTime < older[0].FirstTime {
			next = &early
		}
		all = append(all, (*next)[0])
		*next = (*next)[1:]
	}
	return append(append(append(all, older...), early...), rest...)
}

// from is the index of the first bucket at or after a time.
func from(buckets []bucket.Bucket, time int64) int {
	i, _ := slices.BinarySearchFunc(buckets, time, byTime)
	return i
}

func byTime(b bucket.Bucket, time int64) int { return cmp.Compare(b.FirstTime, time) }
