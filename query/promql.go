package query

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
)

// maxQueryBytes bounds the text of an expression, and so how deep it can nest.
const maxQueryBytes = 64 << 10

// Warnings and notes an answer carries at most, as in Prometheus.
const (
	maxWarnings = 10
	maxInfos    = 10
)

// question is what a request asks the engine.
type question struct {
	text       string
	start, end time.Time
	step       time.Duration // 0 for an instant query
	timeout    time.Duration // 0 for the limit
	lookback   time.Duration // 0 for what fits the tiers
	limit      int           // of series in the answer, 0 for none
}

// query answers /api/v1/query.
func (a *API) query(r *http.Request) (answer, error) {
	q, err := newQuestion(r)
	if err != nil {
		return answer{}, err
	}
	if q.start, err = timeParameter(r, "time", a.config.Now()); err != nil {
		return answer{}, err
	}
	q.end = q.start
	return a.answer(r.Context(), q)
}

// queryRange answers /api/v1/query_range.
func (a *API) queryRange(r *http.Request) (answer, error) {
	q, err := newQuestion(r)
	if err != nil {
		return answer{}, err
	}
	if q.start, err = parseTime(r.FormValue("start")); err != nil {
		return answer{}, badParameter("start", err)
	}
	if q.end, err = parseTime(r.FormValue("end")); err != nil {
		return answer{}, badParameter("end", err)
	}
	if q.end.Before(q.start) {
		return answer{}, badParameter("end", errors.New("end timestamp must not be before start time"))
	}
	if q.step, err = parseDuration(r.FormValue("step")); err != nil {
		return answer{}, badParameter("step", err)
	}
	if q.step < time.Millisecond {
		return answer{}, badParameter("step", errors.New("query resolution step widths below a millisecond are not accepted. Try a positive integer"))
	}
	if err := a.limits.checkPoints(q.start, q.end, q.step); err != nil {
		return answer{}, err
	}
	return a.answer(r.Context(), q)
}

// checkPoints refuses more points a series than the limit.
func (l Limits) checkPoints(start, end time.Time, step time.Duration) error {
	if end.Sub(start)/step <= time.Duration(l.Points) {
		return nil
	}
	return &failure{badData, fmt.Errorf("exceeded maximum resolution of %d points per timeseries. Try decreasing the query resolution (?step=XX)", l.Points)}
}

// newQuestion reads what instant and range queries have in common.
func newQuestion(r *http.Request) (question, error) {
	q := question{text: r.FormValue("query")}
	var err error
	if q.limit, err = limitParameter(r, "limit"); err != nil {
		return q, err
	}
	if q.timeout, err = durationParameter(r, "timeout"); err != nil {
		return q, err
	}
	q.lookback, err = durationParameter(r, "lookback_delta")
	return q, err
}

// answer runs a question. It waits for a free slot first.
func (a *API) answer(ctx context.Context, q question) (answer, error) {
	if q.timeout == 0 || q.timeout > a.limits.Timeout {
		q.timeout = a.limits.Timeout
	}
	ctx, cancel := context.WithTimeout(ctx, q.timeout)
	defer cancel()
	leave, err := a.enter(ctx)
	if err != nil {
		return answer{}, overdue(err, q.timeout)
	}
	result, err := a.run(ctx, q)
	if err != nil {
		leave()
		return answer{}, overdue(err, q.timeout)
	}
	closeQuery := result.done
	result.done = func() {
		closeQuery()
		leave()
	}
	return result, nil
}

// enter takes one of the slots for running queries, and returns how to leave it.
func (a *API) enter(ctx context.Context) (leave func(), err error) {
	select {
	case a.slots <- struct{}{}:
		return func() { <-a.slots }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for one of the %d queries that run at a time: %w", a.limits.Concurrent, ctx.Err())
	}
}

func (a *API) run(ctx context.Context, q question) (answer, error) {
	query, err := a.prepare(ctx, q)
	if err != nil {
		return answer{}, badParameter("query", err)
	}
	result := query.Exec(ctx)
	if result.Err != nil {
		query.Close()
		return answer{}, result.Err
	}
	shown, notes := clipResult(result.Value, q.limit)
	warnings, infos := result.Warnings.AsStrings(q.text, maxWarnings, maxInfos)
	return answer{
		data:     func(e *encoder) { e.result(shown) },
		warnings: append(warnings, notes...),
		infos:    infos,
		done:     query.Close,
	}, nil
}

// prepare parses a question. It is to be run once, and closed.
func (a *API) prepare(ctx context.Context, q question) (promql.Query, error) {
	if len(q.text) > maxQueryBytes {
		return nil, fmt.Errorf("expression of %d bytes is longer than the limit of %d", len(q.text), maxQueryBytes)
	}
	if err := a.fitLookback(&q); err != nil {
		return nil, err
	}
	options := promql.NewPrometheusQueryOpts(false, q.lookback)
	if q.step == 0 {
		return a.engine.NewInstantQuery(ctx, a.queryable(q), options, q.text, q.start)
	}
	return a.engine.NewRangeQuery(ctx, a.queryable(q), options, q.text, q.start, q.end, q.step)
}

// clipResult keeps at most limit series of a result, if limit is not 0.
func clipResult(result parser.Value, limit int) (parser.Value, []string) {
	switch v := result.(type) {
	case promql.Matrix:
		clipped, notes := truncate(v, limit)
		return clipped, notes
	case promql.Vector:
		clipped, notes := truncate(v, limit)
		return clipped, notes
	}
	return result, nil
}

// fitLookback sets how far instant selectors look back, unless the request says.
func (a *API) fitLookback(q *question) error {
	if q.lookback != 0 {
		return nil
	}
	expr, err := a.columns.ParseExpr(q.text)
	if err != nil {
		return err
	}
	if expr, err = promql.PreprocessExpr(expr, q.start, q.end, q.step); err != nil {
		return err
	}
	p := a.planner()
	if a.config.Retention != nil { // which series the query will find is not known yet
		p = p.under(a.config.Retention.Shortest())
	}
	q.lookback = p.lookback(expr, timestamp.FromTime(q.start), timestamp.FromTime(q.end), q.step.Milliseconds())
	return nil
}

// formatQuery answers /api/v1/format_query: the expression, laid out for people.
func (a *API) formatQuery(r *http.Request) (answer, error) {
	expr, err := a.parser.ParseExpr(r.FormValue("query"))
	if err != nil {
		return answer{}, badParameter("query", err)
	}
	return value(expr.Pretty(0)), nil
}
