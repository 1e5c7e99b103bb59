package query

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/prometheus/prometheus/promql/parser"

	"carillon/bucket"
	"carillon/query/querytest"
	"carillon/series"
	"carillon/store"
)

// TestHTTP runs the transcripts under testdata/http. Times are seconds after
// the start of 2026-03-01.
//
//	load [kind=counter]      lines of: selector time:value …
//	describe                 lines of: family type unit help …
//	get path [form of the query, one key=value a line]
//	post path                the same
func TestHTTP(t *testing.T) {
	datadriven.Walk(t, "testdata/http", func(t *testing.T, file string) {
		s := querytest.New(
			store.Tier{Resolution: 10 * time.Second, Retention: time.Hour},
			store.Tier{Resolution: time.Minute, Retention: 24 * time.Hour},
		)
		mux := http.NewServeMux()
		newAPI(s, at(time.Hour), func(c *Config) { c.Limits = Limits{Series: 3} }).Register(mux)
		datadriven.RunTest(t, file, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "load":
				loadLines(t, s, d)
				return ""
			case "describe":
				for _, line := range strings.Split(d.Input, "\n") {
					f := strings.SplitN(line, " ", 4)
					s.Describe(series.Metadata{Family: f[0], Type: f[1], Unit: f[2], Help: f[3]})
				}
				return ""
			case "get", "post":
				return request(t, mux, d)
			}
			t.Fatalf("no command %q", d.Cmd)
			return ""
		})
	})
}

func loadLines(t *testing.T, s *querytest.Store, d *datadriven.TestData) {
	kind := series.Gauge
	if d.HasArg("kind") {
		var name string
		d.ScanArgs(t, "kind", &name)
		kind = map[string]series.Kind{"counter": series.Counter, "event": series.Event}[name]
	}
	for _, line := range strings.Split(d.Input, "\n") {
		selector, samples, _ := strings.Cut(line, " ")
		set, err := parser.NewParser(parser.Options{}).ParseMetric(selector)
		if err != nil {
			t.Fatal(err)
		}
		for _, field := range strings.Fields(samples) {
			seconds, text, _ := strings.Cut(field, ":")
			ms, err := strconv.ParseFloat(seconds, 64)
			value := math.Float64frombits(bucket.StaleNaN)
			if err == nil && text != "stale" {
				value, err = strconv.ParseFloat(text, 64)
			}
			if err != nil {
				t.Fatal(err)
			}
			s.Add(keyOf(set), kind, epoch.UnixMilli()+int64(ms*1000), value)
		}
	}
}

// request sends what a command says and returns status and body, a line each.
// Times in the form with a sign are relative to the epoch of the test.
func request(t *testing.T, mux *http.ServeMux, d *datadriven.TestData) string {
	form := url.Values{}
	for _, line := range strings.Split(d.Input, "\n") {
		if key, text, ok := strings.Cut(line, "="); ok {
			if seconds, err := strconv.ParseFloat(text, 64); err == nil && (text[0] == '+' || text[0] == '-') && key != "limit" {
				text = strconv.FormatFloat(float64(epoch.Unix())+seconds, 'f', -1, 64)
			}
			form.Add(key, text)
		}
	}
	r := httptest.NewRequest(http.MethodGet, d.CmdArgs[0].Key+"?"+form.Encode(), nil)
	if d.Cmd == "post" {
		r = httptest.NewRequest(http.MethodPost, d.CmdArgs[0].Key, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return fmt.Sprintf("%d %s\n%s\n", w.Code, w.Header().Get("Content-Type"), strings.TrimSpace(w.Body.String()))
}

func get(t *testing.T, api *API, path string, form url.Values) (int, string) {
	t.Helper()
	mux := http.NewServeMux()
	api.Register(mux)
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path+"?"+form.Encode(), nil))
	return w.Code, w.Body.String()
}

// TestLimits: an error says which limit was met, and its value.
func TestLimits(t *testing.T) {
	s := querytest.New(defaultTiers()...)
	for name := range 5 {
		load(t, s, fmt.Sprint("x", name), series.Gauge, walk(epoch, 360, func(i int) float64 { return float64(i) }))
	}
	for _, c := range []struct {
		name   string
		limits Limits
		path   string
		form   url.Values
		status int
		want   string
	}{
		{"series", Limits{Series: 4}, "query", url.Values{"query": {`{__name__=~"x."}`}}, 422, "4 series a selector; one of its selectors matches 5"},
		{"series of buckets", Limits{Series: 4}, "buckets", url.Values{"match[]": {`{__name__=~"x."}`}}, 422, "4 series a selector"},
		{"samples", Limits{Samples: 100}, "query", url.Values{"query": {"sum_over_time(x0[1h] @ end())"}}, 422, "the limit is 100 samples a query"},
		{"bytes", Limits{Bytes: 1000}, "query", url.Values{"query": {"sum_over_time(x0[1h])"}}, 422, "1000 bytes read by one query"},
		{"bytes of buckets", Limits{Bytes: 1000}, "buckets", url.Values{"match[]": {"x0"}}, 422, "1000 bytes read by one query"},
		{"bytes of the spread", Limits{Bytes: 1000}, "query", url.Values{"query": {"stddev_over_time(x0[1h])"}}, 422, "1000 bytes read by one query"},
		{"points", Limits{Points: 50}, "query_range", url.Values{"query": {"x0"}, "start": {"0"}, "end": {"51"}, "step": {"1"}}, 400, "exceeded maximum resolution of 50 points"},
		{"points of buckets", Limits{Points: 50}, "buckets", url.Values{"match[]": {"x0"}, "step": {"10"}}, 400, "exceeded maximum resolution of 50 points"},
		{"text", Limits{}, "query", url.Values{"query": {"1" + strings.Repeat("+1", maxQueryBytes/2)}}, 400, "longer than the limit of 65536"},
		{"time", Limits{Timeout: time.Nanosecond}, "query", url.Values{"query": {"x0"}}, 503, "the limit is 1ns a query"},
	} {
		api := newAPI(s, at(time.Hour), func(config *Config) { config.Limits = c.limits })
		status, body := get(t, api, "/api/v1/"+c.path, c.form)
		if status != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d %s, want %d and %q", c.name, status, body, c.status, c.want)
		}
	}
}

// TestConcurrentQueries: more queries than may run wait, and say so if it is too
// long for them.
func TestConcurrentQueries(t *testing.T) {
	s := querytest.New(defaultTiers()...)
	api := newAPI(s, epoch, func(c *Config) { c.Limits = Limits{Concurrent: 1} })
	leave, err := api.enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	form := url.Values{"query": {"1"}, "timeout": {"1ms"}}
	if status, body := get(t, api, "/api/v1/query", form); status != 503 || !strings.Contains(body, "one of the 1 queries that run at a time") {
		t.Errorf("%d %s", status, body)
	}
	leave()
	for range 3 { // each leaves again, failed ones too
		if status, body := get(t, api, "/api/v1/query", url.Values{"query": {"1"}}); status != 200 {
			t.Errorf("%d %s", status, body)
		}
		if status, body := get(t, api, "/api/v1/query", url.Values{"query": {`x{__column__="y"}`}}); status != 422 {
			t.Errorf("%d %s", status, body)
		}
	}
}

func TestFailingStore(t *testing.T) {
	s := querytest.New(defaultTiers()...)
	s.Add(named(t, "x"), series.Gauge, epoch.UnixMilli(), 1)
	api := newAPI(s, epoch)
	s.Fail(errors.New("disk is on fire"))
	for path, form := range map[string]url.Values{
		"/api/v1/query":   {"query": {"x"}},
		"/api/v1/buckets": {"match[]": {"x"}},
	} {
		status, body := get(t, api, path, form)
		if status != 500 || !strings.Contains(body, `"errorType":"internal"`) || !strings.Contains(body, "disk is on fire") {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	s.Fail(context.Canceled)
	if status, body := get(t, api, "/api/v1/query", url.Values{"query": {"x"}}); status != 503 || !strings.Contains(body, `"errorType":"canceled"`) {
		t.Errorf("%d %s", status, body)
	}
}
