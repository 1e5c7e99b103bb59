package query

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"carillon/bucket"
	"carillon/series"
)

const (
	// defaultRange is how much of the past is shown if the request names no start.
	defaultRange = time.Hour
	// defaultRows bounds the rows a series if the request names no step.
	defaultRows = 1000
)

// buckets answers /api/v1/buckets: for each series that matches, its buckets,
// merged to the step that was asked for.
func (a *API) buckets(r *http.Request) (answer, error) {
	sets, err := a.selectors(r)
	if err != nil {
		return answer{}, err
	}
	if len(sets) == 0 {
		return answer{}, errNoSelector
	}
	v, err := a.newView(r)
	if err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), a.limits.Timeout)
	defer cancel()
	leave, err := a.enter(ctx)
	if err != nil {
		return answer{}, overdue(err, a.limits.Timeout)
	}
	rollers, err := a.roll(ctx, v, sets)
	if err != nil {
		leave()
		return answer{}, overdue(err, a.limits.Timeout)
	}
	return answer{data: func(e *encoder) { v.encode(e, rollers) }, done: leave}, nil
}

// view is what part of time is shown, and how. Times are milliseconds.
type view struct {
	planner
	start, end, step int64
	stretches        []stretch
}

// newView reads start, end and step of a request. The tier is the coarsest that
// is not coarser than the step (buckets of all tiers hold the same, so fewer are
// read), where it is not retained the next coarser one.
func (a *API) newView(r *http.Request) (*view, error) {
	end, err := timeParameter(r, "end", a.config.Now())
	if err != nil {
		return nil, err
	}
	start, err := timeParameter(r, "start", end.Add(-defaultRange))
	if err != nil {
		return nil, err
	}
	if end.Before(start) {
		return nil, badParameter("end", errors.New("end timestamp must not be before start time"))
	}
	step, err := durationParameter(r, "step")
	if err != nil {
		return nil, err
	}
	v := &view{planner: a.planner(), start: start.UnixMilli(), end: end.UnixMilli()}
	v.step = step.Milliseconds()
	if v.step == 0 {
		// Both ends may cut a segment, hence two less.
		v.step = (v.end-v.start)/(defaultRows-2) + 1
	}
	v.stretches = v.splice(v.coarsest(v.step), v.start, v.end)
	v.step = v.length(newestTier(v.stretches))
	return v, a.limits.checkPoints(start, end, time.Duration(v.step)*time.Millisecond)
}

// length is that of the rows that a tier makes: the step, rounded up to a
// multiple of the tier's resolution.
func (v *view) length(tier int) int64 {
	return ceil(max(v.step, 1), v.resolution(tier))
}

// roller merges the buckets of one series into rows, oldest first.
type roller struct {
	id     series.ID
	kind   series.Kind
	labels labels.Labels
	rows   []row
}

// roll reads and merges. The rollers come sorted by id.
func (a *API) roll(ctx context.Context, v *view, sets [][]*labels.Matcher) ([]roller, error) {
	ids, err := a.selectAll(sets)
	if err != nil {
		return nil, err
	}
	if err := a.limits.checkSeries(len(ids)); err != nil {
		return nil, err
	}
	rollers := make([]roller, len(ids))
	var scratch labels.ScratchBuilder
	for i, id := range ids {
		rollers[i] = roller{id: id, kind: a.config.Catalogue.Kind(id)}
		key, ok := a.config.Catalogue.Key(id)
		if !ok {
			continue
		}
		if rollers[i].labels, err = labelsOf(key, &scratch); err != nil {
			return nil, &failure{internal, fmt.Errorf("labels of series %d: %w", id, err)}
		}
	}
	budget := a.limits.budget()
	for _, c := range v.cohorts(a.config.Retention, ids) {
		for _, part := range c.splice(v.coarsest(v.step), v.start, v.end) {
			if err := a.rollStretch(ctx, v, part, c.ids, rollers, budget); err != nil {
				return nil, err
			}
		}
	}
	return rollers, nil
}

// rollStretch reads what one tier has, from one row before the first that is
// wanted, because the rate of a counter starts there.
func (a *API) rollStretch(ctx context.Context, v *view, part stretch, ids []series.ID, rollers []roller, budget *budget) error {
	resolution, length := v.resolution(part.tier), v.length(part.tier)
	from := max(part.from, bucket.Floor(v.start, length)-length)
	to := min(part.to, bucket.Floor(v.end, length)+length) - 1
	err := a.config.Buckets.Read(ctx, ids, part.tier, from, to, func(id series.ID, buckets []bucket.Bucket) error {
		at, ok := slices.BinarySearchFunc(rollers, id, func(r roller, id series.ID) int { return cmp.Compare(r.id, id) })
		if !ok {
			return nil
		}
		rows := rollers[at].add(part.within(buckets, resolution), length)
		if err := budget.take(int64(rows) * rowBytes); err != nil {
			return err
		}
		return ctx.Err()
	})
	return storageError(err)
}

// add merges buckets into rows of length milliseconds and returns how many rows
// it began.
func (r *roller) add(buckets []bucket.Bucket, length int64) int {
	before := len(r.rows)
	for i := range buckets {
		b := &buckets[i]
		if b.Count == 0 {
			continue
		}
		start := b.Start(length)
		if n := len(r.rows); n > before && r.rows[n-1].start == start {
			r.rows[n-1].Merge(r.kind, b)
			continue
		}
		r.rows = append(r.rows, row{Bucket: *b, start: start, length: length})
	}
	return len(r.rows) - before
}

// wanted is the rows that overlap [start, end], their rates set.
func (r *roller) wanted(start int64) []row {
	first := len(r.rows)
	for i := len(r.rows) - 1; i >= 0; i-- {
		var previous *row
		if i > 0 {
			previous = &r.rows[i-1]
		}
		r.rows[i].setRate(r.kind, previous)
		if r.rows[i].start+r.rows[i].length > start {
			first = i
		}
	}
	return r.rows[first:]
}

func (v *view) encode(e *encoder, rollers []roller) {
	newest := newestTier(v.stretches)
	e.raw(`{"tier":`)
	e.buf = appendString(e.buf, v.tierName(newest))
	e.raw(`,"step":`)
	e.buf = appendSeconds(e.buf, v.step)
	if older := v.stretches[:len(v.stretches)-1]; len(older) > 0 {
		e.raw(`,"older":`)
		e.array(len(older), func(i int) {
			e.raw(`{"tier":`)
			e.buf = appendString(e.buf, v.tierName(older[i].tier))
			e.raw(`,"step":`)
			e.buf = appendSeconds(e.buf, v.length(older[i].tier))
			e.raw(`,"until":`)
			e.buf = appendSeconds(e.buf, older[i].to)
			e.raw("}")
		})
	}
	e.raw(`,"columns":` + rowColumns + `,"result":[`)
	separator := ""
	for i := range rollers {
		r := &rollers[i]
		rows := r.wanted(v.start)
		if len(rows) == 0 {
			continue
		}
		e.raw(separator)
		separator = ","
		e.raw(`{"metric":`)
		e.labels(r.labels)
		e.raw(`,"kind":"` + r.kind.String() + `","buckets":`)
		e.array(len(rows), func(i int) {
			e.row(&rows[i], r.kind)
			e.maybeFlush()
		})
		e.raw("}")
	}
	e.raw("]}")
}

// tierName is the resolution of a tier, as in 10s or 5m.
func (v *view) tierName(tier int) string {
	return model.Duration(v.tiers[tier].Resolution).String()
}
