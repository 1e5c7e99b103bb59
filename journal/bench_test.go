package journal

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// fleet is a part as a partition of 62,500 series gets it: host metrics in random
// order, 40 % rising counters, 30 % walks with two decimals, 20 % constants, 10 %
// noise with three decimals, and one time.
func fleet(n int) *Part {
	rng := rand.New(rand.NewPCG(1, 2))
	p := &Part{Request: Hash{1}}
	for range n {
		r := rng.IntN(62_500)
		p.Refs = append(p.Refs, Ref(r))
		p.Times = append(p.Times, 1_700_000_000_000)
		initial := float64(r * 16 % 1_000_000)
		switch r % 10 {
		case 0, 1, 2, 3:
			p.Values = append(p.Values, initial+float64(rng.IntN(100_000)))
		case 4, 5, 6:
			p.Values = append(p.Values, float64(rng.IntN(1_000_000))/100)
		case 7, 8:
			p.Values = append(p.Values, initial)
		default:
			p.Values = append(p.Values, float64(rng.IntN(1_000_000))/1000)
		}
	}
	return p
}

func BenchmarkEncode(b *testing.B) {
	const points = 625
	p := fleet(points)
	var encoded []byte
	for b.Loop() {
		encoded = appendPart(encoded[:0], p)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*points), "ns/point")
	b.ReportMetric(float64(len(encoded))/points, "bytes/point")
}

func BenchmarkDecode(b *testing.B) {
	const points = 625
	encoded := appendPart(nil, fleet(points))
	var d Decoder
	for b.Loop() {
		for _, err := range d.decode(encoded) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*points), "ns/point")
}

// BenchmarkRoad is the whole way: requests of 5,000 points for 8 partitions are
// encoded, stored and synced in the embedded server, and decoded by the partitions.
func BenchmarkRoad(b *testing.B) {
	const points = 5000
	for _, senders := range []int{1, 8, 32} {
		b.Run(fmt.Sprintf("senders=%d", senders), func(b *testing.B) {
			c := config(b, b.TempDir())
			c.Partitions = 8
			j := open(b, c)
			request := make([]*Part, c.Partitions)
			for i := range request {
				request[i] = fleet(points / c.Partitions)
			}
			var all sync.WaitGroup
			for partition := range c.Partitions {
				all.Go(func() { count(b, j, partition, b.N*points/c.Partitions) })
			}
			var left atomic.Int64
			left.Store(int64(b.N))
			before := processorTime()
			b.ResetTimer()
			for range senders {
				all.Go(func() {
					for left.Add(-1) >= 0 {
						if err := j.Append(b.Context(), request); err != nil {
							b.Error(err)
						}
					}
				})
			}
			all.Wait()
			b.ReportMetric(float64((processorTime()-before).Nanoseconds())/float64(b.N*points), "cpu-ns/point")
			b.ReportMetric(float64(b.N)/float64(j.Acknowledged()), "requests/message")
		})
	}
}

// count reads a partition until so many points have come.
func count(b *testing.B, j *Journal, partition, points int) {
	var d Decoder
	err := j.Read(b.Context(), partition, 1, func(m Message) error {
		for part, err := range m.Parts(&d) {
			if err != nil {
				return err
			}
			points -= part.Points()
		}
		if points <= 0 {
			return errEnough
		}
		return nil
	})
	if err != errEnough {
		b.Error(err)
	}
}

// processorTime is what this process has used so far.
func processorTime() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// BenchmarkReplay reads a stream of requests as BenchmarkRoad stores them, from its
// begin, for all partitions at once.
func BenchmarkReplay(b *testing.B) {
	const points, messages = 5000, 500
	c := config(b, b.TempDir())
	c.Partitions = 8
	j := open(b, c)
	request := make([]*Part, c.Partitions)
	for i := range request {
		request[i] = fleet(points / c.Partitions)
	}
	for range messages {
		store(b, j, request...)
	}
	before := processorTime()
	for b.Loop() {
		var all sync.WaitGroup
		for partition := range c.Partitions {
			all.Go(func() { count(b, j, partition, messages*points/c.Partitions) })
		}
		all.Wait()
	}
	b.ReportMetric(float64((processorTime()-before).Nanoseconds())/float64(b.N*points*messages), "cpu-ns/point")
}
