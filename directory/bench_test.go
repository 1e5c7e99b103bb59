package directory

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"carillon/series"
)

const (
	benchPartitions = 8
	benchSeries     = 100_000
	benchBatch      = 500 // definitions of one partition in one message
)

// fleet makes n series with five labels, as node_exporter's are: 200 metrics on
// n/200 hosts, each in its partition's list, in random order.
func fleet(tb testing.TB, n int) [][]series.Definition {
	tb.Helper()
	lists := make([][]series.Definition, benchPartitions)
	for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(n) {
		k := key(tb, series.MetricName, fmt.Sprintf("node_subsystem_measure_%03d_total", i%200),
			"instance", fmt.Sprintf("host-%05d.example.com:9100", i/200), "job", "node",
			"device", fmt.Sprintf("dev%d", i%7), "zone", fmt.Sprintf("zone-%d", i/200%5))
		p := k.Partition(benchPartitions)
		lists[p] = append(lists[p], series.Definition{Key: k, Kind: series.Counter})
	}
	return lists
}

func openDisk(tb testing.TB, dir string) *Directory {
	tb.Helper()
	d, err := Open(dir, benchPartitions, Caches{Series: 17, Absent: 12}, quiet())
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

func defineAll(tb testing.TB, d *Directory, lists [][]series.Definition) {
	tb.Helper()
	for p, list := range lists {
		for i := 0; i < len(list); i += benchBatch {
			if _, err := d.Define(p, list[i:min(i+benchBatch, len(list))]); err != nil {
				tb.Fatal(err)
			}
		}
	}
}

// heap is the bytes in use once the collector has run.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers and pools held until the first
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// cpu is the processor time of the whole process so far: unlike the clock it
// stays right on a busy machine, and it counts the work that Pebble and the
// collector do in the background.
func cpu(tb testing.TB) time.Duration {
	tb.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkDefine defines 100,000 series, one batch after the other, on disk.
func BenchmarkDefine(b *testing.B) {
	lists := fleet(b, benchSeries)
	var bytes uint64
	var spent time.Duration
	for b.Loop() {
		b.StopTimer()
		before := heap()
		d := openDisk(b, b.TempDir())
		spent -= cpu(b)
		b.StartTimer()
		defineAll(b, d, lists)
		b.StopTimer()
		spent += cpu(b)
		bytes += heap() - before
		closeNow(b, d)
		b.StartTimer()
	}
	series := float64(b.N * benchSeries)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/series, "ns/series")
	b.ReportMetric(float64(spent.Nanoseconds())/series, "cpu-ns/series")
	b.ReportMetric(float64(bytes)/series, "heap-B/series")
}

// BenchmarkOpen loads 100,000 series.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	d := openDisk(b, dir)
	defineAll(b, d, fleet(b, benchSeries))
	bytes := float64(d.Bytes())
	closeNow(b, d)
	start := cpu(b)
	for b.Loop() {
		closeNow(b, openDisk(b, dir))
	}
	b.ReportMetric(float64(cpu(b)-start)/float64(b.N*benchSeries), "cpu-ns/series")
	b.ReportMetric(bytes/benchSeries, "disk-B/series")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*benchSeries), "ns/series")
}

// BenchmarkLookup looks keys up in random order.
func BenchmarkLookup(b *testing.B) {
	d := openDisk(b, b.TempDir())
	defer closeNow(b, d)
	lists := fleet(b, benchSeries)
	defineAll(b, d, lists)
	var keys []series.Key
	for _, list := range lists {
		for _, definition := range list {
			keys = append(keys, definition.Key)
		}
	}
	rand.New(rand.NewPCG(3, 4)).Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	i, start := 0, cpu(b)
	for b.Loop() {
		if _, ok := d.Lookup(keys[i]); !ok {
			b.Fatal("not found")
		}
		if i++; i == len(keys) {
			i = 0
		}
	}
	b.ReportMetric(float64(cpu(b)-start)/float64(b.N), "cpu-ns/op")
}

func BenchmarkSelect(b *testing.B) {
	d := openDisk(b, b.TempDir())
	defer closeNow(b, d)
	defineAll(b, d, fleet(b, benchSeries))
	for _, selector := range []string{
		`{__name__="node_subsystem_measure_007_total"}`,
		`{__name__="node_subsystem_measure_007_total",instance="host-00042.example.com:9100"}`,
		`{job="node",zone!="zone-1"}`,
		`{instance=~"host-000.*",device!~"dev[12]"}`,
	} {
		b.Run(selector, func(b *testing.B) {
			list := matchers(b, selector)
			selected := 0
			for b.Loop() {
				ids, err := d.Select(list...)
				if err != nil {
					b.Fatal(err)
				}
				selected = len(ids)
			}
			b.ReportMetric(float64(selected), "series")
		})
	}
}
