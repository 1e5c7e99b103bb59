package query

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"

	"carillon/bucket"
	"carillon/series"
)

// queryable shows the buckets to the engine as samples.
type queryable struct {
	catalogue Catalogue
	buckets   Buckets
	retention Retention
	limits    Limits
	now       func() time.Time
}

func (a *API) queryable() *queryable {
	return &queryable{a.config.Catalogue, a.config.Buckets, a.config.Retention, a.limits, a.config.Now}
}

func (q *queryable) planner() planner {
	return planner{tiers: q.buckets.Tiers(), now: q.now().UnixMilli()}
}

// Querier makes what serves one query. The engine asks for one a query, and uses
// it from one goroutine.
func (q *queryable) Querier(mint, maxt int64) (storage.Querier, error) {
	return &querier{queryable: q, planner: q.planner(), budget: q.limits.budget(), mint: mint, maxt: maxt}, nil
}

type querier struct {
	*queryable
	planner    planner
	budget     *budget
	mint, maxt int64
}

func (q *querier) Close() error { return nil }

func (q *querier) LabelValues(_ context.Context, name string, _ *storage.LabelHints, matchers ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	values, err := q.catalogue.LabelValues(name, matchers...)
	return values, nil, err
}

func (q *querier) LabelNames(_ context.Context, _ *storage.LabelHints, matchers ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	names, err := q.catalogue.LabelNames(matchers...)
	return names, nil, err
}

// Select reads the series that match, in the column that a matcher on
// columnLabel asks for. They are read at once, not as the engine walks over them.
func (q *querier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	found, err := q.read(ctx, hints, matchers)
	if err != nil {
		return storage.ErrSeriesSet(err)
	}
	if sorted {
		slices.SortFunc(found, func(a, b storage.Series) int { return labels.Compare(a.Labels(), b.Labels()) })
	}
	return newListSet(found)
}

func (q *querier) read(ctx context.Context, hints *storage.SelectHints, matchers []*labels.Matcher) ([]storage.Series, error) {
	c, matchers, err := cutColumn(matchers)
	if err != nil {
		return nil, err
	}
	ids, err := q.catalogue.Select(matchers...)
	if err != nil {
		return nil, promql.ErrStorage{Err: fmt.Errorf("select series: %w", err)}
	}
	if err := q.limits.checkSeries(len(ids)); err != nil {
		return nil, err
	}
	wanted := selection{start: q.mint, end: q.maxt}
	if hints != nil {
		wanted = selection{
			start: hints.Start, end: hints.End, step: hints.Step, window: hints.Range,
			pairs: c == edges || c == rises,
		}
	}
	readers := make([]reader, len(ids))
	for i, id := range ids {
		readers[i] = reader{id: id, kind: q.catalogue.Kind(id), column: c}
	}
	for _, c := range q.planner.cohorts(q.retention, ids) {
		for _, part := range c.plan(wanted) {
			if err := q.readStretch(ctx, c.ids, part, wanted, readers); err != nil {
				return nil, err
			}
		}
	}
	return q.finish(readers)
}

// readStretch reads what one tier answers of a selection. The readers are sorted
// by id.
func (q *querier) readStretch(ctx context.Context, ids []series.ID, part stretch, wanted selection, readers []reader) error {
	resolution := q.planner.resolution(part.tier)
	from, to := max(wanted.start, part.from), min(wanted.end, part.to-1)
	err := q.buckets.Read(ctx, ids, part.tier, from, to, func(id series.ID, buckets []bucket.Bucket) error {
		at, ok := slices.BinarySearchFunc(readers, id, func(r reader, id series.ID) int { return cmp.Compare(r.id, id) })
		if !ok {
			return nil
		}
		bytes := readers[at].add(part.within(buckets, resolution), resolution)
		if err := q.budget.take(bytes); err != nil {
			return err
		}
		return ctx.Err()
	})
	return storageError(err)
}

// storageError marks an error as the store's fault, unless it is the query's.
func storageError(err error) error {
	var limit *limitError
	if err == nil || errors.As(err, &limit) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return promql.ErrStorage{Err: fmt.Errorf("read buckets: %w", err)}
}

// finish makes the series that the engine sees of those that have any samples.
func (q *querier) finish(readers []reader) ([]storage.Series, error) {
	var found []storage.Series
	var scratch labels.ScratchBuilder
	for i := range readers {
		r := &readers[i]
		if r.empty() {
			continue
		}
		key, ok := q.catalogue.Key(r.id)
		if !ok {
			continue
		}
		if err := q.budget.take(int64(len(key))); err != nil {
			return nil, err
		}
		set, err := labelsOf(key, &scratch)
		if err != nil {
			return nil, promql.ErrStorage{Err: fmt.Errorf("labels of series %d: %w", r.id, err)}
		}
		found = append(found, r.series(set))
	}
	return found, nil
}

func labelsOf(key series.Key, scratch *labels.ScratchBuilder) (labels.Labels, error) {
	pairs, err := key.Labels()
	if err != nil {
		return labels.EmptyLabels(), err
	}
	scratch.Reset()
	for _, l := range pairs {
		scratch.Add(l.Name, l.Value)
	}
	return scratch.Labels(), nil
}
