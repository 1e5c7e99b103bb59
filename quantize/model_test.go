package quantize_test

import (
	"cmp"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"carillon/bucket"
	"carillon/quantize"
	"carillon/series"
)

// TestModel sends the same points, aggregates, seals and advances to a Quantizer
// and to a naive one; everything that leaves them is the same, to the bit and in
// order.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := config
		c.Resolution = rapid.SampledFrom([]int64{1, 1_000, 10_000}).Draw(t, "resolution")
		m := &model{q: quantize.New(c), naive: &naive{config: c}, now: 1e12}
		for range rapid.IntRange(1, 4).Draw(t, "series") {
			m.define(t)
		}
		t.Repeat(map[string]func(*rapid.T){
			"points":     m.points,
			"points too": m.points,
			"step":       m.step,
			"aggregate":  m.aggregate,
			"advance":    m.advance,
			"seal":       m.seal,
			"define":     m.define,
			"kind":       m.setKind,
			"":           m.look,
		})
	})
}

type model struct {
	q     *quantize.Quantizer
	out   quantize.Output
	naive *naive
	now   int64
}

var (
	modelKinds  = rapid.SampledFrom([]series.Kind{series.Gauge, series.Counter, series.Event})
	modelValues = rapid.SampledFrom([]float64{1, 2, 3, 2.5, -1, math.NaN(), math.Inf(1), math.Float64frombits(bucket.StaleNaN)})
	modelLags   = rapid.OneOf(rapid.Int64Range(-100, 3_000), rapid.SampledFrom([]int64{
		-60_001, -60_000, -20_000, -11_000, 10_000, 15_000, 40_000, 99_000, 101_000, 1_000_000, 1_000_001,
	}))
)

func (m *model) number(t *rapid.T) uint32 {
	return uint32(rapid.IntRange(0, m.q.Series()-1).Draw(t, "number"))
}

func (m *model) define(t *rapid.T) {
	kind := modelKinds.Draw(t, "kind")
	m.q.Define(kind)
	m.naive.define(kind)
}

func (m *model) setKind(t *rapid.T) {
	number, kind := m.number(t), modelKinds.Draw(t, "kind")
	m.q.SetKind(number, kind)
	m.naive.states[number].kind = kind
}

// points sends a batch, of times so coarse that many meet.
func (m *model) points(t *rapid.T) {
	var numbers []uint32
	var times []int64
	var values []float64
	for range rapid.IntRange(1, 50).Draw(t, "points") {
		numbers = append(numbers, m.number(t))
		times = append(times, m.now-modelLags.Draw(t, "lag")/500*500)
		values = append(values, modelValues.Draw(t, "value"))
	}
	m.send(numbers, times, values)
}

// step sends what ordinary series send: a sample each.
func (m *model) step(t *rapid.T) {
	m.now += m.naive.config.Resolution
	var numbers []uint32
	var times []int64
	var values []float64
	for number := range uint32(m.q.Series()) {
		numbers, times, values = append(numbers, number), append(times, m.now), append(values, modelValues.Draw(t, "value"))
	}
	m.send(numbers, times, values)
}

func (m *model) send(numbers []uint32, times []int64, values []float64) {
	m.q.AddPoints(m.now, numbers, times, values, &m.out)
	for i, number := range numbers {
		m.naive.count(m.naive.add(m.now, number, times[i], values[i]))
		switch bits := math.Float64bits(values[i]); {
		case bits == bucket.StaleNaN:
			m.naive.counts.StaleMarkers++
		case math.IsNaN(values[i]) || math.IsInf(values[i], 0):
			m.naive.counts.NotFinite++
		}
	}
}

func (m *model) aggregate(t *rapid.T) {
	number := m.number(t)
	at := m.now - modelLags.Draw(t, "lag")
	b := bucket.Of(at, 4)
	for i := range rapid.IntRange(0, 2).Draw(t, "more") {
		one := bucket.Of(at+int64(i)*rapid.Int64Range(0, 300).Draw(t, "apart"), float64(i))
		b.Merge(series.Event, &one)
	}
	m.q.AddAggregate(m.now, number, &b, &m.out)
	m.naive.count(m.naive.addAggregate(m.now, number, &b))
}

func (m *model) advance(t *rapid.T) {
	m.now += rapid.Int64Range(0, 12_000).Draw(t, "pass")
	for m.q.Advance(m.now, &m.out) {
	}
	m.naive.advance(m.now)
}

func (m *model) seal(t *rapid.T) {
	var got []numbered
	for number, b := range m.q.Seal {
		got = append(got, numbered{number, b})
	}
	equal(t, "sealed", got, m.naive.seal())
}

// look compares what left the two, and what is open. Segments are completed in any
// order of the series, but in order in each.
func (m *model) look(t *rapid.T) {
	equal(t, "kept", all(&m.out.Kept), m.naive.kept)
	completed := all(&m.out.Completed)
	for _, list := range [][]numbered{completed, m.naive.complete} {
		slices.SortStableFunc(list, func(a, b numbered) int { return cmp.Compare(a.number, b.number) })
	}
	equal(t, "completed", completed, m.naive.complete)
	if !slices.Equal(m.out.Refused, m.naive.refused) {
		t.Fatalf("refused %v, want %v", m.out.Refused, m.naive.refused)
	}
	m.out.Reset()
	m.naive.kept, m.naive.complete, m.naive.refused = nil, nil, nil
	if m.q.Counts() != m.naive.counts {
		t.Fatalf("counts %+v, want %+v", m.q.Counts(), m.naive.counts)
	}
	for number := range m.naive.states {
		got, ok := m.q.Open(uint32(number))
		want := m.naive.states[number].whole()
		if ok == want.Empty() || !sameBits(got, want) {
			t.Fatalf("series %d, open: %+v, want %+v", number, got, want)
		}
	}
}

func all(b *quantize.Batch) (buckets []numbered) {
	for number, b := range b.All() {
		buckets = append(buckets, numbered{number, b})
	}
	return buckets
}

func equal(t *rapid.T, what string, got, want []numbered) {
	if !slices.EqualFunc(got, want, func(a, b numbered) bool { return a.number == b.number && sameBits(a.bucket, b.bucket) }) {
		t.Fatalf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

// sameBits compares to the bit, so that NaN equals itself.
func sameBits(a, b bucket.Bucket) bool {
	bits := func(b bucket.Bucket) [8]uint64 {
		f := math.Float64bits
		return [8]uint64{f(b.First), f(b.Last), f(b.Sum), f(b.Min), f(b.Max), f(b.M2), f(b.Resets), b.Count}
	}
	return bits(a) == bits(b) && a.FirstTime == b.FirstTime && a.LastTime == b.LastTime && a.StaleTime == b.StaleTime
}
