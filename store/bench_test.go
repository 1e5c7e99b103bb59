package store

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"carillon/bucket"
)

// hostMix is a sample of a series: of ten, four are counters, three random walks with
// two decimals, two constants, and one is noise with three decimals.
type hostMix struct {
	random *rand.Rand
	cents  []int64 // by series
}

func newHostMix(numbers int) *hostMix {
	m := &hostMix{rand.New(rand.NewPCG(1, 2)), make([]int64, numbers)}
	for number := range m.cents {
		m.cents[number] = m.random.Int64N(100_000_000)
	}
	return m
}

func (m *hostMix) value(number uint32) float64 {
	cents := &m.cents[number]
	switch number % 10 {
	case 0, 1, 2, 3:
		*cents += 100 * m.random.Int64N(1_000)
		return float64(*cents / 100)
	case 4, 5, 6:
		*cents += m.random.Int64N(1_001) - 500
	case 9:
		return float64(m.random.Int64N(100_000)) / 1_000
	}
	return float64(*cents) / 100
}

// BenchmarkSeal adds 10 s samples of a host mix to the head, and seals them; only the
// sealing is timed, with rolling up but, but for what is said, without merging. A point
// is one sample. The bytes are those of the finest tier's file.
func BenchmarkSeal(b *testing.B) {
	for _, bench := range []struct {
		samples int
		tiers   string
	}{{4, "10s:10d"}, {16, "10s:10d"}, {60, "10s:10d"}, {60, DefaultTiers}, {1000, "10s:10d"}} {
		b.Run(fmt.Sprintf("samples=%d/tiers=%s", bench.samples, bench.tiers), func(b *testing.B) {
			benchmarkSeal(b, bench.samples, testTiers(b, bench.tiers))
		})
	}
}

func benchmarkSeal(b *testing.B, samples int, tiers []Tier) {
	const numbers = 10_000
	config := testConfig(OS{}, tiers)
	config.Merging = make(chan struct{}) // nobody may
	config.Dir = filepath.Join(b.TempDir(), "0")
	s, err := newStore(config)
	if err != nil {
		b.Fatal(err)
	}
	mix := newHostMix(numbers)
	now := int64(scriptStart)
	points := 0
	for b.Loop() {
		b.StopTimer()
		for range samples {
			now += 10 * second
			for number := range uint32(numbers) {
				s.AddSamples([]uint32{number}, []int64{now + int64(number%7919)}, []float64{mix.value(number)})
			}
		}
		b.StartTimer()
		if err := s.Seal(now, 1, none); err != nil {
			b.Fatal(err)
		}
		drive(s)
		points += numbers * samples
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(points), "ns/point")
	b.ReportMetric(float64(s.Written().Sealed)/float64(points), "bytes/point")
	b.ReportMetric(0, "ns/op")
	if err := stop(s); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkRead reads an hour of 1,000 series at the finest tier from a day of
// files; a series is one Read.
func BenchmarkRead(b *testing.B) {
	const numbers, seals = 1000, 144
	config := testConfig(OS{}, testTiers(b, DefaultTiers))
	config.Dir = filepath.Join(b.TempDir(), "0")
	s, err := newStore(config)
	if err != nil {
		b.Fatal(err)
	}
	now := int64(scriptStart)
	for range seals {
		for range 60 {
			now += 10 * second
			for number := range uint32(numbers) {
				sample := bucket.Of(now, float64(number))
				s.Add(number, &sample)
			}
		}
		if err := s.Seal(now, 1, none); err != nil {
			b.Fatal(err)
		}
		drive(s)
	}
	var dst []bucket.Bucket
	for b.Loop() {
		view := s.View(nil, nil)
		for number := range uint32(numbers) {
			if dst, err = view.Read(number, 0, now-hour, math.MaxInt64, dst[:0]); err != nil {
				b.Fatal(err)
			}
		}
		view.Close()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/numbers, "ns/series")
	if err := stop(s); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkReadSums puts a day of 200 series together, once from its buckets and once with
// what the index has of them.
func BenchmarkReadSums(b *testing.B) {
	const numbers = 200
	config := testConfig(OS{}, testTiers(b, "10s:10d"))
	config.Dir = filepath.Join(b.TempDir(), "0")
	s, err := newStore(config)
	if err != nil {
		b.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range int64(windowSegments) {
		for number := range uint32(numbers) {
			s.AddSamples([]uint32{number}, []int64{10*day + i*10*second}, []float64{float64(random.IntN(100_000)) / 1000})
		}
	}
	if err := s.Seal(11*day, 1, none); err != nil {
		b.Fatal(err)
	}
	drive(s)
	for _, bench := range []struct {
		name string
		read func(*View, uint32, int, int64, int64, []bucket.Bucket) ([]bucket.Bucket, error)
	}{{"buckets", (*View).Read}, {"sums", (*View).ReadSums}} {
		b.Run(bench.name, func(b *testing.B) {
			var dst []bucket.Bucket
			for b.Loop() {
				view := s.View(nil, nil)
				for number := range uint32(numbers) {
					if dst, err = bench.read(view, number, 0, 10*day, 11*day, dst[:0]); err != nil {
						b.Fatal(err)
					}
				}
				view.Close()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/numbers, "ns/series")
		})
	}
	if err := stop(s); err != nil {
		b.Fatal(err)
	}
}
