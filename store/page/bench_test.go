package page

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"carillon/bucket"
	"carillon/series"
)

// columns are the samples of one series.
type columns struct {
	times  []int64
	values []float64
}

func (c columns) buckets() []bucket.Bucket {
	buckets := make([]bucket.Bucket, len(c.times))
	for i, t := range c.times {
		buckets[i] = bucket.Of(t, c.values[i])
	}
	return buckets
}

const mixStart, mixStep = 1_700_000_000_000, 10_000 // milliseconds

// hostMix is series as a host sends them, every 10 s: 40 % counters that rise by up to
// a thousand, 30 % random walks with two decimals that step by up to five, 20 %
// constants and 10 % noise with three decimals; 1.08 bytes of entropy a sample. Each
// series begins at a millisecond of its own; times are off the beat by up to jitter
// milliseconds.
func hostMix(many, points, jitter int) []columns {
	random := rand.New(rand.NewPCG(1, 2))
	mix := make([]columns, many)
	for s := range mix {
		cents := random.IntN(100_000_000)
		start := mixStart + random.Int64N(mixStep)
		c := columns{make([]int64, points), make([]float64, points)}
		for i := range points {
			switch s % 10 {
			case 0, 1, 2, 3:
				cents += 100 * random.IntN(1_000)
				c.values[i] = float64(cents / 100)
			case 4, 5, 6:
				cents += random.IntN(1_001) - 500
				c.values[i] = float64(cents) / 100
			case 7, 8:
				c.values[i] = float64(cents) / 100
			default:
				c.values[i] = float64(random.IntN(100_000)) / 1_000
			}
			c.times[i] = start + int64(i)*mixStep + random.Int64N(int64(jitter)+1)
		}
		mix[s] = c
	}
	return mix
}

// rolledUp is the same in segments of five minutes, rounded as the store does.
func rolledUp(mix []columns) [][]bucket.Bucket {
	const resolution = 300_000 // ms
	coarse := make([][]bucket.Bucket, len(mix))
	for s, c := range mix {
		kind := series.Gauge
		if s%10 < 4 {
			kind = series.Counter
		}
		for _, b := range c.buckets() {
			if n := len(coarse[s]); n > 0 && coarse[s][n-1].Start(resolution) == b.Start(resolution) {
				coarse[s][n-1].Merge(kind, &b)
			} else {
				coarse[s] = append(coarse[s], b)
			}
		}
		for i := range coarse[s] {
			coarse[s][i].Round()
		}
	}
	return coarse
}

// pageBytes is how long the store lets pages become.
const pageBytes = 8 << 10

// encodeAll makes pages of strips of length samples.
func encodeAll(e *Encoder, mix []columns, length int, take func([]byte)) (size int) {
	var b Builder
	finish := func() {
		page := b.Finish()
		size += len(page)
		if take != nil {
			take(append([]byte(nil), page...))
		}
	}
	for from := 0; from < len(mix[0].times); from += length {
		for s, c := range mix {
			b.AddSamples(e, uint32(s), c.times[from:from+length], c.values[from:from+length])
			if b.Len() > pageBytes {
				finish()
			}
		}
		if b.Len() > 0 {
			finish()
		}
	}
	return size
}

func encodeRolled(e *Encoder, mix [][]bucket.Bucket, take func([]byte)) (size int) {
	var b Builder
	for s, buckets := range mix {
		b.AddBuckets(e, uint32(s), buckets)
		if b.Len() > pageBytes || s == len(mix)-1 {
			page := b.Finish()
			size += len(page)
			if take != nil {
				take(append([]byte(nil), page...))
			}
		}
	}
	return size
}

// TestSizeOfAHostMix keeps the sizes that docs/format/page.md tells.
func TestSizeOfAHostMix(t *testing.T) {
	for _, test := range []struct {
		series, points, jitter, strip int
		most                          float64 // bytes a sample
	}{
		{2000, 1000, 0, 1000, 1.13},
		{2000, 1020, 0, 60, 1.40},
		{2000, 1008, 0, 16, 2.05},
		{2000, 400, 0, 4, 3.70},
		{1000, 1000, 3, 1000, 1.45},
	} {
		var e Encoder
		size := encodeAll(&e, hostMix(test.series, test.points, test.jitter), test.strip, nil)
		got := float64(size) / float64(test.series*test.points)
		t.Logf("strips of %d, %d ms of jitter: %.3f bytes a sample", test.strip, test.jitter, got)
		if got > test.most {
			t.Errorf("strips of %d, %d ms of jitter: %.3f bytes a sample, want at most %.2f", test.strip, test.jitter, got, test.most)
		}
	}
	for _, test := range []struct {
		buckets int
		most    float64
	}{{288, 6.4}, {12, 12.6}} {
		var e Encoder
		mix := rolledUp(hostMix(500, test.buckets*30, 0))
		n := 0
		for _, m := range mix {
			n += len(m)
		}
		got := float64(encodeRolled(&e, mix, nil)) / float64(n)
		t.Logf("strips of %d rolled up: %.2f bytes a bucket", test.buckets, got)
		if got > test.most {
			t.Errorf("strips of %d rolled up: %.2f bytes a bucket, want at most %.2f", test.buckets, got, test.most)
		}
	}
}

func BenchmarkSamples(b *testing.B) {
	for _, bench := range []struct{ jitter, strip int }{{0, 4}, {0, 16}, {0, 60}, {0, 1000}, {3, 1000}} {
		many := 1_000_000 / max(bench.strip, 100)
		mix := hostMix(many, bench.strip, bench.jitter)
		var e Encoder
		var pages [][]byte
		size := encodeAll(&e, mix, bench.strip, func(page []byte) { pages = append(pages, page) })
		points := many * bench.strip
		name := fmt.Sprintf("strip=%d/jitter=%d", bench.strip, bench.jitter)
		report := func(b *testing.B) {
			b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N)/float64(points), "ns/sample")
			b.ReportMetric(float64(b.N)*float64(points)/b.Elapsed().Seconds()/1e6, "Msamples/s")
			b.ReportMetric(0, "ns/op")
		}
		b.Run(name+"/encode", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				encodeAll(&e, mix, bench.strip, nil)
			}
			report(b)
			b.ReportMetric(float64(size)/float64(points), "bytes/sample")
		})
		b.Run(name+"/decode", func(b *testing.B) {
			var d Decoder
			var c columns
			b.ReportAllocs()
			for b.Loop() {
				for _, data := range pages {
					decodeColumns(b, &d, data, &c)
				}
			}
			report(b)
		})
	}
}

func decodeColumns(b *testing.B, d *Decoder, data []byte, c *columns) {
	p, err := Open(data)
	for err == nil {
		var s Strip
		var ok bool
		if s, ok, err = p.Next(); !ok {
			break
		}
		c.times, c.values, _, err = d.Samples(s, c.times[:0], c.values[:0])
	}
	if err != nil {
		b.Fatal(err)
	}
}

func BenchmarkRolledUp(b *testing.B) {
	mix := rolledUp(hostMix(100, 288*30, 0))
	var e Encoder
	var pages [][]byte
	n := 0
	for _, m := range mix {
		n += len(m)
	}
	size := encodeRolled(&e, mix, func(page []byte) { pages = append(pages, page) })
	report := func(b *testing.B) {
		b.ReportMetric(float64(b.N)*float64(n)/b.Elapsed().Seconds()/1e6, "Mbuckets/s")
		b.ReportMetric(0, "ns/op")
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			encodeRolled(&e, mix, nil)
		}
		report(b)
		b.ReportMetric(float64(size)/float64(n), "bytes/bucket")
	})
	b.Run("decode", func(b *testing.B) {
		var d Decoder
		var dst []bucket.Bucket
		b.ReportAllocs()
		for b.Loop() {
			for _, data := range pages {
				dst = decodeBuckets(b, &d, data, dst[:0])
			}
		}
		report(b)
	})
}

func decodeBuckets(b *testing.B, d *Decoder, data []byte, dst []bucket.Bucket) []bucket.Bucket {
	p, err := Open(data)
	for err == nil {
		var s Strip
		var ok bool
		if s, ok, err = p.Next(); !ok {
			break
		}
		dst, err = d.Buckets(s, dst)
	}
	if err != nil {
		b.Fatal(err)
	}
	return dst
}
