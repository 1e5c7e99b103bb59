package main

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/prompb"
)

var (
	benchSeries = flag.Int("bench.series", 2000, "series that BenchmarkServer sends")
	benchSteps  = flag.Int("bench.steps", 10, "points a series, 10 s apart, that BenchmarkServer sends")
)

const (
	perRequest  = 5000 // points
	ticksPerSec = 100  // USER_HZ, of /proc/PID/stat
)

// BenchmarkServer measures a real server: mixed host metrics with five labels by
// remote write, in an order reshuffled every step. Every figure is of the server
// alone; the generator runs in this process on the same cores.
//
//	go test ./cmd/carillon -run '^$' -bench Server -benchtime 1x -bench.series 100000 -bench.steps 60
func BenchmarkServer(b *testing.B) {
	for b.Loop() {
		measureServer(b, *benchSeries, *benchSteps)
	}
}

func measureServer(b *testing.B, numSeries, steps int) {
	data := filepath.Join(b.TempDir(), "data")
	traffic := newTraffic(numSeries, time.Now().Add(-time.Duration(steps+1)*10*time.Second).Truncate(10*time.Second))
	s := startServer(b, data, "--agent=false", "--seal-every", "1h")

	before, began := cpuSeconds(b, s), time.Now()
	traffic.send(b, s.URL)
	b.ReportMetric((cpuSeconds(b, s)-before)/float64(numSeries)*1e6, "µs_cpu/new_series")
	b.ReportMetric(time.Since(began).Seconds()/float64(numSeries)*1e6, "µs/new_series")

	before, began = cpuSeconds(b, s), time.Now()
	var sending time.Duration
	for range steps {
		sending += traffic.send(b, s.URL)
	}
	points := float64(numSeries * steps)
	b.ReportMetric((cpuSeconds(b, s)-before)/points*1e6, "cpu_s/Mpoint")
	b.ReportMetric(points/time.Since(began).Seconds(), "points/s")
	b.ReportMetric(points/sending.Seconds(), "points/s_sending")
	b.ReportMetric(float64(status(b, s, "VmHWM"))/1024, "peak_MiB")
	if got := storedPoints(b, s.URL); got != float64(numSeries*(steps+1)) {
		b.Fatalf("%v points are stored, %d were sent", got, numSeries*(steps+1))
	}

	s.kill()
	began = time.Now()
	s = startServer(b, data, "--agent=false", "--seal-every", "1h")
	b.ReportMetric(time.Since(began).Seconds(), "replay_s")
	if got := storedPoints(b, s.URL); got != float64(numSeries*(steps+1)) {
		b.Fatalf("after a kill %v points are stored, %d were sent", got, numSeries*(steps+1))
	}
	began = time.Now()
	if err := s.stop(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(time.Since(began).Seconds(), "seal_s")
	b.ReportMetric(float64(bytesIn(b, filepath.Join(data, "store")))/float64(numSeries*(steps+1)), "bytes/point")
}

// storedPoints counts what the server holds.
func storedPoints(b *testing.B, base string) float64 {
	total := 0.0
	for shard := range 16 { // a query a part: none is over the limits
		var result []struct{ Value [2]any }
		q := map[string][]string{"query": {fmt.Sprintf(`sum(count_over_time({__name__=~"bench_.+",shard="%d"}[1d]))`, shard)}}
		if err := get(base, "/api/v1/query", q, &result); err != nil {
			b.Fatal(err)
		}
		if len(result) == 1 {
			n, err := strconv.ParseFloat(result[0].Value[1].(string), 64)
			if err != nil {
				b.Fatal(err)
			}
			total += n
		}
	}
	return total
}

// traffic generates the same series step by step: 40 % rising counters, 30 %
// walks with two decimals, 20 % constants, 10 % noise with three decimals.
type traffic struct {
	random *rand.Rand
	series []prompb.TimeSeries
	values []float64
	order  []int
	at     time.Time
}

func newTraffic(numSeries int, at time.Time) *traffic {
	t := &traffic{random: rand.New(rand.NewPCG(1, 1)), at: at}
	for i := range numSeries {
		name := [...]string{"bench_requests_total", "bench_bytes_total", "bench_errors_total", "bench_ticks_total",
			"bench_load", "bench_temperature", "bench_queue", "bench_limit", "bench_info", "bench_noise"}[i%10]
		t.series = append(t.series, prompb.TimeSeries{
			Labels: []prompb.Label{
				{Name: "__name__", Value: name}, {Name: "host", Value: fmt.Sprintf("web-%05d", i/100)},
				{Name: "instance", Value: fmt.Sprint(i % 100)}, {Name: "region", Value: "eu-1"}, {Name: "shard", Value: fmt.Sprint(i % 16)},
			},
			Samples: make([]prompb.Sample, 1),
		})
		t.values = append(t.values, math.Round(t.random.Float64()*1e6))
		t.order = append(t.order, i)
	}
	return t
}

func (t *traffic) next(i int) float64 {
	switch kind := i % 10; {
	case kind < 4:
		t.values[i] += math.Round(t.random.ExpFloat64() * 1000)
	case kind < 7:
		t.values[i] = math.Round(t.values[i]*100+t.random.NormFloat64()*50) / 100
	case kind == 9:
		t.values[i] = math.Round(t.random.Float64()*1e6) / 1000
	}
	return t.values[i]
}

// send posts one step of all series and returns how long the server took.
func (t *traffic) send(b *testing.B, base string) (sending time.Duration) {
	t.random.Shuffle(len(t.order), func(i, j int) { t.order[i], t.order[j] = t.order[j], t.order[i] })
	for order := t.order; len(order) > 0; {
		n := min(len(order), perRequest)
		var request prompb.WriteRequest
		for _, i := range order[:n] {
			t.series[i].Samples[0] = prompb.Sample{Timestamp: t.at.UnixMilli(), Value: t.next(i)}
			request.Timeseries = append(request.Timeseries, t.series[i])
		}
		order = order[n:]
		raw, err := request.Marshal()
		if err != nil {
			b.Fatal(err)
		}
		body := snappy.Encode(nil, raw)
		began := time.Now()
		if err := post(base, body); err != nil {
			b.Fatal(err)
		}
		sending += time.Since(began)
	}
	t.at = t.at.Add(10 * time.Second)
	return sending
}

// cpuSeconds is the user and system time the server has used.
func cpuSeconds(b *testing.B, s *serverProcess) float64 {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		b.Skip("no /proc: ", err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	ticks := 0.0
	for _, f := range fields[11:13] { // utime and stime, see proc(5)
		n, err := strconv.ParseFloat(f, 64)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return ticks / ticksPerSec
}

// status is a figure of /proc/PID/status, in KiB.
func status(b *testing.B, s *serverProcess, name string) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return n
		}
	}
	b.Fatalf("no %s", name)
	return 0
}

func bytesIn(b *testing.B, dir string) (total int64) {
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return total
}
