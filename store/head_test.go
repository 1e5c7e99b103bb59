package store

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"carillon/bucket"
)

// TestHead: whatever is appended comes back in order and to the bit, also through a
// copy that was made before.
func TestHead(t *testing.T) {
	odd := rapid.SampledFrom([]float64{
		0, math.Copysign(0, -1), math.NaN(), math.Float64frombits(bucket.StaleNaN), math.Inf(1), math.Inf(-1),
		math.MaxFloat64, math.SmallestNonzeroFloat64, 1 << 53, -1 << 60, 0.1, 1e-7, 1.0 / 3,
	})
	decimal := rapid.Custom(func(t *rapid.T) float64 {
		return float64(rapid.IntRange(-1_000_000, 1_000_000).Draw(t, "number")) / rapid.SampledFrom([]float64{1, 10, 100, 1000, 1e9}).Draw(t, "scale")
	})
	float := rapid.OneOf(decimal, decimal, odd, rapid.Float64(), rapid.Map(rapid.Float32(), func(f float32) float64 { return float64(f) }))
	rapid.Check(t, func(t *rapid.T) {
		h := newHead()
		defer h.release()
		added := map[uint32][]bucket.Bucket{}
		type look struct {
			arena arena
			chain chain
			want  []bucket.Bucket
		}
		var looks []look
		last := int64(1_700_000_000_000)
		for range rapid.IntRange(0, 300).Draw(t, "buckets") {
			number := rapid.Uint32Range(0, 3).Draw(t, "series")
			switch rapid.IntRange(0, 9).Draw(t, "time") {
			case 0:
				last = rapid.OneOf(rapid.Int64(), rapid.Just(int64(math.MinInt64))).Draw(t, "any")
			case 1:
				last += rapid.Int64Range(-40_000, 40_000).Draw(t, "off")
			default:
				last += 10_000
			}
			b := bucket.Of(last, float.Draw(t, "value"))
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				b.Count = rapid.Uint64Range(0, 2).Draw(t, "count")
				b.Sum, b.Resets = float.Draw(t, "sum"), float.Draw(t, "resets")
				b.StaleTime = rapid.SampledFrom([]int64{0, last}).Draw(t, "stale")
				h.add(number, &b)
			case 1:
				h.add(number, &b)
			default:
				value := b.Last
				if b.Count == 0 {
					value = math.Float64frombits(bucket.StaleNaN)
				}
				h.addSamples([]uint32{number}, []int64{last}, []float64{value})
			}
			added[number] = append(added[number], b)
			if rapid.IntRange(0, 20).Draw(t, "look") == 0 {
				looks = append(looks, look{h.arena, h.chain(number), slices.Clone(added[number])})
			}
		}
		for _, l := range looks {
			checkHead(t, &l.arena, l.chain, l.want)
		}
		for number, want := range added {
			checkHead(t, &h.arena, h.chain(number), want)
		}
	})
}

func checkHead(t *rapid.T, a *arena, c chain, want []bucket.Bucket) {
	if got := a.read(c, nil); !slices.EqualFunc(got, want, sameBits) || int(c.count) != len(want) {
		t.Fatalf("count %d:\n got %v\nwant %v", c.count, got, want)
	}
	plain := !slices.ContainsFunc(want, func(b bucket.Bucket) bool { return !isSample(&b) })
	times, values, ok := a.samples(c, nil, nil)
	if ok != plain {
		t.Fatalf("samples: %v, but %v", ok, want)
	}
	for i := range times {
		if b := bucket.Of(times[i], values[i]); !sameBits(b, want[i]) {
			t.Fatalf("sample %d: %v, want %v", i, b, want[i])
		}
	}
}

// TestHeadIsReadWhileItGrows reads through copies while the owner appends and seals,
// and lets go of the head in between: under the race detector, and over memory that
// would be gone if a hold were missing.
func TestHeadIsReadWhileItGrows(t *testing.T) {
	config := testConfig(newMemFS(), testTiers(t, "10s:10d"))
	s, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	const numbers = 50
	all := make([]uint32, numbers)
	for i := range all {
		all[i] = uint32(i)
	}
	times, values := make([]int64, numbers), make([]float64, numbers)
	var readers sync.WaitGroup
	now := int64(scriptStart)
	for step := range 400 {
		now += 10 * second
		for i := range all {
			times[i], values[i] = now, float64(step*i)
		}
		s.AddSamples(all, times, values)
		if step%40 == 39 && !s.Sealing() {
			if err := s.Seal(now, uint64(step+1), none); err != nil {
				t.Fatal(err)
			}
		}
		if step%10 != 9 {
			continue
		}
		v := s.View(all, nil)
		readers.Go(func() {
			defer v.Close()
			for number := range uint32(numbers) {
				got, err := v.Read(number, 0, 0, math.MaxInt64, nil)
				if err != nil || len(got) != step+1 || got[step].Last != float64(step*int(number)) {
					t.Errorf("step %d, series %d: %d buckets, %v", step, number, len(got), err)
					return
				}
			}
		})
	}
	readers.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestHeadDoesNotAllocate(t *testing.T) {
	h := newHead()
	defer h.release()
	const numbers = 1000
	b := newHeadBatch(numbers)
	times, values := make([]int64, 0, 1000), make([]float64, 0, 1000)
	step := func() {
		b.next()
		h.addSamples(b.numbers, b.times, b.values)
		times, values, _ = h.samples(h.chain(7), times[:0], values[:0])
	}
	step()
	if allocs := testing.AllocsPerRun(20, step); allocs > 0 {
		t.Errorf("%v allocations in %d samples", allocs, numbers)
	}
}

// headBatch is a step of mixed metrics in an order of its own: 40 % rising counters,
// 30 % walks of two decimals, 20 % constants, 10 % noise of three decimals.
type headBatch struct {
	random  *rand.Rand
	at      int64
	numbers []uint32
	times   []int64
	values  []float64
	state   []int64
}

func newHeadBatch(n int) *headBatch {
	b := &headBatch{
		random: rand.New(rand.NewPCG(3, 4)), at: 1_700_000_000_000,
		numbers: make([]uint32, n), times: make([]int64, n), values: make([]float64, n), state: make([]int64, n),
	}
	for i := range b.numbers {
		b.numbers[i], b.state[i] = uint32(i), b.random.Int64N(1_000_000)
	}
	return b
}

func (b *headBatch) next() {
	b.at += 10_000
	b.random.Shuffle(len(b.numbers), func(i, j int) { b.numbers[i], b.numbers[j] = b.numbers[j], b.numbers[i] })
	for i, number := range b.numbers {
		state := &b.state[number]
		b.times[i] = b.at
		switch number % 10 {
		case 0, 1, 2, 3:
			*state += int64(b.random.ExpFloat64() * 1000)
			b.values[i] = float64(*state)
		case 4, 5, 6:
			*state += int64(b.random.NormFloat64() * 50)
			b.values[i] = float64(*state) / 100
		case 7, 8:
			b.values[i] = float64(*state)
		default:
			b.values[i] = float64(b.random.Int64N(1_000_000)) / 1000
		}
	}
}

// BenchmarkHead appends 60 steps of a million series and reads them again, as a seal
// does.
func BenchmarkHead(b *testing.B) {
	const n, steps, batch = 1_000_000, 60, 5_000
	for _, jitter := range []int64{0, 20} {
		h := newHead()
		s := newHeadBatch(n)
		b.Run(fmt.Sprintf("add/jitter=%d", jitter), func(b *testing.B) {
			h.release()
			h = newHead()
			added := 0
			for b.Loop() {
				b.StopTimer()
				s.next()
				for i := range s.times {
					if jitter > 0 {
						s.times[i] += s.random.Int64N(jitter)
					}
				}
				b.StartTimer()
				for i := 0; i < n; i += batch {
					h.addSamples(s.numbers[i:i+batch], s.times[i:i+batch], s.values[i:i+batch])
				}
				added += n
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(added), "ns/point")
			b.ReportMetric(float64(h.bytes())/float64(added), "B/point")
			b.ReportMetric(float64(h.bytes())/float64(n), "B/series")
			b.ReportMetric(0, "ns/op")
		})
		b.Run(fmt.Sprintf("read/jitter=%d", jitter), func(b *testing.B) {
			read := 0
			var times []int64
			var values []float64
			for b.Loop() {
				for number := range uint32(n) {
					times, values, _ = h.samples(h.chain(number), times[:0], values[:0])
					read += len(times)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(read), "ns/point")
			b.ReportMetric(0, "ns/op")
		})
		h.release()
	}
}
