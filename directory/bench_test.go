package directory

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"carillon/series"
)

const (
	benchPartitions = 8
	benchBatch      = 1000 // definitions of one partition in one message
)

// benchSeries is how many series there are unless CARILLON_BENCH_SERIES says otherwise.
func benchSeries(tb testing.TB) int {
	n := 100_000
	if text := os.Getenv("CARILLON_BENCH_SERIES"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			tb.Fatal(err)
		}
	}
	return n
}

// fleet makes n series with five labels, as node_exporter's are: 500 metrics on
// n/500 hosts, each in its partition's list, in random order.
func fleet(tb testing.TB, n int) [][]series.Definition {
	tb.Helper()
	lists := make([][]series.Definition, benchPartitions)
	for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(n) {
		k := host(tb, i/500, i%500)
		p := k.Partition(benchPartitions)
		lists[p] = append(lists[p], series.Definition{Key: k, Kind: series.Counter})
	}
	return lists
}

// host is the key of one metric of a host.
func host(tb testing.TB, number, metric int) series.Key {
	return key(tb, series.MetricName, fmt.Sprintf("node_subsystem_measure_%03d_total", metric),
		"instance", fmt.Sprintf("host-%05d.example.com:9100", number), "job", "node",
		"cpu", fmt.Sprint(metric%7), "region", fmt.Sprintf("region-%d", number%5))
}

func openDisk(tb testing.TB, dir string, caches Caches) *Directory {
	tb.Helper()
	d, err := Open(dir, benchPartitions, caches, quiet())
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

func defineAll(tb testing.TB, d *Directory, lists [][]series.Definition) {
	tb.Helper()
	for p, list := range lists {
		for i := 0; i < len(list); i += benchBatch {
			for _, definition := range list[i:min(i+benchBatch, len(list))] {
				if _, ok := d.Lookup(definition.Key); ok {
					tb.Fatal("found before it was defined")
				}
			}
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

// resident is the memory of the process, that which is not on the heap included.
func resident(tb testing.TB) int64 {
	tb.Helper()
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		tb.Skip(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		tb.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
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

// quietly waits until the process has used hardly any time for a while: until Pebble
// has no table more to write or to merge.
func quietly(tb testing.TB) {
	tb.Helper()
	for before := cpu(tb); ; {
		time.Sleep(100 * time.Millisecond)
		now := cpu(tb)
		if now-before < 2*time.Millisecond {
			return
		}
		before = now
	}
}

// BenchmarkDefine asks for series, which are all new, and defines them, one batch after
// the other, on disk. The time counts what Pebble does later.
func BenchmarkDefine(b *testing.B) {
	n := benchSeries(b)
	for _, c := range []struct {
		name   string
		caches Caches
	}{{"caches off", Caches{}}, {"caches on", Caches{Series: 16, Absent: 16}}} {
		b.Run(c.name, func(b *testing.B) {
			lists := fleet(b, n)
			var bytes int64
			var spent time.Duration
			for b.Loop() {
				b.StopTimer()
				before := resident(b)
				d := openDisk(b, b.TempDir(), c.caches)
				spent -= cpu(b)
				b.StartTimer()
				defineAll(b, d, lists)
				quietly(b)
				b.StopTimer()
				spent += cpu(b)
				bytes += resident(b) - before
				closeNow(b, d)
				b.StartTimer()
			}
			b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N*n), "cpu-ns/series")
			b.ReportMetric(float64(bytes)/float64(b.N*n), "B/series")
			b.ReportMetric(0, "ns/op")
			runtime.KeepAlive(lists) // it was there before, and must be there after
		})
	}
}

// BenchmarkOpen loads all series.
func BenchmarkOpen(b *testing.B) {
	n := benchSeries(b)
	dir := b.TempDir()
	d := openDisk(b, dir, DefaultCaches())
	defineAll(b, d, fleet(b, n))
	bytes := float64(d.Bytes())
	closeNow(b, d)
	start := cpu(b)
	for b.Loop() {
		closeNow(b, openDisk(b, dir, DefaultCaches()))
	}
	b.ReportMetric(float64(cpu(b)-start)/float64(b.N*n), "cpu-ns/series")
	b.ReportMetric(bytes/float64(n), "disk-B/series")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/series")
}

// BenchmarkLookupAbsent looks up the series of hosts of which other series are known,
// in random order and past the caches.
func BenchmarkLookupAbsent(b *testing.B) {
	n := benchSeries(b)
	d := openDisk(b, b.TempDir(), DefaultCaches())
	defer closeNow(b, d)
	defineAll(b, d, fleet(b, n))
	keys := make([]series.Key, 1<<18)
	for i := range keys {
		j := rand.IntN(n)
		keys[i] = host(b, j/500, j%500)
		keys[i] = keys[i][:len(keys[i])-1] + "x" // a region that it is not in
	}
	define(b, d, key(b, "region", "region-x"))
	i, start := 0, cpu(b)
	for b.Loop() {
		if _, ok := d.Lookup(keys[i]); ok {
			b.Fatal("found")
		}
		i = (i + 1) % len(keys)
	}
	b.ReportMetric(float64(cpu(b)-start)/float64(b.N), "cpu-ns/op")
}

// BenchmarkLookup looks keys up in random order.
func BenchmarkLookup(b *testing.B) {
	d := openDisk(b, b.TempDir(), DefaultCaches())
	defer closeNow(b, d)
	lists := fleet(b, benchSeries(b))
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
	d := openDisk(b, b.TempDir(), DefaultCaches())
	defer closeNow(b, d)
	defineAll(b, d, fleet(b, benchSeries(b)))
	for _, selector := range []string{
		`{__name__="node_subsystem_measure_007_total"}`,
		`{__name__="node_subsystem_measure_007_total",instance="host-00042.example.com:9100"}`,
		`{__name__="node_subsystem_measure_007_total",job="node"}`,
		`{job="node",region!="region-1"}`,
		`{instance=~"host-000.*",cpu!~"[12]"}`,
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
