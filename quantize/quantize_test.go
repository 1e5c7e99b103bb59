package quantize_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"carillon/bucket"
	"carillon/quantize"
	"carillon/series"
)

// A transcript drives one quantizer with segments of 10 s, a finest tier of
// 100 s, 1000 s of retention in all and a future tolerance of 60 s. Times are in
// seconds with up to three decimals. Commands:
//
//	define KIND...          series 0, 1, ... of these kinds
//	add now=T               one point a line: SERIES TIME VALUE
//	aggregate now=T         one bucket a line: SERIES TIME SUM SUMSQ MIN MAX COUNT
//	advance now=T           what completes by then
//	open                    the open segments
//	seal                    what a seal hands to the store
//	counts                  every reason counted so far
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		var s *script
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "define" {
				s = newScript(d)
				return ""
			}
			return s.run(t, d)
		})
	})
}

type script struct {
	q   *quantize.Quantizer
	out quantize.Output
}

func newScript(d *datadriven.TestData) *script {
	s := &script{q: quantize.New(config)}
	for _, kind := range d.CmdArgs {
		for k := series.Gauge; k <= series.Event; k++ {
			if k.String() == kind.Key {
				s.q.Define(k)
			}
		}
	}
	return s
}

var config = quantize.Config{
	Resolution: 10_000, FinestRetention: 100_000, Retention: 1_000_000,
	FutureTolerance: 60_000, MinDelay: 2_000, MaxDelay: 30_000,
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	var b strings.Builder
	switch d.Cmd {
	case "add":
		for _, line := range strings.Split(d.Input, "\n") {
			f := numbers(t, line)
			p := quantize.Point{Series: uint32(f[0]), Time: millis(f[1]), Value: f[2]}
			fmt.Fprintf(&b, "%s: %v\n", line, s.q.Add(now(t, d), p, &s.out))
		}
	case "aggregate":
		for _, line := range strings.Split(d.Input, "\n") {
			f := numbers(t, line)
			a := bucket.Bucket{FirstTime: millis(f[1]), LastTime: millis(f[1]), Sum: f[2], Min: f[4], Max: f[5],
				Count: uint64(f[6]), First: f[2] / f[6], Last: f[2] / f[6], M2: f[3] - f[2]*f[2]/f[6]}
			fmt.Fprintf(&b, "%s: %v\n", line, s.q.AddAggregate(now(t, d), uint32(f[0]), &a, &s.out))
		}
	case "advance":
		s.q.Advance(now(t, d), &s.out)
	case "open":
		for i := range s.q.Series() {
			if o, ok := s.q.Open(uint32(i)); ok {
				fmt.Fprintf(&b, "open      %s\n", show(uint32(i), &o))
			}
		}
	case "seal":
		for n, o := range s.q.Seal {
			fmt.Fprintf(&b, "sealed    %s\n", show(n, &o))
		}
	case "counts":
		c := s.q.Counts()
		for reason, n := range c.ByReason() {
			if n > 0 {
				fmt.Fprintf(&b, "%s=%d\n", reason, n)
			}
		}
	}
	for _, k := range s.out.Kept {
		fmt.Fprintf(&b, "kept      %s\n", show(k.Series, &k.Bucket))
	}
	for _, k := range s.out.Completed {
		fmt.Fprintf(&b, "completed %s\n", show(k.Series, &k.Bucket))
	}
	s.out.Reset()
	return b.String()
}

func show(number uint32, b *bucket.Bucket) string {
	s := fmt.Sprintf("%d [%d] count=%d sum=%v min=%v max=%v m2=%.6g first=%v@%v last=%v@%v", number,
		b.Start(config.Resolution)/1000, b.Count, b.Sum, b.Min, b.Max, b.M2,
		b.First, float64(b.FirstTime)/1000, b.Last, float64(b.LastTime)/1000)
	if b.Resets != 0 {
		s += fmt.Sprintf(" resets=%v", b.Resets)
	}
	if b.StaleTime != 0 {
		s += fmt.Sprintf(" stale@%v", float64(b.StaleTime)/1000)
	}
	return s
}

func now(t *testing.T, d *datadriven.TestData) int64 {
	var s string
	d.ScanArgs(t, "now", &s)
	return millis(numbers(t, s)[0])
}

func millis(seconds float64) int64 { return int64(math.Round(seconds * 1000)) }

func numbers(t *testing.T, line string) (f []float64) {
	for _, word := range strings.Fields(line) {
		v, err := strconv.ParseFloat(word, 64)
		switch {
		case word == "stale":
			v = math.Float64frombits(bucket.StaleNaN)
		case err != nil:
			t.Fatalf("%q: %v", line, err)
		}
		f = append(f, v)
	}
	return f
}

// TestAnyOrderMakesTheSameBuckets sends the same points in any order, with seals
// and advances anywhere between, and compares with buckets made at once.
func TestAnyOrderMakesTheSameBuckets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const numSeries = 3
		type place struct {
			number  uint32
			segment int64
		}
		at := rapid.SliceOfNDistinct(rapid.Int64Range(0, 89_999), 1, 60, rapid.ID[int64]).Draw(t, "times")
		points := make([]quantize.Point, len(at))
		inOrder := map[place][]quantize.Point{}
		newest := map[uint32]int64{}
		slices.Sort(at)
		for i := range at {
			points[i] = quantize.Point{
				Series: uint32(rapid.IntRange(0, numSeries-1).Draw(t, "series")),
				Time:   1e12 + at[i],
				Value:  rapid.Float64Range(-1e6, 1e6).Draw(t, "value"),
			}
			p := place{points[i].Series, bucket.Floor(points[i].Time, config.Resolution)}
			inOrder[p] = append(inOrder[p], points[i])
			newest[p.number] = p.segment
		}

		stored := map[place]*bucket.Bucket{}
		keep := func(number uint32, b bucket.Bucket) bool {
			p := place{number, b.Start(config.Resolution)}
			if stored[p] == nil {
				stored[p] = &bucket.Bucket{}
			}
			stored[p].Merge(series.Gauge, &b)
			return true
		}
		published := map[place]int{}
		q := quantize.New(config)
		for range numSeries {
			q.Define(series.Gauge)
		}
		var out quantize.Output
		drain := func() {
			for i := range out.Kept {
				keep(out.Kept[i].Series, out.Kept[i].Bucket)
			}
			for i := range out.Completed {
				published[place{out.Completed[i].Series, out.Completed[i].Start(config.Resolution)}]++
			}
			out.Reset()
		}
		now := int64(1e12 + 89_999)
		for _, p := range rapid.Permutation(points).Draw(t, "order") {
			if v := q.Add(now, p, &out); v != quantize.OnTime && v != quantize.Late {
				t.Fatalf("%+v: %v", p, v)
			}
			switch rapid.IntRange(0, 9).Draw(t, "then") {
			case 0:
				q.Seal(keep)
			case 1:
				q.Advance(now, &out)
			case 2:
				drain()
			}
		}
		drain() // before the seal: the journal's order
		q.Seal(keep)
		q.Advance(now+config.MaxDelay+config.Resolution, &out)
		drain()

		if len(stored) != len(inOrder) {
			t.Fatalf("%d segments, want %d", len(stored), len(inOrder))
		}
		for p, samples := range inOrder {
			compare(t, *stored[p], samples)
			// A segment all of whose points came after a later one began is old
			// news; the newest one is always told of, and none twice.
			if n := published[p]; n > 1 || n == 0 && p.segment == newest[p.number] {
				t.Fatalf("segment %v was published %d times", p, n)
			}
		}
	})
}

func compare(t *rapid.T, got bucket.Bucket, samples []quantize.Point) {
	want := bucket.Bucket{Count: uint64(len(samples)), Min: math.Inf(1), Max: math.Inf(-1)}
	for _, s := range samples {
		want.Sum += s.Value
		want.Min, want.Max = min(want.Min, s.Value), max(want.Max, s.Value)
	}
	for _, s := range samples {
		d := s.Value - want.Sum/float64(want.Count)
		want.M2 += d * d
	}
	first, last := samples[0], samples[len(samples)-1]
	exact := got.Count == want.Count && got.Min == want.Min && got.Max == want.Max &&
		got.FirstTime == first.Time && got.First == first.Value && got.LastTime == last.Time && got.Last == last.Value
	if !exact {
		t.Fatalf("got %+v from %+v", got, samples)
	}
	scale := max(math.Abs(want.Min), math.Abs(want.Max))
	n := float64(want.Count)
	if math.Abs(got.Sum-want.Sum) > 1e-12*scale*n || math.Abs(got.M2-want.M2) > 1e-9*scale*scale*n {
		t.Fatalf("sum %v m2 %v, want %v and %v", got.Sum, got.M2, want.Sum, want.M2)
	}
}

func TestAddDoesNotAllocate(t *testing.T) {
	q := quantize.New(config)
	const n = 1000
	for range n {
		q.Define(series.Gauge)
	}
	out := quantize.Output{Kept: make([]quantize.Bucket, 0, 2*n), Completed: make([]quantize.Bucket, 0, 2*n)}
	at := int64(1e12)
	step := func() {
		for i := range uint32(n) {
			q.Add(at, quantize.Point{Series: i, Time: at, Value: 1}, &out)
		}
		q.Advance(at, &out)
		out.Reset()
		at += config.Resolution
	}
	for range 8 { // let the list of awaited segments reach its size
		step()
	}
	if allocs := testing.AllocsPerRun(20, step); allocs > 0 {
		t.Errorf("%v allocations in %d points", allocs, n)
	}
}

// BenchmarkAdd aligns 100,000 series in an order reshuffled every step.
func BenchmarkAdd(b *testing.B) {
	const n = 100_000
	q := quantize.New(config)
	order := make([]uint32, n)
	for i := range order {
		order[i] = uint32(i)
		q.Define(series.Gauge)
	}
	random := rand.New(rand.NewPCG(1, 2))
	var out quantize.Output
	at := int64(1e12)
	for i := 0; b.Loop(); i++ {
		if i%n == 0 {
			b.StopTimer()
			at += config.Resolution
			q.Advance(at, &out)
			out.Reset()
			random.Shuffle(n, func(i, j int) { order[i], order[j] = order[j], order[i] })
			b.StartTimer()
		}
		q.Add(at, quantize.Point{Series: order[i%n], Time: at + int64(i%7), Value: float64(i)}, &out)
	}
}
