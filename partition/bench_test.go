package partition

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"carillon/journal"
	"carillon/series"
)

// BenchmarkWriters is the parallel-slowdown experiment: so many partitions, each
// with a loop of its own, apply parts of known series in random order, from the decoded
// columns into quantizer and head. Twice the writers on twice the cores must do
// twice as much.
//
// On that way a loop writes nothing that another loop reads or writes. Its quantizer,
// head and decoder are its own, each in memory that it allocated; the directory is asked
// for definitions alone; the mutex of its store is shared with queries of that
// partition. What loops share is read only: the bytes of a message, and whether
// anybody watches live buckets, once a batch. Once a message a loop and the
// journal's writer touch the two counts of the ring between them, which lie on lines of
// their own, and the loop stores its position, which the senders of queries read. Senders
// share the count of queued bytes and the tail of the writer's ring, once a request.
func BenchmarkWriters(b *testing.B) {
	const known, points = 50_000, 2000
	for _, writers := range []int{1, 2, 4, 8} {
		b.Run(fmt.Sprint(writers), func(b *testing.B) {
			r, err := openPartitions(b, b.TempDir(), writers)
			must(b, err)
			defer r.close()
			parts := make([]*journal.Part, writers)
			for i := range parts {
				parts[i] = &journal.Part{}
			}
			for n, defined := 0, 0; defined < known*writers; n++ {
				key, err := series.Named(fmt.Sprintf("series_%d", n))
				must(b, err)
				if p := parts[key.Partition(writers)]; len(p.Definitions) < known {
					p.Definitions = append(p.Definitions, series.Definition{Key: key})
					defined++
				}
			}
			r.append(parts)
			settle(b, r.set)
			r.stop() // from here on the loops are the benchmark's
			start := time.Now().UnixMilli()
			before := processorTime()
			b.ResetTimer()
			var all sync.WaitGroup
			for i, p := range r.set.partitions {
				all.Go(func() {
					random := rand.New(rand.NewPCG(1, uint64(i)))
					order := random.Perm(known)
					part := &journal.Part{Refs: make([]journal.Ref, points), Times: make([]int64, points), Values: make([]float64, points)}
					for n := range b.N {
						now := start + int64(n*points/known)*10_000
						for k := range points {
							part.Refs[k] = journal.Ref(order[(n*points+k)%known])
							part.Times[k], part.Values[k] = now, float64(n)
						}
						if err := p.applyPart(now, part); err != nil {
							b.Error(err)
						}
						p.advance(now)
					}
				})
			}
			all.Wait()
			done := float64(b.N * writers * points)
			b.ReportMetric(done/b.Elapsed().Seconds()/1e6, "Mpoints/s")
			b.ReportMetric(float64((processorTime()-before).Nanoseconds())/done, "cpu-ns/point")
		})
	}
}

// processorTime is what this process has used so far. On a machine that others use
// as well it says more than the time on the wall: writers who get into each other's
// way need more of it.
func processorTime() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
