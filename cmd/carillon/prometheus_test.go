package main

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"

	"carillon/require"
)

const (
	scrapeEvery = 10 * time.Second
	scrapeFor   = 3 * time.Minute
	comparisons = 200
	rangeBack   = time.Minute // how far back ranges are asked for; windows and offsets reach 80 s further
)

const prometheusConfig = `
global:
  scrape_interval: %s
scrape_configs:
  - job_name: node
    static_configs: [{targets: [%q]}]
  - job_name: prometheus
    static_configs: [{targets: [%q]}]
remote_write:
  - url: %s/api/v1/write
    queue_config: {batch_send_deadline: 1s}
`

// Debian's Prometheus is a 2.x, Carillon's engine a 3.x. Two things changed
// between them, and the questions keep clear of both: a window was closed at its
// left end too, so no window begins where a sample lies; and a young counter was
// extrapolated towards zero in another way, so no window reaches back before the
// first scrape.

// TestAnswersAsPrometheusDoes lets a real Prometheus scrape a real node exporter
// and itself, and write to Carillon; then both are asked the same questions.
func TestAnswersAsPrometheusDoes(t *testing.T) {
	paths := make(map[string]string)
	for _, program := range []string{"prometheus", "prometheus-node-exporter"} {
		path, err := exec.LookPath(program)
		require.Feature(t, "prometheus", err == nil, program+" is not installed")
		paths[program] = path
	}
	if !require.Wanted("prometheus") {
		t.Skip("takes minutes: set CARILLON_REQUIRE=prometheus")
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)

	s := startServer(t, tempData(t), "--agent=false", "--seal-every", "45s")
	exporter, prometheus := freePort(t), freePort(t)
	start(t, paths["prometheus-node-exporter"], "--web.listen-address="+exporter)
	config := filepath.Join(t.TempDir(), "prometheus.yml")
	if err := os.WriteFile(config, fmt.Appendf(nil, prometheusConfig, scrapeEvery, exporter, prometheus, s.URL), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, paths["prometheus"], "--config.file="+config, "--storage.tsdb.path="+t.TempDir(), "--web.listen-address="+prometheus)
	reference := "http://" + prometheus
	eventually(t, "prometheus starts", func() error {
		response, err := http.Get(reference + "/-/ready")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return errors.New(response.Status)
		}
		return nil
	})

	<-time.After(scrapeFor) // this is the experiment, not a synchronisation
	at := time.Now().Truncate(time.Second)
	var samples model.Matrix
	eventually(t, "everything scraped is written", func() (err error) {
		samples, err = sameSamples(reference, s.URL, at)
		return err
	})
	compareAll(t, reference, s.URL, besideSamples(at, samples), rand.New(rand.NewPCG(seed, 0)))
}

// start runs a program until the test ends.
func start(t *testing.T, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", program, log.Bytes()[max(0, log.Len()-2000):])
		}
	})
}

// sameSamples compares all samples of the last ten minutes, to the bit.
func sameSamples(reference, ours string, at time.Time) (model.Matrix, error) {
	q := url.Values{"query": {`{job=~".+"}[10m]`}, "time": {seconds(at)}}
	var want, got model.Matrix
	if err := errors.Join(get(reference, "/api/v1/query", q, &want), get(ours, "/api/v1/query", q, &got)); err != nil {
		return nil, err
	}
	if difference := differ(want, got, same); difference != "" {
		return nil, errors.New(difference)
	}
	if len(want) == 0 {
		return nil, errors.New("nothing yet")
	}
	return want, nil
}

// besideSamples moves a time by some milliseconds, so that neither a sample nor a step of
// a subquery, which are aligned to whole seconds, lies a whole number of seconds from it.
func besideSamples(at time.Time, samples model.Matrix) time.Time {
	taken := map[int64]bool{0: true}
	for _, s := range samples {
		for _, v := range s.Values {
			taken[int64(v.Timestamp)%1000] = true
		}
	}
	for taken[at.UnixMilli()%1000] {
		at = at.Add(-time.Millisecond)
	}
	return at
}

// names sorts what there is into gauges and counters.
func names(t *testing.T, base string) (gauges, counters []string) {
	t.Helper()
	var matrix model.Vector
	if err := get(base, "/api/v1/query", url.Values{"query": {`count by (__name__) ({job=~".+"})`}}, &matrix); err != nil {
		t.Fatal(err)
	}
	for _, s := range matrix {
		name := string(s.Metric[model.MetricNameLabel])
		if strings.HasSuffix(name, "_total") || strings.HasSuffix(name, "_count") || strings.HasSuffix(name, "_bucket") || strings.HasSuffix(name, "_sum") {
			counters = append(counters, name)
		} else {
			gauges = append(gauges, name)
		}
	}
	sort.Strings(gauges)
	sort.Strings(counters)
	return gauges, counters
}

// question is one query, instant or over a range.
type question struct {
	expr string
	step time.Duration // 0: instant
}

// questions makes n of them from the series there are. %g is a gauge, %c a
// counter, %d a duration, %o an offset. None depends on the order of equal values
// (topk asks for all), which nobody promises.
func questions(gauges, counters []string, n int, random *rand.Rand) []question {
	templates := []string{
		`%g`, `%c`, `rate(%c[%d])`, `increase(%c[%d])`, `irate(%c[%d])`, `delta(%g[%d])`, `idelta(%g[%d])`, `deriv(%g[%d])`,
		`avg_over_time(%g[%d])`, `min_over_time(%g[%d])`, `max_over_time(%g[%d])`, `sum_over_time(%g[%d])`,
		`count_over_time(%g[%d])`, `stddev_over_time(%g[%d])`, `stdvar_over_time(%g[%d])`, `last_over_time(%g[%d])`,
		`quantile_over_time(0.9, %g[%d])`, `changes(%g[%d])`, `resets(%c[%d])`, `present_over_time(%g[%d])`,
		`sum by (job) (rate(%c[%d]))`, `avg without (instance) (%g)`, `max by (__name__) (%g)`, `count({job="node"})`,
		`topk(1000, %g)`, `stddev(%g)`, `quantile(0.5, %g)`, `count_values("v", %g)`, `sum by (job) (%g) / count by (job) (%g)`,
		`%g * 2 + 1`, `%g > bool 0`, `%g and %g`, `%g or %g`, `%g unless on (instance) %g`, `-abs(%g)`, `%g ^ 0.5`,
		`%g{instance=~"127.+"}`, `%g{job!="node"}`, `{__name__=~"node_cpu.+",mode!~"idle|user"}`, `rate({__name__=~"node_network_.*_total",device=~"lo|eth."}[%d])`,
		`%g offset %o`, `rate(%c[%d] offset %o)`, `max_over_time(rate(%c[30s])[30s:15s])`, `avg_over_time(avg_over_time(%g[30s])[45s:20s])`,
		`absent(%g)`, `absent(no_such_metric)`, `label_replace(%g, "x", "$1", "instance", "(.*):.*")`, `clamp(%g, 0, 10)`,
		`histogram_quantile(0.9, sum by (le) (rate(prometheus_http_request_duration_seconds_bucket[%d])))`,
		`sum(%c) by (job) / ignoring (job) group_left sum(%c)`, `sort_desc(%g)`, `time() - timestamp(%g)`, `predict_linear(%g[%d], 60)`,
	}
	pick := func(from []string) string { return from[random.IntN(len(from))] }
	list := make([]question, n)
	for i := range list {
		expr := templates[i%len(templates)]
		for placeholder, from := range map[string][]string{
			"%g": gauges, "%c": counters, "%d": {"25s", "30s", "45s", "1m"}, "%o": {"15s", "20s"},
		} {
			for strings.Contains(expr, placeholder) {
				expr = strings.Replace(expr, placeholder, pick(from), 1)
			}
		}
		list[i] = question{expr: expr}
		if random.IntN(2) == 0 {
			list[i].step = []time.Duration{7 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second}[random.IntN(4)]
		}
	}
	return list
}

func compareAll(t *testing.T, reference, ours string, at time.Time, random *rand.Rand) {
	gauges, counters := names(t, reference)
	empty := 0
	for _, q := range questions(gauges, counters, comparisons, random) {
		want, err := askFor(reference, q, at)
		got, ourErr := askFor(ours, q, at)
		switch {
		case (err == nil) != (ourErr == nil):
			t.Errorf("%s (step %s): Prometheus says %v, Carillon %v", q.expr, q.step, err, ourErr)
		case err == nil:
			if difference := differ(want, got, near); difference != "" {
				t.Errorf("%s (step %s): %s", q.expr, q.step, difference)
			}
			if len(want) == 0 {
				empty++
			}
		}
	}
	t.Logf("%d questions, %d with an empty answer, over %d gauges and %d counters", comparisons, empty, len(gauges), len(counters))
	if empty > comparisons/3 {
		t.Errorf("%d of %d answers are empty: that compares nothing", empty, comparisons)
	}
}

// askFor is the answer as a matrix; an instant one has a sample a series.
func askFor(base string, q question, at time.Time) (matrix model.Matrix, err error) {
	values := url.Values{"query": {q.expr}}
	if q.step > 0 {
		values.Set("start", seconds(at.Add(-rangeBack)))
		values.Set("end", seconds(at))
		values.Set("step", seconds(time.Unix(0, int64(q.step))))
		return matrix, get(base, "/api/v1/query_range", values, &matrix)
	}
	values.Set("time", seconds(at))
	var vector model.Vector
	if err := get(base, "/api/v1/query", values, &vector); err != nil {
		return nil, err
	}
	for _, s := range vector {
		matrix = append(matrix, &model.SampleStream{Metric: s.Metric, Values: []model.SamplePair{{Timestamp: s.Timestamp, Value: s.Value}}})
	}
	return matrix, nil
}

// differ says how two answers differ, but for the order of series.
func differ(want, got model.Matrix, equal func(a, b float64) bool) string {
	if len(want) != len(got) {
		return fmt.Sprintf("Prometheus answers with %d series, Carillon with %d", len(want), len(got))
	}
	bySeries := make(map[string]*model.SampleStream, len(got))
	for _, s := range got {
		bySeries[s.Metric.String()] = s
	}
	for _, w := range want {
		g := bySeries[w.Metric.String()]
		if g == nil {
			return "Carillon misses " + w.Metric.String()
		}
		if len(w.Values) != len(g.Values) {
			return fmt.Sprintf("%s: Prometheus has %d points, Carillon %d", w.Metric, len(w.Values), len(g.Values))
		}
		for i := range w.Values {
			if w.Values[i].Timestamp != g.Values[i].Timestamp || !equal(float64(w.Values[i].Value), float64(g.Values[i].Value)) {
				return fmt.Sprintf("%s: Prometheus has %v, Carillon %v", w.Metric, w.Values[i], g.Values[i])
			}
		}
	}
	return ""
}

func same(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }

// near allows for rounding.
func near(a, b float64) bool {
	return same(a, b) || math.Abs(a-b) <= 1e-9*max(math.Abs(a), math.Abs(b))
}
