package quantize_test

import (
	"math/rand/v2"
	"testing"

	"carillon/quantize"
	"carillon/series"
)

// steps makes the points of many series, a sample each a step, in batches.
type steps struct {
	at      int64
	order   []uint32
	numbers []uint32
	times   []int64
	values  []float64
	random  *rand.Rand
	stray   bool // one in a hundred is late, one is sent twice, and one is from the future

	accepted uint64
	sum      float64
}

const batchPoints = 5_000

func newSteps(n int, stray bool) *steps {
	s := &steps{
		at: 1e12, order: make([]uint32, n), numbers: make([]uint32, n), times: make([]int64, n), values: make([]float64, n),
		random: rand.New(rand.NewPCG(1, 2)), stray: stray,
	}
	for i := range s.order {
		s.order[i] = uint32(i)
	}
	return s
}

// now is when the i-th point of the step is sent.
func (s *steps) now(i int) int64 { return s.at + config.Resolution*int64(i)/int64(len(s.order)) }

// next is the points of the next step.
func (s *steps) next(shuffle bool) {
	s.at += config.Resolution
	if shuffle {
		s.random.Shuffle(len(s.order), func(i, j int) { s.order[i], s.order[j] = s.order[j], s.order[i] })
	}
	ordinary := false
	for i, number := range s.order {
		s.numbers[i], s.times[i], s.values[i] = number, s.now(i)-int64(number%50), float64(s.random.IntN(1000))
		fate := 99
		if s.stray {
			fate = s.random.IntN(100)
		}
		switch {
		case fate == 0:
			s.times[i] -= 3*config.Resolution - 1
		case fate == 1:
			s.times[i] += 2 * config.FutureTolerance
			ordinary = false
			continue
		case fate == 2 && ordinary:
			s.numbers[i], s.times[i], s.values[i] = s.numbers[i-1], s.times[i-1], s.values[i-1]
			continue
		}
		ordinary = fate > 2
		s.accepted++
		s.sum += s.values[i]
	}
}

// run sends steps of n series, with an Advance each second, and returns what left.
func run(q *quantize.Quantizer, s *steps, out *quantize.Output, left *total) {
	n := len(s.order)
	for i := 0; i < n; i += batchPoints {
		end := min(i+batchPoints, n)
		q.AddPoints(s.now(end), s.numbers[i:end], s.times[i:end], s.values[i:end], out)
		left.drain(out)
		if i%(n/10) != 0 {
			continue
		}
		for q.Advance(s.now(i), out) {
			left.drain(out)
		}
		left.drain(out)
	}
}

// total is what left a quantizer for the store.
type total struct {
	count uint64
	sum   float64
}

func (t *total) drain(out *quantize.Output) {
	for _, v := range out.Kept.Values {
		t.sum += v
	}
	t.count += uint64(len(out.Kept.Values))
	for i := range out.Kept.Wholes {
		t.sum += out.Kept.Wholes[i].Sum
		t.count += out.Kept.Wholes[i].Count
	}
	out.Reset()
}

// check compares what left, and what is still open, with what was sent.
func (t *total) check(b testing.TB, q *quantize.Quantizer, s *steps) {
	for number := range uint32(q.Series()) {
		if o, ok := q.Open(number); ok {
			t.sum += o.Sum
			t.count += o.Count
		}
	}
	if t.count != s.accepted || t.sum != s.sum {
		b.Errorf("%d points with the sum %v went in, %d with %v came out", s.accepted, s.sum, t.count, t.sum)
	}
}

func newQuantizer(n int) *quantize.Quantizer {
	q := quantize.New(config)
	for range n {
		q.Define(series.Gauge)
	}
	return q
}

// BenchmarkAddPoints aligns a million series, a sample every 10 s, as in life; the
// share of Advance is in the time of a point. What leaves must be the sum of what
// was sent.
func BenchmarkAddPoints(b *testing.B) {
	const n = 1_000_000
	for _, c := range []struct {
		name           string
		shuffle, stray bool
	}{{"random", true, false}, {"sequential", false, false}, {"stray", true, true}} {
		b.Run(c.name, func(b *testing.B) {
			q, s := newQuantizer(n), newSteps(n, c.stray)
			var out quantize.Output
			var left total
			points := 0
			for b.Loop() {
				b.StopTimer()
				s.next(c.shuffle)
				b.StartTimer()
				run(q, s, &out, &left)
				points += n
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(points), "ns/point")
			b.ReportMetric(float64(q.Bytes())/n, "B/series")
			b.ReportMetric(0, "ns/op")
			left.check(b, q, s)
		})
	}
}

// TestSums is the benchmark, small: no point is lost or counted twice, whatever
// strays between.
func TestSums(t *testing.T) {
	q, s := newQuantizer(50_000), newSteps(50_000, true)
	var out quantize.Output
	var left total
	for range 8 {
		s.next(true)
		run(q, s, &out, &left)
	}
	left.check(t, q, s)
	c := q.Counts()
	if c.Verdicts[quantize.Late] == 0 || c.Verdicts[quantize.Duplicate] == 0 || c.Verdicts[quantize.Future] == 0 || c.Completed == 0 {
		t.Errorf("%+v", c)
	}
}

func TestAddPointsDoesNotAllocate(t *testing.T) {
	q, s := newQuantizer(20_000), newSteps(20_000, true)
	var out quantize.Output
	var left total
	step := func() {
		s.next(true)
		run(q, s, &out, &left)
	}
	for range 20 { // let out and the parts reach their size
		step()
	}
	if allocs := testing.AllocsPerRun(10, step); allocs > 0 {
		t.Errorf("%v allocations in %d points", allocs, q.Series())
	}
}
