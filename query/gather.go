package query

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
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
	var pieces []piece
	for _, c := range g.planner.cohorts(g.retention, g.ids) {
		parts := c.plan(g.wanted)
		for ids := range slices.Chunk(c.ids, min(max(leastPiece, len(c.ids)/(workers*piecesAWorker)), mostPiece)) {
			pieces = append(pieces, piece{ids, parts})
		}
	}
	var taken atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range min(workers, len(pieces)) {
		group.Go(func() error {
			w := g.worker()
			for i := taken.Add(1); i <= int64(len(pieces)); i = taken.Add(1) {
				if err := w.readPiece(ctx, pieces[i-1]); err != nil {
					return err
				}
			}
			w.done()
			return nil
		})
	}
	return group.Wait()
}

// piece is some series, with the stretches to be read of them.
type piece struct {
	ids   []series.ID
	parts []stretch
}

// worker reads pieces. One goroutine owns it.
type worker struct {
	*gathering
	slider *slider  // nil without a window
	spare  []sample // of a series that the slider is done with
}

func (g *gathering) worker() *worker {
	w := &worker{gathering: g}
	if g.window != nil {
		w.slider = newSlider(g.window, g.moments)
	}
	return w
}

// done hands in what the slider has to say.
func (w *worker) done() {
	if w.slider == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notes.Merge(w.slider.notes)
}

// readPiece reads the stretches of a piece, oldest first. What the slider needs of a series goes
// again when its newest stretch is read.
func (w *worker) readPiece(ctx context.Context, p piece) error {
	for i, part := range p.parts {
		if err := w.readStretch(ctx, p.ids, part, i == len(p.parts)-1); err != nil {
			return storageError(err)
		}
	}
	if w.slider == nil {
		return nil
	}
	for _, id := range p.ids { // the last one, and those that the newest stretch has nothing of
		if err := w.slide(w.reader(id)); err != nil {
			return err
		}
	}
	return nil
}

// reader is that of a series, of which there is one.
func (g *gathering) reader(id series.ID) *reader {
	at, _ := slices.BinarySearch(g.ids, id)
	return &g.readers[at]
}

// readStretch reads what one tier answers.
func (w *worker) readStretch(ctx context.Context, ids []series.ID, part stretch, newest bool) error {
	resolution := w.planner.resolution(part.tier)
	from, to := max(w.wanted.start, part.from), min(w.wanted.end, part.to-1)
	slides := newest && w.slider != nil
	var current *reader // the one that a stretch was last read of
	turn := func(id series.ID) (*reader, error) {
		if current != nil && current.id == id {
			return current, nil
		}
		if slides && current != nil {
			if err := w.slide(current); err != nil {
				return nil, err
			}
		}
		if current = w.reader(id); slides && current.samples == nil {
			current.samples, w.spare = w.spare, nil
		}
		return current, ctx.Err()
	}
	samples := func(id series.ID, times []int64, values []float64) error {
		r, err := turn(id)
		if err != nil {
			return err
		}
		first, end := part.bounds(len(times), func(i int) int64 { return bucket.Floor(times[i], resolution) })
		times, values = times[first:end], values[first:end]
		if slides && len(r.samples) == 0 {
			if done, err := w.slideDirect(r, times, values); done || err != nil {
				return err
			}
		}
		return w.budget.take(r.addSamples(times, values, resolution))
	}
	buckets := func(id series.ID, buckets []bucket.Bucket) error {
		r, err := turn(id)
		if err != nil {
			return err
		}
		return w.budget.take(r.add(part.within(buckets, resolution), resolution))
	}
	switch {
	case w.summable(part.tier):
		return w.buckets.Sums(ctx, ids, part.tier, from, to, buckets)
	case w.column == spread:
		return w.buckets.Scan(ctx, ids, part.tier, from, to, nil, buckets)
	}
	return w.buckets.Scan(ctx, ids, part.tier, from, to, samples, buckets)
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
func (w *worker) slideDirect(r *reader, times []int64, values []float64) (done bool, err error) {
	out, ok := w.slider.slideDirect(times, values)
	if !ok {
		return false, nil
	}
	w.spare = r.samples
	r.samples, r.slid = out, true
	return true, w.budget.take(int64(len(times)+len(out)) * sampleBytes)
}

// slide puts what comes out of the window in the place of a reader's samples, unless that is done.
func (w *worker) slide(r *reader) error {
	if r.slid {
		return nil
	}
	read := r.samples
	r.samples = w.slider.slide(read, r.weights)
	r.weights, r.slid = nil, true
	w.spare = read[:0]
	return w.budget.take(int64(len(r.samples)) * sampleBytes)
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
