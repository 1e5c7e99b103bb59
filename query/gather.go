package query

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
	"golang.org/x/sync/errgroup"

	"carillon/bucket"
	"carillon/series"
)

// Series are read in pieces, by as many goroutines as there are processors. A piece is small
// enough that all of them have something to do, and as large as one look at a partition may be.
const (
	leastPiece    = 2
	mostPiece     = 1024
	piecesAWorker = 4
)

// longWindow is what takes whole pages of samples.
const longWindow = int64(6 * time.Hour / time.Millisecond)

// gathering is the reading of one selection. Each reader is at one time one goroutine's, the one
// that reads the piece with its series.
type gathering struct {
	*querier
	wanted   selection
	window   *window   // nil: samples as they are
	moments  moments   // of the window
	grouping *grouping // of what comes out of it; nil: it is not aggregated
	column   column
	ids      []series.ID // sorted
	readers  []reader    // of ids, in their order

	mu    sync.Mutex
	notes annotations.Annotations // guarded by mu
}

func (g *gathering) read(ctx context.Context) error {
	workers := runtime.GOMAXPROCS(0)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(workers)
	for _, c := range g.planner.cohorts(g.retention, g.ids) {
		parts := c.plan(g.wanted)
		for piece := range slices.Chunk(c.ids, min(max(leastPiece, len(c.ids)/(workers*piecesAWorker)), mostPiece)) {
			group.Go(func() error { return g.readPiece(ctx, piece, parts) })
		}
	}
	return group.Wait()
}

// piece is some series that one goroutine reads.
type piece struct {
	*gathering
	slider *slider  // nil without a window
	spare  []sample // of a series that the slider is done with
}

// readPiece reads the stretches, oldest first. What the slider needs of a series goes again
// when its newest stretch is read.
func (g *gathering) readPiece(ctx context.Context, ids []series.ID, parts []stretch) error {
	p := piece{gathering: g}
	if g.window != nil {
		p.slider = newSlider(g.window, g.moments)
	}
	for i, part := range parts {
		if err := p.readStretch(ctx, ids, part, i == len(parts)-1); err != nil {
			return storageError(err)
		}
	}
	if p.slider == nil {
		return nil
	}
	for _, id := range ids { // those that the newest stretch has nothing of
		if r := g.reader(id); !r.slid {
			if err := p.slide(r); err != nil {
				return err
			}
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.notes.Merge(p.slider.notes)
	return nil
}

// reader is that of a series, of which there is one.
func (g *gathering) reader(id series.ID) *reader {
	at, _ := slices.BinarySearch(g.ids, id)
	return &g.readers[at]
}

// readStretch reads what one tier answers.
func (p *piece) readStretch(ctx context.Context, ids []series.ID, part stretch, newest bool) error {
	resolution := p.planner.resolution(part.tier)
	from, to := max(p.wanted.start, part.from), min(p.wanted.end, part.to-1)
	slides := newest && p.slider != nil
	take := func(r *reader, add func() int64) error {
		if slides && r.samples == nil {
			r.samples, p.spare = p.spare, nil
		}
		if err := p.budget.take(add()); err != nil {
			return err
		}
		if slides {
			if err := p.slide(r); err != nil {
				return err
			}
		}
		return ctx.Err()
	}
	buckets := func(id series.ID, buckets []bucket.Bucket) error {
		r := p.reader(id)
		return take(r, func() int64 { return r.add(part.within(buckets, resolution), resolution) })
	}
	switch {
	case p.summable(part.tier):
		return p.buckets.Sums(ctx, ids, part.tier, from, to, buckets)
	case part.tier > 0 || p.column == spread:
		return p.buckets.Read(ctx, ids, part.tier, from, to, buckets)
	}
	return p.buckets.Samples(ctx, ids, from, to, func(id series.ID, times []int64, values []float64) error {
		r := p.reader(id)
		first, end := part.bounds(len(times), func(i int) int64 { return bucket.Floor(times[i], resolution) })
		times, values = times[first:end], values[first:end]
		if slides && r.samples == nil {
			if done, err := p.slideDirect(r, times, values); done || err != nil {
				return err
			}
		}
		return take(r, func() int64 { return r.addSamples(times, values, resolution) })
	}, buckets)
}

// summable tells whether a tier may say what many buckets come to together: the window is
// worked out once, over all that is read, and from a column that adds up. At the finest tier
// samples are exact and quick to read, so that there it must be long, and no sum.
func (g *gathering) summable(tier int) bool {
	if g.window == nil || g.moments.start != g.moments.end || !slices.Contains([]column{counts, sums, minima, maxima}, g.column) {
		return false
	}
	return tier > 0 || g.column != sums && g.window.length >= longWindow
}

// slideDirect is slide for a reader that got nothing before, if it can do without keeping
// the samples.
func (p *piece) slideDirect(r *reader, times []int64, values []float64) (done bool, err error) {
	if r.samples, r.slid = p.slider.slideDirect(times, values); !r.slid {
		return false, nil
	}
	return true, p.budget.take(int64(len(times)+len(r.samples)) * sampleBytes)
}

// slide puts what comes out of the window in the place of a reader's samples.
func (p *piece) slide(r *reader) error {
	read := r.samples
	r.samples = p.slider.slide(read, r.weights)
	r.weights, r.slid = nil, true
	p.spare = read[:0]
	return p.budget.take(int64(len(r.samples)) * sampleBytes)
}

// finish makes the series that the engine sees of those that have any samples.
func (g *gathering) finish() ([]storage.Series, error) {
	var found []storage.Series
	var scratch labels.ScratchBuilder
	seen := make(map[uint64]struct{})
	for i := range g.readers {
		r := &g.readers[i]
		if r.empty() {
			continue
		}
		key, ok := g.catalogue.Key(r.id)
		if !ok {
			continue
		}
		if err := g.budget.take(int64(len(key))); err != nil {
			return nil, err
		}
		set, err := labelsOf(key, &scratch)
		if err != nil {
			return nil, promql.ErrStorage{Err: fmt.Errorf("labels of series %d: %w", r.id, err)}
		}
		if g.window != nil {
			g.window.noteName(set, &g.notes)
			set = unnamed(set)
			if _, twice := seen[set.Hash()]; twice {
				return nil, errSameLabels
			}
			seen[set.Hash()] = struct{}{}
		}
		found = append(found, r.series(set))
	}
	if g.grouping != nil {
		return g.aggregate(found)
	}
	return found, nil
}
