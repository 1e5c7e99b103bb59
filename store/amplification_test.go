package store

import (
	"testing"
)

// TestWriteAmplification seals a day of a host mix with the default tiers. All bytes
// that were written until nothing is left to merge, over those that the store then
// takes, is the write amplification. How short the strips are that seals bring is what
// it depends on: 60 samples is ten minutes, the default; 16 is what a head of bounded
// size holds of very many series.
func TestWriteAmplification(t *testing.T) {
	for _, test := range []struct {
		samples int
		most    float64
		bytes   float64 // of the finest tier, a sample
	}{{60, 2.4, 1.2}, {16, 3, 1.25}} {
		config := testConfig(newMemFS(), testTiers(t, DefaultTiers))
		s, err := newStore(config)
		if err != nil {
			t.Fatal(err)
		}
		const numbers = 40
		mix := newHostMix(numbers)
		seals := 6 * 720 / test.samples * 2 // twelve merges of two hours: a day
		now := 20000 * day
		points := 0
		for range seals {
			for range test.samples {
				now += 10 * second
				for number := range uint32(numbers) {
					s.AddSamples([]uint32{number}, []int64{now + int64(number)}, []float64{mix.value(number)})
					points++
				}
			}
			if err := s.Seal(now, 1, none); err != nil {
				t.Fatal(err)
			}
			drive(s)
		}
		w, bytes := s.Written(), s.Bytes()
		finest := s.Stats()[0]
		amplification := float64(w.Sealed+w.Rolled+w.Merged) / float64(bytes)
		perPoint := float64(finest.Bytes) / float64(points)
		t.Logf("seals of %d samples: written %+v for %d bytes in %d files: %.2f times; %.3f bytes a sample",
			test.samples, w, bytes, finest.Files, amplification, perPoint)
		if amplification > test.most {
			t.Errorf("seals of %d samples: written %.2f times, want at most %.1f", test.samples, amplification, test.most)
		}
		if perPoint > test.bytes {
			t.Errorf("seals of %d samples: %.3f bytes a sample, want at most %.2f", test.samples, perPoint, test.bytes)
		}
		if err := stop(s); err != nil {
			t.Fatal(err)
		}
	}
}
