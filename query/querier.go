package query

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"

	"carillon/series"
)

// queryable shows the buckets to the engine as samples.
type queryable struct {
	catalogue Catalogue
	buckets   Buckets
	retention Retention
	limits    Limits
	planner   planner
	lookback  time.Duration // of the question
}

// queryable is what answers a question.
func (a *API) queryable(q question) *queryable {
	return &queryable{a.config.Catalogue, a.config.Buckets, a.config.Retention, a.limits, a.planner(), q.lookback}
}

func (a *API) planner() planner {
	return planner{tiers: a.config.Buckets.Tiers(), now: a.config.Now().UnixMilli()}
}

// Querier makes what serves one query. The engine asks for one a query, and uses
// it from one goroutine.
func (q *queryable) Querier(mint, maxt int64) (storage.Querier, error) {
	return &querier{queryable: q, budget: q.limits.budget(), mint: mint, maxt: maxt}, nil
}

type querier struct {
	*queryable
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
// columnLabel asks for, or what comes out of a window. They are read at once, not as
// the engine walks over them.
func (q *querier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	found, notes, err := q.read(ctx, hints, matchers)
	if err != nil {
		return storage.ErrSeriesSet(err)
	}
	if sorted {
		slices.SortFunc(found, func(a, b storage.Series) int { return labels.Compare(a.Labels(), b.Labels()) })
	}
	return newListSet(found, notes)
}

func (q *querier) read(ctx context.Context, hints *storage.SelectHints, matchers []*labels.Matcher) ([]storage.Series, annotations.Annotations, error) {
	w, matchers, err := cutWindow(matchers)
	if err != nil {
		return nil, nil, err
	}
	c, matchers, err := cutColumn(matchers)
	if err != nil {
		return nil, nil, err
	}
	ids, err := q.catalogue.Select(matchers...)
	if err != nil {
		return nil, nil, promql.ErrStorage{Err: fmt.Errorf("select series: %w", err)}
	}
	if err := q.limits.checkSeries(len(ids)); err != nil {
		return nil, nil, err
	}
	g := gathering{querier: q, window: w, wanted: selection{start: q.mint, end: q.maxt}, ids: ids}
	switch {
	case w != nil:
		g.moments = moments{hints.Start + q.lookback.Milliseconds() - 1, hints.End, hints.Step}
		g.wanted, c = w.selection(g.moments), w.column()
		if w.grouped {
			g.grouping = groupingOf(hints)
		}
	case hints != nil:
		g.wanted = selection{
			start: hints.Start, end: hints.End, step: hints.Step, window: hints.Range,
			pairs: c == edges || c == rises,
		}
	}
	g.column, g.readers = c, make([]reader, len(ids))
	for i, id := range ids {
		g.readers[i] = reader{id: id, kind: q.catalogue.Kind(id), column: c, window: w != nil, mean: w != nil && w.function == "avg_over_time"}
	}
	if err := g.read(ctx); err != nil {
		return nil, nil, err
	}
	found, err := g.finish()
	return found, g.notes, err
}

// storageError marks an error as the store's fault, unless it is the query's.
func storageError(err error) error {
	var limit *limitError
	if err == nil || errors.As(err, &limit) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return promql.ErrStorage{Err: fmt.Errorf("read buckets: %w", err)}
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
