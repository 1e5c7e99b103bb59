package query

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"carillon/query/querytest"
	"carillon/series"
	"carillon/store"
)

// deletes notes what was asked for.
type deletes struct {
	asked []string
	err   error
}

func (d *deletes) Delete(_ context.Context, ids []series.ID, from, to int64) error {
	d.asked = append(d.asked, fmt.Sprint(len(ids), " ", from, " ", to))
	return d.err
}

func TestDeleteSeries(t *testing.T) {
	s := querytest.New(defaultTiers()...)
	for _, name := range []string{"a", "b", "c"} {
		s.Add(named(t, name), series.Gauge, epoch.UnixMilli(), 1)
	}
	d := new(deletes)
	mux := http.NewServeMux()
	newAPI(s, at(time.Hour), func(c *Config) { c.Deleter, c.Limits = d, Limits{Series: 1} }).Register(mux)
	ask := func(method, path, query string) (int, string) {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path+"?"+query, nil))
		return w.Code, w.Body.String()
	}
	const path = "/api/v1/admin/tsdb/delete_series"
	for _, c := range []struct {
		method, query string
		code          int
		want          string // of what is deleted, or in the answer
	}{
		{http.MethodPost, "match[]=a", 204, fmt.Sprint("1 ", int64(math.MinInt64), " ", int64(math.MaxInt64))},
		{http.MethodPut, "match[]=a&match[]=" + url.QueryEscape(`{__name__=~"a|b"}`) + "&start=10.5&end=11", 204, "2 10500 11000"},
		{http.MethodPost, "match[]=nothing&start=1&end=1", 204, "0 1000 1000"},
		{http.MethodPost, "", 400, "no match[] parameter"},
		{http.MethodPost, "match[]={{", 400, `invalid parameter \"match[]\"`},
		{http.MethodPost, "match[]=" + url.QueryEscape(`{x=~".*"}`), 400, "at least one non-empty matcher"},
		{http.MethodPost, "match[]=a&start=soon", 400, `invalid parameter \"start\"`},
		{http.MethodPost, "match[]=a&start=2&end=1", 400, "must not be before"},
		{http.MethodGet, "match[]=a", 405, "Method Not Allowed"},
	} {
		d.asked = nil
		code, body := ask(c.method, path, c.query)
		if code != c.code || !strings.Contains(body+strings.Join(d.asked, ","), c.want) {
			t.Errorf("%s %s: %d %s, deleted %q; want %d %s", c.method, c.query, code, body, d.asked, c.code, c.want)
		}
		if (code == 204) != (len(d.asked) == 1) {
			t.Errorf("%s %s: %d, but deleted %q", c.method, c.query, code, d.asked)
		}
	}
	d.err = errors.New("the disk is full")
	if code, body := ask(http.MethodPost, path, "match[]=a"); code != 500 || !strings.Contains(body, "delete from 1 series: the disk is full") {
		t.Errorf("a failure: %d %s", code, body)
	}
	d.err = fmt.Errorf("partition 3: %w", store.ErrDeletesWait)
	if code, body := ask(http.MethodPost, path, "match[]=a"); code != 503 || !strings.Contains(body, "too many earlier deletes") {
		t.Errorf("too many deletes: %d %s", code, body)
	}
	if code, body := ask(http.MethodGet, "/api/v1/series/count", "match[]=a&match[]="+url.QueryEscape(`{x=""}`)); code != 200 ||
		!strings.Contains(body, `{"series":3,"match":[{"match":"a","series":1},{"match":"{x=\"\"}","series":3}]}`) {
		t.Errorf("count: %d %s", code, body)
	}
}
