package newest

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"carillon/quantize"
)

// BenchmarkPublish is a step of a fleet: each of half a million series completes a bucket.
// cpu-ns/bucket is what it takes to store one, the cache's own goroutine included; put-ns/bucket
// is what the partitions' loops pay; core-% is the share of one core if the step is 10 s. All is
// CPU time, which other work on the machine does not change as much as it changes the time
// that passes.
func BenchmarkPublish(b *testing.B) {
	const fleet, step = 500_000, 10 * time.Second
	for _, c := range []struct {
		name    string
		format  Format
		samples int
	}{{"text", Text, 1}, {"json", JSON, 1}, {"text/ten samples", Text, 10}} {
		b.Run(c.name, func(b *testing.B) {
			catalogue := labelled(fleet)
			buckets, err := New(Config{Cache: newCache(b, 256<<20), Catalogue: catalogue, Format: c.format, Resolution: step, Expire: 5 * time.Minute})
			if err != nil {
				b.Fatal(err)
			}
			var put, published time.Duration
			for round := 0; b.Loop(); round++ {
				batches := fleetStep(fleet, c.samples, start+int64(round)*step.Milliseconds())
				began := cpuTime()
				for i := range batches {
					buckets.Completed(0, &batches[i])
				}
				put += cpuTime() - began
				began = cpuTime()
				for next := buckets.waiting.take(); next != nil; next = buckets.waiting.take() {
					buckets.publish(next.partition, &next.Batch)
					buckets.waiting.recycle(next)
				}
				published += cpuTime() - began
			}
			s := buckets.Stats()
			if s.Stored != uint64(b.N)*fleet {
				b.Fatalf("%+v", s)
			}
			each := float64(published) / float64(s.Stored)
			b.ReportMetric(each, "cpu-ns/bucket")
			b.ReportMetric(float64(put)/float64(s.Stored), "put-ns/bucket")
			b.ReportMetric(100*each*fleet/float64(step), "core-%")
			b.ReportMetric(float64(s.KeyBytes)/fleet, "key-bytes/series")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// cpuTime is that of the process.
func cpuTime() time.Duration {
	var used syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// fleetStep is a bucket of each series, as partitions complete them.
func fleetStep(fleet, samples int, at int64) []quantize.Batch {
	random := rand.New(rand.NewPCG(1, uint64(at)))
	var batches []quantize.Batch
	for from := 0; from < fleet; from += 4096 {
		var one quantize.Batch
		for number := from; number < min(from+4096, fleet); number++ {
			value := float64(random.IntN(100_000)) / 100
			if samples == 1 {
				one.Numbers = append(one.Numbers, uint32(number))
				one.Times = append(one.Times, at+int64(number%10_000))
				one.Values = append(one.Values, value)
				continue
			}
			whole := several(at, samples, value)
			one.Wholes = append(one.Wholes, quantize.Whole{Series: uint32(number), Bucket: whole})
		}
		batches = append(batches, one)
	}
	return batches
}

func labelled(n int) catalogue {
	c := make(catalogue, n)
	for i := range c {
		c[i] = keyOf("__name__", "http_requests_total", "host", fmt.Sprintf("host-%04d", i%5000), "path", fmt.Sprintf("/page/%d", i/5000), "code", "200")
	}
	return c
}
