package query

import (
	"fmt"
	"math"
	"net/url"
	"strings"
	"testing"
	"time"

	"carillon/bucket"
	"carillon/query/querytest"
	"carillon/series"
)

// TestGroups: an aggregation around a window comes to the same, to the last digit, as one that
// the engine does alone, which a plus sign between them makes it do; whatever the values are, and
// where series begin, end or have gaps.
func TestGroups(t *testing.T) {
	s := querytest.New(defaultTiers()...)
	odd := []float64{math.Inf(1), math.Inf(-1), math.NaN(), math.MaxFloat64, math.Float64frombits(bucket.StaleNaN)}
	for i := range 12 {
		samples := walk(epoch.Add(time.Duration(i)*time.Minute), 100+10*i, func(n int) float64 {
			if i%4 == 3 && n%40 == 3*i {
				return odd[(n/40+i/4)%len(odd)]
			}
			return math.Sin(float64(n*i)) * 1e3
		})
		samples = append(samples[:50], samples[60+i:]...)
		for _, x := range samples {
			key, err := series.NewKey([]series.Label{{Name: "__name__", Value: "x"}, {Name: "a", Value: fmt.Sprint(i % 3)}, {Name: "b", Value: fmt.Sprint(i)}})
			if err != nil {
				t.Fatal(err)
			}
			s.Add(key, series.Gauge, x.T, x.F)
		}
	}
	api := newAPI(s, at(time.Hour))
	ask := func(text string) string {
		status, body := get(t, api, "/api/v1/query_range", url.Values{
			"query": {text}, "start": {seconds(epoch.Add(-time.Minute))}, "end": {seconds(epoch.Add(time.Hour))}, "step": {"17"},
		})
		if status != 200 || strings.Count(body, "[") < 20 {
			t.Fatalf("%s: %d %s", text, status, body)
		}
		return body
	}
	for _, op := range []string{"sum", "avg", "min", "max"} {
		for _, by := range []string{"", "by (a)", "by (a, none)", "without (b)", "without (a)", "by (__name__)"} {
			for _, function := range []string{"sum_over_time", "max_over_time", "delta"} {
				format := op + " " + by + " (%s" + function + "(x[1m] offset 30s))"
				if got, want := ask(fmt.Sprintf(format, "")), ask(fmt.Sprintf(format, "+")); got != want {
					t.Errorf("%s: got %s, want %s", fmt.Sprintf(format, ""), got, want)
				}
			}
		}
	}
}

func seconds(at time.Time) string { return fmt.Sprint(at.Unix()) }
