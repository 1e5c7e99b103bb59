package page

import (
	"math"
	"math/rand/v2"
	"testing"

	"carillon/bucket"
	"carillon/series"
)

// A mix of series as a host sends them, every 10 s.
const mixSeries = 100

// hostMix is 40 % counters that rise by up to a thousand, 30 % random walks with
// two decimals, 20 % constants and 10 % noise with three decimals. Times are off
// the beat by up to jitter milliseconds.
func hostMix(points, jitter int) [][]bucket.Bucket {
	random := rand.New(rand.NewPCG(1, 2))
	mix := make([][]bucket.Bucket, mixSeries)
	for s := range mix {
		cents := random.IntN(100_000_000)
		for i := range points {
			var value float64
			switch {
			case s < 40:
				cents += 100 * random.IntN(1_000)
				value = float64(cents / 100)
			case s < 70:
				cents += random.IntN(401) - 200
				value = float64(cents) / 100
			case s < 90:
				value = float64(cents) / 100
			default:
				value = float64(random.IntN(100_000)) / 1_000
			}
			time := 1_700_000_000_000 + int64(i)*10_000 + int64(random.IntN(jitter+1))
			mix[s] = append(mix[s], bucket.Of(time, value))
		}
	}
	return mix
}

// rolledUp is the same in segments of five minutes.
func rolledUp(mix [][]bucket.Bucket) [][]bucket.Bucket {
	const resolution = 300_000 // ms
	coarse := make([][]bucket.Bucket, len(mix))
	for s, buckets := range mix {
		kind := series.Gauge
		if s < 40 {
			kind = series.Counter
		}
		for i := range buckets {
			b := &buckets[i]
			if n := len(coarse[s]); n > 0 && coarse[s][n-1].Start(resolution) == b.Start(resolution) {
				coarse[s][n-1].Merge(kind, b)
			} else {
				coarse[s] = append(coarse[s], *b)
			}
		}
	}
	return coarse
}

func encodeAll(mix [][]bucket.Bucket) (pages [][]byte, bytesPerBucket float64) {
	var size, buckets int
	for _, m := range mix {
		page := Append(nil, m)
		pages = append(pages, page)
		size += len(page)
		buckets += len(m)
	}
	return pages, float64(size) / float64(buckets)
}

func TestSizeOfAHostMix(t *testing.T) {
	for _, test := range []struct {
		name     string
		mix      [][]bucket.Bucket
		maxBytes float64 // a bucket
	}{
		{"100 points", hostMix(100, 0), 2.2},
		{"360 points", hostMix(360, 0), 2.0},
		{"360 points, 3 ms of jitter", hostMix(360, 3), 3.0},
		{"288 rolled up", rolledUp(hostMix(288*30, 0)), 25},
	} {
		_, got := encodeAll(test.mix)
		t.Logf("%s: %.2f bytes a bucket", test.name, got)
		if got > test.maxBytes || math.IsNaN(got) {
			t.Errorf("%s: %.2f bytes a bucket, want at most %.2f", test.name, got, test.maxBytes)
		}
	}
}

func BenchmarkPage(b *testing.B) {
	for _, bench := range []struct {
		name string
		mix  [][]bucket.Bucket
	}{
		{"ones", hostMix(360, 0)},
		{"ones-jitter", hostMix(360, 3)},
		{"rolled-up", rolledUp(hostMix(288*30, 0))},
	} {
		pages, size := encodeAll(bench.mix)
		perPage := float64(len(bench.mix[0]))
		b.Run(bench.name+"/append", func(b *testing.B) {
			var dst []byte
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				dst = Append(dst[:0], bench.mix[i%mixSeries])
			}
			b.ReportMetric(float64(b.N)*perPage/b.Elapsed().Seconds()/1e6, "Mbuckets/s")
			b.ReportMetric(size, "bytes/bucket")
		})
		b.Run(bench.name+"/decode", func(b *testing.B) {
			var dst []bucket.Bucket
			var err error
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if dst, err = Decode(pages[i%mixSeries], dst[:0]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*perPage/b.Elapsed().Seconds()/1e6, "Mbuckets/s")
		})
	}
}
