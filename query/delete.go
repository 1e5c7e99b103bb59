package query

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"syscall"
	"time"

	"carillon/series"
	"carillon/store"
)

// Deleter takes away what is stored. It is safe for concurrent use.
type Deleter interface {
	// Delete takes away the samples in [from, to], milliseconds, of the series. When
	// it returns they are hidden, for good. Samples that come later are kept.
	Delete(ctx context.Context, ids []series.ID, from, to int64) error
}

// deleteSeries answers POST /api/v1/admin/tsdb/delete_series as Prometheus does: with
// match[], start and end, and no content. The limits of queries do not hold: it reads
// next to nothing, and half a deletion is no use to anybody.
func (a *API) deleteSeries(w http.ResponseWriter, r *http.Request) {
	if err := a.delete(w, r); err != nil {
		a.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (a *API) delete(w http.ResponseWriter, r *http.Request) error {
	if a.config.Deleter == nil {
		return &failure{unavailable, errors.New("nothing can be deleted here")}
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
	if err := r.ParseForm(); err != nil {
		return &failure{badData, fmt.Errorf("read the form (at most %d bytes): %w", maxFormBytes, err)}
	}
	sets, err := a.selectors(r)
	if err != nil {
		return err
	}
	if len(sets) == 0 {
		return errNoSelector
	}
	from, to, err := wholeTime(r)
	if err != nil {
		return err
	}
	missing, err := a.config.Buckets.Settle(r.Context())
	if err == nil && missing != "" { // series that are not known yet, among others
		err = &failure{unavailable, errors.New(missing)}
	}
	if err != nil {
		return err
	}
	ids, err := a.selectAll(sets)
	if err != nil {
		return err
	}
	if err := a.config.Deleter.Delete(r.Context(), ids, from, to); err != nil {
		kind := internal
		if errors.Is(err, store.ErrDeletesWait) || errors.Is(err, syscall.ENOSPC) {
			kind = unavailable // for now
		}
		return &failure{kind, fmt.Errorf("delete from %d series: %w", len(ids), err)}
	}
	a.config.Logger.Info("deleted", "match", r.Form["match[]"], "series", len(ids), "from", r.FormValue("start"), "to", r.FormValue("end"))
	return nil
}

// wholeTime reads start and end, milliseconds; without them it is all of time.
func wholeTime(r *http.Request) (from, to int64, err error) {
	from, to = math.MinInt64, math.MaxInt64
	start, err := timeParameter(r, "start", time.Time{})
	if err != nil {
		return 0, 0, err
	}
	end, err := timeParameter(r, "end", time.Time{})
	if err != nil {
		return 0, 0, err
	}
	if !start.IsZero() {
		from = start.UnixMilli()
	}
	if !end.IsZero() {
		to = end.UnixMilli()
	}
	if to < from {
		return 0, 0, badParameter("end", errors.New("end timestamp must not be before start time"))
	}
	return from, to, nil
}

// matching is one entry of /api/v1/series/count.
type matching struct {
	Match  string `json:"match"`
	Series int    `json:"series"`
}

// countSeries answers /api/v1/series/count: how many series each match[] selects, and
// how many all of them do together. A selector may take in everything.
func (a *API) countSeries(r *http.Request) (answer, error) {
	var counts struct {
		Series int        `json:"series"`
		Match  []matching `json:"match"`
	}
	seen := make(map[series.ID]struct{})
	for _, text := range r.Form["match[]"] {
		set, err := a.parser.ParseMetricSelector(text)
		if err != nil {
			return answer{}, badParameter("match[]", err)
		}
		ids, err := a.config.Catalogue.Select(set...)
		if err != nil {
			return answer{}, &failure{internal, fmt.Errorf("select series: %w", err)}
		}
		counts.Match = append(counts.Match, matching{text, len(ids)})
		for _, id := range ids {
			seen[id] = struct{}{}
		}
	}
	if len(counts.Match) == 0 {
		return answer{}, errNoSelector
	}
	counts.Series = len(seen)
	return value(counts), nil
}
