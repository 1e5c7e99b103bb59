package store

import (
	"math"
	"slices"

	"carillon/bucket"
	"carillon/series"
)

// fold puts the buckets of one series together, from sources in commit order.
// acc is sorted by time and has at most one bucket a segment.
type fold struct {
	kind       series.Kind
	resolution int64 // milliseconds
	coarse     bool  // buckets are of a coarser tier already: what is merged of them is rounded
	acc        []bucket.Bucket
	spare      []bucket.Bucket
}

// reset starts over for another series or resolution and keeps the memory.
func (f *fold) reset(kind series.Kind, resolution int64) {
	f.kind, f.resolution, f.acc = kind, resolution, f.acc[:0]
}

// add lays buckets over what is there: they merge with the bucket of their
// segment, or with replaces take its place. The buckets are sorted by segment;
// where several are of one segment they stand in log order and merge with each
// other, which makes add a rollup too. They must not be part of acc.
func (f *fold) add(buckets []bucket.Bucket, replaces bool) {
	if len(buckets) == 0 {
		return
	}
	start := buckets[0].Start(f.resolution)
	keep := len(f.acc)
	for keep > 0 && f.acc[keep-1].FirstTime >= start {
		keep--
	}
	f.spare = append(f.spare[:0], f.acc[keep:]...)
	f.acc = f.acc[:keep]
	f.acc = slices.Grow(f.acc, len(buckets))
	old := f.spare
	for len(buckets) > 0 && len(old) > 0 {
		start := buckets[0].Start(f.resolution)
		for len(old) > 0 && old[0].FirstTime < start {
			f.push(&old[0])
			old = old[1:]
		}
		if len(old) > 0 && old[0].FirstTime < start+f.resolution {
			if !replaces {
				f.push(&old[0])
			}
			old = old[1:]
		}
		f.push(&buckets[0])
		buckets = buckets[1:]
	}
	for i := range buckets {
		f.push(&buckets[i])
	}
	f.acc = append(f.acc, old...)
}

// push appends a bucket, or merges it with the last one of the same segment.
func (f *fold) push(b *bucket.Bucket) {
	// A step of the resolution or more leads out of any segment: no division then.
	if n := len(f.acc); n > 0 && b.FirstTime-f.acc[n-1].FirstTime < f.resolution && f.acc[n-1].Start(f.resolution) == b.Start(f.resolution) {
		f.acc[n-1].Merge(f.kind, b)
		if f.coarse {
			f.acc[n-1].Round()
		}
		return
	}
	f.acc = append(f.acc, *b)
}

// addSamples lays samples, sorted and no two of one time, behind what is there, as add
// does: to the very bits, but several times as fast.
func (f *fold) addSamples(samples columns) {
	for samples.len() > 0 {
		first := bucket.Of(samples.times[0], samples.values[0])
		f.push(&first)
		b := &f.acc[len(f.acc)-1]
		end := b.Start(f.resolution) + f.resolution
		n := 1
		for b.Count > 0 && n < samples.len() && samples.times[n] < end && math.Float64bits(samples.values[n]) != bucket.StaleNaN {
			n++
		}
		mergeSamples(f.kind, b, samples.slice(1, n))
		samples = samples.slice(n, samples.len())
	}
}

// mergeSamples merges samples, all behind those of a bucket that has some, one by one:
// it is bucket.Merge with what that needs not be told left out.
func mergeSamples(kind series.Kind, b *bucket.Bucket, samples columns) {
	if samples.len() == 0 {
		return
	}
	count, sum, m2, least, most, last, resets := float64(b.Count), b.Sum, b.M2, b.Min, b.Max, b.Last, b.Resets
	for _, x := range samples.values {
		if kind == series.Counter && x < last {
			resets += last
		}
		delta := x - sum/count
		m2 += delta * delta * count / (count + 1)
		count++
		sum += x
		if x < least || math.IsNaN(least) {
			least = x
		}
		if x > most || math.IsNaN(most) {
			most = x
		}
		last = x
	}
	b.Count += uint64(samples.len())
	b.Sum, b.M2, b.Min, b.Max, b.Last, b.Resets = sum, m2, least, most, last, resets
	b.LastTime = samples.times[samples.len()-1]
}

// round makes coarser buckets of what finer ones were merged to.
func (f *fold) round() {
	for i := range f.acc {
		f.acc[i].Round()
	}
}

// drop takes out the segments that are in buckets too; both are sorted.
func (f *fold) drop(buckets []bucket.Bucket) {
	f.acc = slices.DeleteFunc(f.acc, func(b bucket.Bucket) bool { return has(buckets, b.Start(f.resolution), f.resolution) })
}

// has tells whether sorted buckets have one of the segment at start.
func has(buckets []bucket.Bucket, start, resolution int64) bool {
	i := from(buckets, start)
	return i < len(buckets) && buckets[i].FirstTime < start+resolution
}

// ladder makes the buckets of coarser tiers, each from those of the finer one. So a
// seal and a view, which know the same samples, come to the same bits.
type ladder struct{ rungs []fold } // by tier

func newLadder(tiers []Tier) *ladder {
	l := &ladder{rungs: make([]fold, len(tiers))}
	for i, t := range tiers {
		l.rungs[i].resolution = t.Resolution.Milliseconds()
	}
	return l
}

func (l *ladder) reset(kind series.Kind) {
	for i := range l.rungs {
		l.rungs[i].reset(kind, l.rungs[i].resolution)
	}
}

// climb fills the rungs above one from it, up to top.
func (l *ladder) climb(from, top int) {
	for i := from + 1; i <= top; i++ {
		l.rungs[i].add(l.rungs[i-1].acc, false)
		l.rungs[i].round()
	}
}

// buckets makes coarser buckets of finest ones, sorted by segment, for the tiers up to
// top.
func (l *ladder) buckets(kind series.Kind, fine []bucket.Bucket, top int) {
	l.reset(kind)
	l.rungs[0].add(fine, false)
	l.climb(0, top)
}

// samples makes coarser buckets of samples, sorted and at most one a segment of the
// finest tier. The finest rung stays empty: there they are what they were. There are
// at least two tiers.
func (l *ladder) samples(kind series.Kind, samples columns) {
	l.reset(kind)
	l.rungs[1].addSamples(samples)
	l.rungs[1].round()
	l.climb(1, len(l.rungs)-1)
}

// from is the index of the first bucket at or after time.
func from(buckets []bucket.Bucket, time int64) int {
	i, _ := slices.BinarySearchFunc(buckets, time, func(b bucket.Bucket, t int64) int {
		if b.FirstTime < t {
			return -1
		}
		return 1
	})
	return i
}

// within is the part of sorted buckets in [start, end).
func within(buckets []bucket.Bucket, start, end int64) []bucket.Bucket {
	buckets = buckets[from(buckets, start):]
	return buckets[:from(buckets, end)]
}

// bySegment sorts buckets by segment and keeps the log's order inside each.
func bySegment(buckets []bucket.Bucket, resolution int64) {
	compare := func(a, b bucket.Bucket) int {
		x, y := a.Start(resolution), b.Start(resolution)
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	}
	if !slices.IsSortedFunc(buckets, compare) {
		slices.SortStableFunc(buckets, compare)
	}
}

// span is the time [from, to) in milliseconds.
type span struct{ from, to int64 }

// touched lists the segments of a resolution that buckets lie in, neighbours
// joined, inside [from, to). The buckets are sorted by segment.
func touched(buckets []bucket.Bucket, resolution, from, to int64, dst []span) []span {
	for _, b := range buckets {
		if b.FirstTime < from || b.FirstTime >= to {
			continue
		}
		start := b.Start(resolution)
		if n := len(dst); n > 0 && dst[n-1].to >= start {
			dst[n-1].to = max(dst[n-1].to, start+resolution)
			continue
		}
		dst = append(dst, span{start, start + resolution})
	}
	return dst
}
