package query

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/util/teststorage"

	"carillon/bucket"
	"carillon/query/querytest"
	"carillon/series"
	"carillon/store"
)

// epoch is a full hour, and a full day.
var epoch = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func at(d time.Duration) time.Time { return epoch.Add(d) }

func defaultTiers() []store.Tier {
	return []store.Tier{
		{Resolution: 10 * time.Second, Retention: 10 * 24 * time.Hour},
		{Resolution: 5 * time.Minute, Retention: 365 * 24 * time.Hour},
		{Resolution: time.Hour, Retention: 6 * 365 * 24 * time.Hour},
	}
}

func newAPI(s *querytest.Store, now time.Time, change ...func(*Config)) *API {
	config := Config{
		Catalogue: s, Buckets: s, Version: "test",
		Now:    func() time.Time { return now },
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	for _, c := range change {
		c(&config)
	}
	return New(config)
}

// evaluate runs a question as the API does, and returns a copy of the value.
func (a *API) evaluate(t testing.TB, q question) (parser.Value, error) {
	t.Helper()
	query, err := a.prepare(t.Context(), q)
	if err != nil {
		return nil, err
	}
	defer query.Close()
	return copied(query.Exec(t.Context()))
}

func copied(result *promql.Result) (parser.Value, error) {
	if result.Err != nil {
		return nil, result.Err
	}
	matrix, ok := result.Value.(promql.Matrix)
	if !ok {
		return result.Value, nil
	}
	kept := make(promql.Matrix, len(matrix))
	for i, s := range matrix {
		kept[i] = promql.Series{Metric: s.Metric, Floats: append([]promql.FPoint(nil), s.Floats...)}
	}
	return kept, nil
}

// both loads the same samples into Prometheus's own store and into one of ours.
type both struct {
	theirs *teststorage.TestStorage
	ours   *querytest.Store
}

func (b *both) add(t testing.TB, set labels.Labels, kind series.Kind, samples []sample) {
	t.Helper()
	appender := b.theirs.Appender(context.Background())
	for _, s := range samples {
		if _, err := appender.Append(0, set, s.T, s.F); err != nil {
			t.Fatal(err)
		}
		b.ours.Add(keyOf(set), kind, s.T, s.F)
	}
	if err := appender.Commit(); err != nil {
		t.Fatal(err)
	}
}

// scraped loads three hours of what a fleet sends every ten seconds, with jitter,
// gaps, resets, NaN, Inf and series that end.
func scraped(t testing.TB) *both {
	b := &both{theirs: teststorage.New(t), ours: querytest.New(defaultTiers()...)}
	random := rand.New(rand.NewPCG(1, 2))
	ticks := func(yield func(i int, time int64)) {
		for i := range 3 * 360 {
			yield(i, epoch.UnixMilli()+int64(i)*10_000+random.Int64N(3000))
		}
	}
	for instance := range 4 {
		for _, code := range []string{"200", "404", "500"} {
			var samples []sample
			total := 0.0
			ticks(func(i int, time int64) {
				if i%(200+40*instance) == 150 {
					total = 0 // restarted
				}
				total += float64(random.IntN(20))
				switch {
				case instance == 2 && i > 300 && i < 400: // away
				case instance == 2 && i == 300, instance == 3 && i == 900:
					samples = append(samples, sample{T: time, F: math.Float64frombits(bucket.StaleNaN)})
				case instance == 3 && i > 900: // gone
				default:
					samples = append(samples, sample{T: time, F: total})
				}
			})
			b.add(t, labels.FromStrings("__name__", "http_requests_total", "job", "api",
				"instance", fmt.Sprint("host", instance), "code", code), series.Counter, samples)
		}
		var gauge []sample
		ticks(func(i int, time int64) {
			value := 1e9 + 100*math.Sin(float64(i)/50) + random.Float64()
			switch {
			case instance == 1 && i%97 == 0:
				value = math.NaN()
			case instance == 3 && i%131 == 0:
				value = math.Inf(1)
			}
			gauge = append(gauge, sample{T: time, F: value})
		})
		b.add(t, labels.FromStrings("__name__", "memory.bytes", "job", "node",
			"instance", fmt.Sprint("host", instance)), series.Gauge, gauge)
		for _, le := range []string{"0.1", "1", "+Inf"} {
			var samples []sample
			total := 0.0
			ticks(func(_ int, time int64) {
				total += float64(random.IntN(5) + len(le))
				samples = append(samples, sample{T: time, F: total})
			})
			b.add(t, labels.FromStrings("__name__", "latency_seconds_bucket",
				"instance", fmt.Sprint("host", instance), "le", le), series.Counter, samples)
		}
	}
	return b
}

// expressions are put together from selectors, functions and modifiers.
func expressions() []string {
	counter, gauge := `http_requests_total`, `{"memory.bytes"}`
	selectors := []string{
		counter, gauge,
		`http_requests_total{code="500"}`, `http_requests_total{code!~"2..|4.."}`,
		`{__name__=~"http.*|memory.*",instance=~"host[12]"}`, `{"memory.bytes",instance!="host3"}`,
		`absent_metric`,
	}
	modifiers := []string{"", " offset 7m", " offset -3m", fmt.Sprintf(" @ %d", epoch.Unix()+5000), " @ start()", " @ end() offset 2m"}
	windows := []string{"1m", "5m", "47m", "2h"}
	functions := []string{
		"rate(%s)", "increase(%s)", "irate(%s)", "idelta(%s)", "delta(%s)", "deriv(%s)", "resets(%s)", "changes(%s)",
		"min_over_time(%s)", "max_over_time(%s)", "sum_over_time(%s)", "count_over_time(%s)", "avg_over_time(%s)",
		"stddev_over_time(%s)", "stdvar_over_time(%s)", "last_over_time(%s)", "present_over_time(%s)",
		"absent_over_time(%s)", "quantile_over_time(0.9, %s)", "predict_linear(%s, 600)",
		"avg_over_time((%s))", "-count_over_time(%s) ^ 2", "1 - avg_over_time(%s) * 2",
	}
	var all []string
	for i, function := range functions {
		for j, selector := range selectors {
			window := windows[(i+j)%len(windows)]
			modifier := modifiers[(i*3+j)%len(modifiers)]
			all = append(all, fmt.Sprintf(function, selector+"["+window+"]"+modifier))
		}
	}
	for i, aggregation := range []string{"sum", "avg", "min", "max", "count", "stddev", "stdvar", "group", "topk(2,", "bottomk(1,", "quantile(0.3,", `count_values("v",`} {
		open := aggregation + "("
		if aggregation[len(aggregation)-1] == ',' {
			open = aggregation
		}
		all = append(all,
			open+"rate("+counter+"[5m]))",
			open+gauge+modifiers[i%3]+")",
			"sum by (instance) ("+open+"avg_over_time("+counter+"[3m])))",
		)
	}
	return append(all,
		counter, gauge, counter+" offset 1h", gauge+" > 1e9", "absent("+gauge+")", "absent(nothing{a=\"b\"})",
		"sum by (instance) (rate(http_requests_total[5m])) / on (instance) group_left sum by (instance) (rate(http_requests_total[10m]))",
		"sum by (code) (rate(http_requests_total{code=~\"5..\"}[5m])) / ignoring (code) group_left sum(rate(http_requests_total[5m]))",
		"http_requests_total and on (instance) {\"memory.bytes\"} > 1e9", "http_requests_total unless http_requests_total{code=\"200\"}",
		"http_requests_total{code=\"200\"} or {\"memory.bytes\"}", "avg_over_time(http_requests_total[5m]) / avg_over_time(http_requests_total[5m] offset 1h)",
		"count_over_time(http_requests_total[5m]) == bool 30", "max_over_time(rate(http_requests_total[5m])[30m:1m])",
		"avg_over_time(sum by (code) (rate(http_requests_total[2m]))[20m:])", "count_over_time(http_requests_total[10m:30s] offset 5m)",
		"sum_over_time(avg_over_time(http_requests_total[1m])[10m:2m])", "stddev_over_time(count_over_time(http_requests_total[1m])[10m:1m] @ end())",
		"histogram_quantile(0.9, sum by (le, instance) (rate(latency_seconds_bucket[5m])))",
		"label_replace(avg_over_time(http_requests_total[5m]), \"host\", \"$1\", \"instance\", \"host(.*)\")",
		"sort_desc(sum by (code) (http_requests_total))", "time() - timestamp(http_requests_total)", "vector(avg_over_time(vector(1)[5m:1m]) > 0)",
		"scalar(avg_over_time(http_requests_total{code=\"500\",instance=\"host0\"}[5m])) + 1", "clamp_max(rate(http_requests_total[5m]), 0.5)",
		"avg(avg_over_time(http_requests_total[5m])) by (code) > 10 < 1e9", "1", "\"text\"", "http_requests_total[1m]", "{\"memory.bytes\"}[2m] offset 10m",
	)
}

// TestSameAsPrometheus compares with Prometheus's engine over its own store.
func TestSameAsPrometheus(t *testing.T) {
	data := scraped(t)
	end := at(3 * time.Hour)
	api := newAPI(data.ours, end)
	engine := promql.NewEngine(promql.EngineOpts{
		MaxSamples: 50_000_000, Timeout: time.Minute, LookbackDelta: lookback,
		NoStepSubqueryIntervalFn: func(int64) int64 { return subqueryStep.Milliseconds() },
		EnableAtModifier:         true, EnableNegativeOffset: true,
	})
	values := 0
	for _, text := range expressions() {
		for _, q := range []question{
			{text: text, start: at(150*time.Minute + 1234*time.Millisecond)},
			{text: text, start: at(70 * time.Minute), end: at(175 * time.Minute), step: 97 * time.Second},
		} {
			got, gotErr := api.evaluate(t, q)
			want, wantErr := stock(t, engine, data.theirs, q)
			if (gotErr != nil) != (wantErr != nil) || gotErr != nil && gotErr.Error() != wantErr.Error() {
				t.Errorf("%s: error %v, want %v", text, gotErr, wantErr)
				continue
			}
			if gotErr == nil {
				values += compare(t, q, got, want)
			}
		}
	}
	t.Logf("%d expressions, %d values", len(expressions()), values)
}

func stock(t testing.TB, engine *promql.Engine, s *teststorage.TestStorage, q question) (parser.Value, error) {
	var query promql.Query
	var err error
	if q.step == 0 {
		query, err = engine.NewInstantQuery(t.Context(), s, nil, q.text, q.start)
	} else {
		query, err = engine.NewRangeQuery(t.Context(), s, nil, q.text, q.start, q.end, q.step)
	}
	if err != nil {
		return nil, err
	}
	defer query.Close()
	return copied(query.Exec(t.Context()))
}

// compare counts the values that were compared.
func compare(t *testing.T, q question, got, want parser.Value) int {
	t.Helper()
	g, w := flatten(got), flatten(want)
	if len(g) != len(w) {
		t.Errorf("%s (step %s): %d values, want %d", q.text, q.step, len(g), len(w))
		return 0
	}
	for key, value := range w {
		if other, ok := g[key]; !ok || !near(other, value) {
			t.Errorf("%s (step %s): %s is %v (there: %v), want %v", q.text, q.step, key, other, ok, value)
			return 0
		}
	}
	return len(w)
}

func flatten(value parser.Value) map[string]float64 {
	flat := make(map[string]float64)
	switch v := value.(type) {
	case promql.Matrix:
		for _, s := range v {
			for _, p := range s.Floats {
				flat[fmt.Sprint(s.Metric, "@", p.T)] = p.F
			}
		}
	case promql.Vector:
		for _, s := range v {
			flat[fmt.Sprint(s.Metric, "@", s.T)] = s.F
		}
	default:
		flat[value.String()] = 0
	}
	return flat
}

// near allows for the order of additions: the engine adds sample by sample, with
// compensation, where a bucket has its sum already.
func near(a, b float64) bool {
	if math.IsNaN(a) || math.IsNaN(b) || math.IsInf(a, 0) || math.IsInf(b, 0) {
		return a == b || math.IsNaN(a) && math.IsNaN(b)
	}
	return math.Abs(a-b) <= 1e-9*max(1e-3, math.Abs(a), math.Abs(b))
}
