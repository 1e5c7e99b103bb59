package journal

import (
	"math/rand/v2"
	"testing"
)

// mixed is a part of n points as a busy partition gets them: series in random
// order, a few scrape times, a third of the values integers.
func mixed(n int) *Part {
	rng := rand.New(rand.NewPCG(1, 2))
	p := &Part{Request: Hash{1}}
	for i := range n {
		p.Refs = append(p.Refs, Ref(rng.IntN(125_000)))
		p.Times = append(p.Times, 1_700_000_000_000+int64(i/500)*137)
		v := rng.NormFloat64()
		if i%3 == 0 {
			v = float64(rng.IntN(1000))
		}
		p.Values = append(p.Values, v)
	}
	return p
}

func BenchmarkEncode(b *testing.B) {
	parts := []*Part{mixed(5000)}
	var message []byte
	for b.Loop() {
		message = Encode(message[:0], parts)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*5000), "ns/point")
	b.ReportMetric(float64(len(message))/5000, "bytes/point")
}

func BenchmarkDecode(b *testing.B) {
	message := Encode(nil, []*Part{mixed(5000)})
	for b.Loop() {
		if _, err := Decode(message); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*5000), "ns/point")
}

// BenchmarkAppend is one sender that waits for each acknowledgement: a part of
// about 32 KB is encoded, stored and synced in the embedded server.
func BenchmarkAppend(b *testing.B) {
	const points = 3400
	j := open(b, config(b, b.TempDir()))
	parts := []*Part{mixed(points), nil}
	b.SetBytes(int64(len(Encode(nil, parts[:1]))))
	for b.Loop() {
		if err := j.Append(b.Context(), parts); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*points), "ns/point")
}

// BenchmarkAppendParallel is many senders of small parts, which share syncs.
func BenchmarkAppendParallel(b *testing.B) {
	const points = 100
	j := open(b, config(b, b.TempDir()))
	part := mixed(points)
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := j.Append(b.Context(), []*Part{part, part}); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*points*2), "ns/point")
	b.ReportMetric(float64(b.N)/float64(j.Acknowledged(0)), "appends/message")
}

// BenchmarkRead replays messages of about 32 KB.
func BenchmarkRead(b *testing.B) {
	const points, messages = 3400, 200
	j := open(b, config(b, b.TempDir()))
	for range messages {
		store(b, j, mixed(points), nil)
	}
	for b.Loop() {
		read(b, j, 0, 1, messages)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*points*messages), "ns/point")
}
