package measure

import (
	"fmt"
	"math"
	"math/bits"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/prompb"

	"carillon/bucket"
	"carillon/series"
)

// A mix is what a host's metrics do. Of ten series
//
//   - four are counters that rise by less than 1,000, each as likely as the others,
//   - three are walks with two decimals, in steps of up to 5 up or down,
//   - two are constants,
//   - and one is noise of less than 100, with three decimals.
//
// So a point holds 0.4·log2(1000) + 0.3·log2(1001) + 0.1·log2(100000) = 8.64 bits, 1.08 bytes.
type mix struct {
	seed  uint64
	start int64 // of all series, milliseconds
}

const (
	step         = 10_000 // ms between two points of a series
	day          = 24 * time.Hour
	pointsPerDay = 24 * 3600 / 10

	counterRise = 1_000 // less than that
	walkStep    = 500   // hundredths
	noiseRange  = 100_000
	initial     = 1_000_000

	entropyBytes = 1.08 // a point
)

// mixNames are the metrics of a host, by the last digit of the series' number.
var mixNames = [...]string{
	"bench_requests_total", "bench_bytes_total", "bench_errors_total", "bench_ticks_total",
	"bench_load", "bench_temperature", "bench_queue", "bench_limit", "bench_info", "bench_noise",
}

const perHost = len(mixNames)

// kindOf is how the buckets of a series merge.
func kindOf(number uint32) series.Kind {
	if number%uint32(perHost) < 4 {
		return series.Counter
	}
	return series.Gauge
}

// points makes the points of one series, one after the other, without end: the same
// ones for the same mix and number.
type points struct {
	time   int64 // of the next one
	random uint64
	value  int64 // in hundredths, or of counters whole
	digit  uint32
}

func (m mix) points(number uint32) points {
	p := points{random: m.seed<<32 ^ uint64(number), digit: number % uint32(perHost)}
	p.random = p.draw()
	p.time = m.start + int64(p.below(step))
	p.value = int64(p.below(initial))
	return p
}

// all is the points of the series up to, not including, a number.
func (m mix) all(numbers int) []points {
	all := make([]points, numbers)
	for number := range all {
		all[number] = m.points(uint32(number))
	}
	return all
}

// next is the next point's time, milliseconds, and its value.
func (p *points) next() (int64, float64) {
	time := p.time
	p.time += step
	switch p.digit {
	case 0, 1, 2, 3:
		p.value += int64(p.below(counterRise))
		return time, float64(p.value)
	case 4, 5, 6:
		p.value += int64(p.below(2*walkStep+1)) - walkStep
	case 9:
		return time, float64(p.below(noiseRange)) / 1000
	}
	return time, float64(p.value) / 100
}

// draw is 64 random bits (SplitMix64).
func (p *points) draw() uint64 {
	p.random += 0x9e3779b97f4a7c15
	x := p.random
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (p *points) below(n uint64) uint64 {
	high, _ := bits.Mul64(p.draw(), n)
	return high
}

// labels are those of a series as it is sent to servers. No two series differ in their
// name alone, so that functions which drop it may be asked of several at once.
func labels(number uint32) []prompb.Label {
	host := int(number) / perHost
	return []prompb.Label{
		{Name: "__name__", Value: mixNames[number%uint32(perHost)]},
		{Name: "host", Value: fmt.Sprintf("web-%05d", host)},
		{Name: "instance", Value: fmt.Sprint(number % uint32(perHost))},
		{Name: "region", Value: fmt.Sprintf("eu-%d", host%4+1)},
	}
}

// body is the next n points of each of some series, as one body of remote write.
func body(numbers []uint32, all []points, n int) ([]byte, error) {
	request := prompb.WriteRequest{Timeseries: make([]prompb.TimeSeries, len(numbers))}
	samples := make([]prompb.Sample, 0, len(numbers)*n)
	for i, number := range numbers {
		for range n {
			time, value := all[number].next()
			samples = append(samples, prompb.Sample{Timestamp: time, Value: value})
		}
		request.Timeseries[i] = prompb.TimeSeries{Labels: labels(number), Samples: samples[len(samples)-n:]}
	}
	raw, err := request.Marshal()
	if err != nil {
		return nil, fmt.Errorf("encode remote write: %w", err)
	}
	return snappy.Encode(nil, raw), nil
}

// isPoint tells whether a bucket is a point, to the bit.
func isPoint(b *bucket.Bucket, time int64, value float64) bool {
	return *b == bucket.Of(time, value) && math.Float64bits(b.Last) == math.Float64bits(value)
}
