package store

import (
	"math"
	"path/filepath"
	"testing"

	"carillon/bucket"
)

// BenchmarkSeal seals ten minutes of 10 s samples of 10,000 series; a point is one
// sample. Rolling an hour of them up is in it once in six.
func BenchmarkSeal(b *testing.B) {
	const numbers, samples = 10_000, 60
	config := testConfig(OS{}, testTiers(b, DefaultTiers))
	config.Dir = filepath.Join(b.TempDir(), "0")
	s, err := newStore(config)
	if err != nil {
		b.Fatal(err)
	}
	now := int64(scriptStart)
	for b.Loop() {
		for range samples {
			now += 10 * second
			for number := range uint32(numbers) {
				sample := bucket.Of(now, float64(number)+float64(now%977))
				s.Add(number, &sample)
			}
		}
		if err := s.Seal(now, 1, none); err != nil {
			b.Fatal(err)
		}
		drive(s)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(numbers*samples), "ns/point")
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
