package receive

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/prompb"

	"carillon/journal"
	"carillon/rejects"
	"carillon/series"
)

// sink is a journal that acknowledges at once and keeps nothing.
type sink struct{ points int }

func (*sink) Announce() {}
func (*sink) Withdraw() {}

func (s *sink) Append(_ context.Context, parts []*journal.Part) error {
	for _, part := range parts {
		s.points += part.Points()
	}
	return nil
}

// workload is a fleet's counters, all of them known to the directory, sent in
// another random order each step of 10 s.
type workload struct {
	writer *Writer
	sink   *sink
	random *rand.Rand
	labels [][]prompb.Label // of host metrics, five a series
	names  []string         // the same as Graphite writes it
	order  []int
	now    int64 // milliseconds
}

const perRequest = 5000 // points

func newWorkload(tb testing.TB, count int) *workload {
	tb.Helper()
	directory := newFakeDirectory()
	w := &workload{sink: new(sink), random: rand.New(rand.NewPCG(1, 2)), now: start}
	for i := range count {
		mode := [...]string{"idle", "user", "system", "iowait", "steal"}[i%5]
		cpu := strconv.Itoa(i / 5 % 16)
		host := fmt.Sprintf("host%05d.fra1.example.net:9100", i/80)
		w.labels = append(w.labels, []prompb.Label{
			{Name: "__name__", Value: "node_cpu_seconds_total"}, {Name: "cpu", Value: cpu},
			{Name: "instance", Value: host}, {Name: "job", Value: "node"}, {Name: "mode", Value: mode},
		})
		w.names = append(w.names, fmt.Sprintf("hosts.host%05d.cpu.%s.%s", i/80, cpu, mode))
		w.order = append(w.order, i)
		var list []series.Label
		for _, l := range w.labels[i] {
			list = append(list, series.Label{Name: l.Name, Value: l.Value})
		}
		for _, labels := range [][]series.Label{list, named(w.names[i])} {
			key, err := series.NewKey(labels)
			if err != nil {
				tb.Fatal(err)
			}
			directory.define(key.Partition(testPartitions), series.Definition{Key: key})
		}
	}
	registry := prometheus.NewRegistry()
	w.writer = NewWriter(Config{
		Directory: directory, Journal: w.sink, Rejects: rejects.New(registry, time.Now), Now: time.Now,
		Registerer: registry, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	return w
}

// step shuffles the series and calls send for each request's worth of them.
func (w *workload) step(send func(members []int)) {
	w.now += 10_000
	w.random.Shuffle(len(w.order), func(i, j int) { w.order[i], w.order[j] = w.order[j], w.order[i] })
	for at := 0; at < len(w.order); at += perRequest {
		send(w.order[at:min(at+perRequest, len(w.order))])
	}
}

// bodies are the remote write requests of some steps.
func (w *workload) bodies(tb testing.TB, steps int) (list [][]byte) {
	for range steps {
		w.step(func(members []int) {
			var request prompb.WriteRequest
			for _, i := range members {
				request.Timeseries = append(request.Timeseries, prompb.TimeSeries{
					Labels: w.labels[i], Samples: []prompb.Sample{{Timestamp: w.now, Value: w.value(i)}},
				})
			}
			body, err := request.Marshal()
			if err != nil {
				tb.Fatal(err)
			}
			list = append(list, snappy.Encode(nil, body))
		})
	}
	return list
}

func (w *workload) value(i int) float64 { return float64(w.now/10_000+int64(i)*100) / 100 }

// blocks are the lines of some steps, as the format writes one.
func (w *workload) blocks(steps int, format func(i int) string) (list [][]byte) {
	for range steps {
		w.step(func(members []int) {
			var block bytes.Buffer
			for _, i := range members {
				block.WriteString(format(i))
			}
			list = append(list, block.Bytes())
		})
	}
	return list
}

func (w *workload) graphite(i int) string {
	return fmt.Sprintf("%s %.2f %d\n", w.names[i], w.value(i), w.now/1000)
}

func (w *workload) istatd(i int) string {
	return fmt.Sprintf("%s %d %.2f\n", w.names[i], w.now/1000, w.value(i))
}

func (w *workload) istatdNow(i int) string {
	return fmt.Sprintf("%s %.2f\n", w.names[i], w.value(i))
}

func (w *workload) istatdBucket(i int) string {
	return fmt.Sprintf("%s %d 30 350 5 15 3\n", w.names[i], w.now/1000)
}

// sendBlock hands a block to a connection's buffer as the socket would.
func sendBlock(tb testing.TB, l *lines, b *lineBuffer, block []byte) {
	visit := func(line []byte, whole bool) { l.add(line) }
	for len(block) > 0 {
		n := copy(b.space(), block)
		block = block[n:]
		b.take(n, visit)
		if err := l.commit(context.Background()); err != nil {
			tb.Fatal(err)
		}
	}
}

const benchmarkSeries = 100_000

func BenchmarkRemoteWrite(b *testing.B) {
	w := newWorkload(b, benchmarkSeries)
	rw := NewRemoteWrite(w.writer)
	measure(b, w, w.bodies(b, 3), func(body []byte) {
		if _, err := rw.WriteRemote(b.Context(), body); err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkLearn sends each series, which the directory knows, for the first time.
func BenchmarkLearn(b *testing.B) {
	w := newWorkload(b, 5*benchmarkSeries)
	bodies := w.bodies(b, 1)
	rw := NewRemoteWrite(w.writer)
	for b.Loop() {
		w.writer.spellings = newSpellings(0)
		for _, body := range bodies {
			if _, err := rw.WriteRemote(b.Context(), body); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(w.labels)), "ns/series")
}

func BenchmarkGraphite(b *testing.B) {
	w := newWorkload(b, benchmarkSeries)
	benchmarkLines(b, w, ProtocolGraphite, w.graphite)
}

func BenchmarkIstatd(b *testing.B) {
	w := newWorkload(b, benchmarkSeries)
	b.Run("timed", func(b *testing.B) { benchmarkLines(b, w, ProtocolIstatd, w.istatd) })
	b.Run("now", func(b *testing.B) { benchmarkLines(b, w, ProtocolIstatd, w.istatdNow) })
}

func benchmarkLines(b *testing.B, w *workload, p Protocol, format func(i int) string) {
	l := newLines(w.writer, p, new(session))
	buffer := testBuffer()
	measure(b, w, w.blocks(3, format), func(block []byte) { sendBlock(b, l, buffer, block) })
}

// measure sends the requests round and round. All series are in the cache before
// the time starts.
func measure(b *testing.B, w *workload, requests [][]byte, send func([]byte)) {
	for _, request := range requests {
		send(request)
	}
	before := w.sink.points
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		send(requests[i%len(requests)])
	}
	points := w.sink.points - before
	if points != b.N*perRequest {
		b.Fatalf("%d points arrived, %d were sent", points, b.N*perRequest)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(points), "ns/point")
}
