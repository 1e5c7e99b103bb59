package web

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// fake answers as the server's API does, with numbers made up from the time, so
// that the page can be tested and looked at without a server.
type fake struct {
	*httptest.Server
	names map[string][]fakeSeries
	live  chan string // one event, read by whichever connection to /api/v1/live is there

	mu       sync.Mutex
	down     bool     // guarded by mu; every API call answers 503
	requests []string // guarded by mu; paths with their queries
	stats    any      // guarded by mu; the directory's
	cache    any      // guarded by mu; nil for none

	cacheAsked int // guarded by mu; how often the cache's figures were asked for
}

// fakeSeries is a gauge's value, or a counter's or event's rate, at a time in seconds.
type fakeSeries struct {
	labels map[string]string
	kind   string
	at     func(t float64) float64
}

const hostile = `<img src=x onerror="document.title='owned'">`

func newFake(t *testing.T, names map[string][]fakeSeries) *fake {
	f := &fake{names: names, live: make(chan string), stats: fakeDirectory(len(names)), cache: fakeCache(0)}
	mux := http.NewServeMux()
	mux.Handle("/", Handler())
	for path, answer := range map[string]func(*http.Request) any{
		"/api/v1/label/__name__/values":    func(*http.Request) any { return success(f.sortedNames()) },
		"/api/v1/label/{name}/values":      f.labelValues,
		"/api/v1/series":                   f.seriesOf,
		"/api/v1/buckets":                  f.buckets,
		"/api/v1/query_range":              f.queryRange,
		"/api/v1/status":                   func(*http.Request) any { return fakeStatus(len(f.names), f.hasCache()) },
		"/api/v1/status/rejects":           func(*http.Request) any { return success(fakeRejects()) },
		"/api/v1/cache":                    f.cacheAnswer,
		"/api/v1/directory/stats":          f.directoryStats,
		"/api/v1/directory/entries/{name}": fakeEntry,
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { f.answer(w, r, answer) })
	}
	mux.HandleFunc("/api/v1/live", f.stream)
	f.Server = httptest.NewServer(mux)
	t.Cleanup(func() {
		f.CloseClientConnections()
		f.Close()
	})
	return f
}

// apiError is answered in Prometheus's form with status 400, notFound with 404.
type (
	apiError string
	notFound string
)

func success(data any) any { return map[string]any{"status": "success", "data": data} }

func (f *fake) answer(w http.ResponseWriter, r *http.Request, answer func(*http.Request) any) {
	f.mu.Lock()
	down := f.down
	f.requests = append(f.requests, r.URL.String())
	f.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if down {
		w.WriteHeader(http.StatusServiceUnavailable)
		json.NewEncoder(w).Encode(map[string]any{"status": "error", "errorType": "unavailable", "error": "the server is draining"})
		return
	}
	data := answer(r)
	switch text := data.(type) {
	case apiError:
		w.WriteHeader(http.StatusBadRequest)
		data = map[string]any{"status": "error", "errorType": "bad_data", "error": string(text)}
	case notFound:
		w.WriteHeader(http.StatusNotFound)
		data = map[string]any{"status": "error", "errorType": "not_found", "error": string(text)}
	}
	json.NewEncoder(w).Encode(data)
}

func (f *fake) setDown(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

// asked tells how often a path was asked for.
func (f *fake) asked(path string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, request := range f.requests {
		if strings.HasPrefix(request, path+"?") {
			n++
		}
	}
	return n
}

func (f *fake) sortedNames() []string {
	names := make([]string, 0, len(f.names))
	for name := range f.names {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

func (f *fake) labelValues(r *http.Request) any {
	if r.PathValue("name") == "host" {
		return success([]string{"anvil"})
	}
	return success([]string{})
}

var (
	nameMatch  = regexp.MustCompile(`__name__="((?:[^"\\]|\\.)*)"`)
	labelMatch = regexp.MustCompile(`"?([a-zA-Z0-9_.]+)"?="((?:[^"\\]|\\.)*)"`)
)

// selected finds the series of {label="value",…} selectors.
func (f *fake) selected(selectors []string) []fakeSeries {
	var found []fakeSeries
	for _, selector := range selectors {
		name := nameMatch.FindStringSubmatch(selector)
		if name == nil {
			continue
		}
		for _, s := range f.names[name[1]] {
			matches := true
			for _, label := range labelMatch.FindAllStringSubmatch(selector, -1) {
				value, err := strconv.Unquote(`"` + label[2] + `"`)
				matches = matches && err == nil && s.labels[label[1]] == value
			}
			if matches {
				found = append(found, s)
			}
		}
	}
	return found
}

func (f *fake) seriesOf(r *http.Request) any {
	sets := []map[string]string{}
	for _, s := range f.selected(r.URL.Query()["match[]"]) {
		sets = append(sets, s.labels)
	}
	if limit, err := strconv.Atoi(r.URL.Query().Get("limit")); err == nil && len(sets) > limit {
		sets = sets[:limit]
	}
	return success(sets)
}

func times(r *http.Request) (start, end, step float64) {
	start, _ = strconv.ParseFloat(r.URL.Query().Get("start"), 64)
	end, _ = strconv.ParseFloat(r.URL.Query().Get("end"), 64)
	step, _ = strconv.ParseFloat(r.URL.Query().Get("step"), 64)
	return start, end, step
}

func (f *fake) buckets(r *http.Request) any {
	start, end, step := times(r)
	tier, resolution := "10s", 10.0
	if step == 0 {
		step = (end - start) / 1000
	}
	switch {
	case step > 3600 || end-start > 366*86400:
		tier, resolution = "1h", 3600
	case step > 300 || end-start > 10*86400:
		tier, resolution = "5m", 300
	}
	step = max(1, math.Ceil(step/resolution)) * resolution
	result := []any{}
	for _, s := range f.selected(r.URL.Query()["match[]"]) {
		rows := []any{}
		for at := math.Floor(start/step) * step; at < end; at += step {
			if row := s.bucket(at, step); row != nil {
				rows = append(rows, row)
			}
		}
		result = append(result, map[string]any{"metric": s.labels, "kind": s.kind, "buckets": rows})
	}
	columns := []string{"time", "count", "avg", "sdev", "min", "max", "first", "last", "sum", "rate"}
	return success(map[string]any{"tier": tier, "step": step, "columns": columns, "result": result})
}

// bucket is one row, nil where the series has a gap.
func (s fakeSeries) bucket(at, step float64) []any {
	parts := int(min(max(step/10, 1), 12))
	var n, sum, squares float64
	low, high := math.Inf(1), math.Inf(-1)
	for i := range parts {
		v := s.at(at + float64(i)*step/float64(parts))
		if v == gap {
			continue
		}
		n++
		sum, squares = sum+v, squares+v*v
		low, high = math.Min(low, v), math.Max(high, v)
	}
	if n == 0 {
		return nil
	}
	avg := sum / n
	sdev := math.Sqrt(max(0, squares/n-avg*avg))
	row := []any{at, step / 10, number(avg), number(sdev), number(low), number(high), number(s.at(at)), number(s.at(at + step - 1)), number(sum), nil}
	if s.kind != "gauge" {
		row[9] = number(avg)
		row[7] = number(avg * (at - 1.6e9))
	}
	return row
}

const gap = -12345.0

func number(v float64) any {
	switch {
	case math.IsNaN(v):
		return "NaN"
	case math.IsInf(v, 1):
		return "+Inf"
	case math.IsInf(v, -1):
		return "-Inf"
	}
	return v
}

var (
	byLabel   = regexp.MustCompile(`by \((\w+)\)`)
	wordMatch = regexp.MustCompile(`[a-zA-Z_:][\w:.]*`)
)

// queryRange knows no PromQL: it finds a name, and sums or lists its series.
func (f *fake) queryRange(r *http.Request) any {
	expr := r.URL.Query().Get("query")
	start, end, step := times(r)
	if strings.Count(expr, "(") != strings.Count(expr, ")") {
		return apiError("invalid parameter \"query\": 1:" + strconv.Itoa(len(expr)+1) + ": parse error: unclosed left parenthesis")
	}
	var series []fakeSeries
	numerator, _, _ := strings.Cut(expr, " / ")
	for _, word := range slices.Compact(wordMatch.FindAllString(numerator, -1)) {
		series = append(series, f.names[word]...)
	}
	group := byLabel.FindStringSubmatch(expr)
	scale := 1.0
	if strings.HasPrefix(expr, "100 * sum by (mode)") {
		scale = 50 // of two cores
	} else if strings.HasPrefix(expr, "100 *") {
		scale = 100
	}
	result := []any{}
	for _, s := range series {
		labels := map[string]string{}
		for name, value := range s.labels {
			if group == nil && (name != "__name__" || !strings.Contains(expr, "(")) || group != nil && name == group[1] {
				labels[name] = value
			}
		}
		if s.labels["mode"] == "idle" && strings.Contains(expr, `mode!="idle"`) {
			continue
		}
		var values []any
		for at := start; at <= end; at += step {
			if v := s.at(at); v != gap {
				values = append(values, []any{at, strconv.FormatFloat(v*scale, 'g', -1, 64)})
			}
		}
		result = append(result, map[string]any{"metric": labels, "values": values})
		if strings.HasPrefix(expr, "sum(") {
			break
		}
	}
	return success(map[string]any{"resultType": "matrix", "result": result})
}

func (f *fake) stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	for {
		select {
		case event := <-f.live:
			fmt.Fprint(w, event)
			w.(http.Flusher).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

func fakeStatus(names int, cache bool) any {
	partitions := []any{}
	for p := range 8 {
		partitions = append(partitions, map[string]any{
			"partition": p, "series": 18 + p%3, "acknowledged": 48210 + p*17, "applied": 48210 + p*17, "sealed": 47000 + p*11, "headBuckets": 5400 + 91*p,
			"activity": []string{"idle", "merging"}[p/7], "activitySeconds": 12, "rollupLagSeconds": 3720, "waiting": "", "mergeWantsBytes": 0,
		})
	}
	now := time.Now()
	return map[string]any{
		"version": "0.1.0", "uptimeSeconds": 93784.0, "series": names * 3, "points": 184_220_113, "lagSeconds": 0.0123,
		"pointsPerSecond": 1240 + 60*math.Sin(float64(now.UnixMilli())/9e3), "journalBytes": 18 << 20, "directoryBytes": 3 << 20, "memoryBytes": 96 << 20,
		"received": []any{map[string]any{"protocol": "remote_write", "points": 182_000_012}, map[string]any{"protocol": "istatd", "points": 2_220_101}},
		"rejected": 1312, "dropped": []any{map[string]any{"what": "udp", "count": 0}},
		"cache":   cache,
		"notices": []string{"Port 2003 is taken: Graphite lines are not received (--graphite)."},
		"tiers": []any{
			map[string]any{"resolution": "10s", "retention": "10d", "bytes": 412 << 20, "files": 96, "oldest": now.Add(-10 * 24 * time.Hour).UnixMilli()},
			map[string]any{"resolution": "5m", "retention": "1y", "bytes": 233 << 20, "files": 61, "oldest": now.Add(-290 * 24 * time.Hour).UnixMilli()},
			map[string]any{"resolution": "1h", "retention": "6y", "bytes": 31 << 20, "files": 14, "oldest": nil},
		},
		"partitions": partitions,
		"disk": map[string]any{
			"maxBytes": 1 << 30, "bytes": 697 << 20, "freeBytes": 40 << 30, "full": "",
			"droppedEarly": []any{map[string]any{"resolution": "10s", "bytes": 29 << 20}},
		},
		"written": map[string]any{"sealed": 100 << 20, "rolled": 10 << 20, "merged": 120 << 20, "amplification": 2.3},
	}
}

func fakeRejects() any {
	return []any{
		map[string]any{"protocol": "istatd", "reason": "malformed line", "count": 1204, "samples": []any{
			map[string]any{"time": time.Now().Add(-time.Minute), "from": "10.0.3.17:51334", "input": "cpu.idle 12 13 14", "detail": "want 2, 3 or 7 fields, not 4"},
			map[string]any{"time": time.Now().Add(-9 * time.Second), "from": "10.0.3.17:51334", "input": hostile, "detail": "want 2, 3 or 7 fields, not 3"},
		}},
		map[string]any{"protocol": "remote_write", "reason": "too far in the future", "count": 108, "samples": []any{
			map[string]any{"time": time.Now().Add(-time.Hour), "input": `queue_length{instance="web3"}`, "detail": "1 h 0 min ahead of this server's clock"},
		}},
	}
}

// wave is a plausible measurement: a daily rhythm, a faster one, and noise that
// depends on nothing but the seed and the time.
func wave(seed uint64, base, daily, fast, noise float64) func(float64) float64 {
	return func(t float64) float64 {
		s := float64(seed)
		slow := math.Sin(2*math.Pi*t/86400 + s)
		quick := math.Sin(2*math.Pi*t/(700+97*s)+s) * math.Sin(2*math.Pi*t/(233+31*s))
		random := rand.New(rand.NewPCG(seed, uint64(t/10))).NormFloat64()
		return math.Max(0, base+daily*slow+fast*quick+noise*random)
	}
}

func one(name, kind string, at func(float64) float64, labels ...string) fakeSeries {
	set := map[string]string{"__name__": name}
	for i := 0; i < len(labels); i += 2 {
		set[labels[i]] = labels[i+1]
	}
	return fakeSeries{labels: set, kind: kind, at: at}
}

// machine is what the agent sends of a host, with some dotted names and oddities.
func machine() map[string][]fakeSeries {
	names := map[string][]fakeSeries{}
	add := func(s fakeSeries) { names[s.labels["__name__"]] = append(names[s.labels["__name__"]], s) }
	for i, mode := range []string{"user", "system", "iowait", "softirq", "nice", "steal", "idle"} {
		base := []float64{0.42, 0.16, 0.05, 0.02, 0.004, 0, 1.3}[i]
		add(one("host_cpu_seconds_total", "counter", wave(uint64(i), base, base/4, base/2, base/8), "host", "anvil", "mode", mode))
	}
	for i, name := range []string{"host_load1", "host_load5", "host_load15"} {
		add(one(name, "gauge", wave(7, 0.8, 0.2, 0.5/float64(i*i+1), 0.12/float64(3*i*i+1)), "host", "anvil"))
	}
	const gib = 1 << 30
	add(one("host_memory_used_bytes", "gauge", wave(9, 3.1*gib, 0.3*gib, 0.15*gib, 0.03*gib), "host", "anvil"))
	add(one("host_memory_cached_bytes", "gauge", wave(10, 2.2*gib, 0.1*gib, 0.1*gib, 0.01*gib), "host", "anvil"))
	add(one("host_memory_total_bytes", "gauge", func(float64) float64 { return 7.75 * gib }, "host", "anvil"))
	add(one("host_network_receive_bytes_total", "counter", wave(11, 3e5, 1e5, 2e5, 4e4), "host", "anvil", "device", "eth0"))
	add(one("host_network_transmit_bytes_total", "counter", wave(12, 1.2e5, 4e4, 6e4, 2e4), "host", "anvil", "device", "eth0"))
	add(one("host_disk_read_bytes_total", "counter", wave(13, 2e5, 5e4, 2e5, 9e4), "host", "anvil", "device", "sda"))
	add(one("host_disk_written_bytes_total", "counter", wave(14, 9e5, 2e5, 5e5, 2e5), "host", "anvil", "device", "sda"))
	for i, mount := range []string{"/", "/home"} {
		add(one("host_filesystem_used_bytes", "gauge", wave(uint64(20+i), 0.46+0.2*float64(i), 0.02, 0.01, 0), "host", "anvil", "mountpoint", mount))
		add(one("host_filesystem_size_bytes", "gauge", func(float64) float64 { return 1 }, "host", "anvil", "mountpoint", mount))
	}
	add(one("host_processes", "gauge", wave(30, 214, 5, 6, 1), "host", "anvil"))
	for i := range 34 {
		add(one("http_requests_total", "counter", wave(uint64(i), 4+float64(i), 2, 3, 1), "path", fmt.Sprintf("/page/%02d", i), "code", "200", "host", "anvil"))
	}
	add(one("hostile", "gauge", wave(3, 5, 1, 1, 1), "text", hostile))
	add(one("plant.line1.temperature", "gauge", func(t float64) float64 {
		if math.Mod(t, 3600) > 2400 {
			return gap
		}
		return wave(3, 61, 3, 2, 0.4)(t)
	}))
	add(one("plant.line1.pressure", "gauge", func(t float64) float64 {
		switch int(t/10) % 40 {
		case 7:
			return math.NaN()
		case 19:
			return math.Inf(1)
		}
		return wave(4, 2.1, 0.1, 0.1, 0.05)(t)
	}))
	for i, name := range []string{"shop.orders", "shop.checkout.failed", "shop.checkout.done"} {
		add(one(name, "event", wave(uint64(40+i), 3, 1, 2, 1)))
	}
	for _, name := range slices.Sorted(slices.Values([]string{"go_goroutines", "go_gc_duration_seconds", "go_gc_duration_seconds_sum", "go_memstats_alloc_bytes", "go_memstats_heap_bytes", "go_threads"})) {
		add(one(name, "gauge", wave(50, 20, 2, 3, 1)))
	}
	return names
}
