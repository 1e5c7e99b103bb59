package quantize_test

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

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
//	forget                  what the store has deleted, a line: SERIES FROM TO
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
			verdict := s.verdict(func() { add(s.q, now(t, d), uint32(f[0]), millis(f[1]), f[2], &s.out) })
			fmt.Fprintf(&b, "%s: %v\n", line, verdict)
		}
	case "aggregate":
		for _, line := range strings.Split(d.Input, "\n") {
			f := numbers(t, line)
			a := bucket.Bucket{FirstTime: millis(f[1]), LastTime: millis(f[1]), Sum: f[2], Min: f[4], Max: f[5],
				Count: uint64(f[6]), First: f[2] / f[6], Last: f[2] / f[6], M2: f[3] - f[2]*f[2]/f[6]}
			verdict := s.verdict(func() { s.q.AddAggregate(now(t, d), uint32(f[0]), &a, &s.out) })
			fmt.Fprintf(&b, "%s: %v\n", line, verdict)
		}
	case "advance":
		for s.q.Advance(now(t, d), &s.out) {
		}
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
	case "forget":
		for _, line := range strings.Split(d.Input, "\n") {
			f := numbers(t, line)
			s.q.Forget(uint32(f[0]), millis(f[1]), millis(f[2]))
		}
	case "counts":
		c := s.q.Counts()
		for reason, n := range c.ByReason() {
			if n > 0 {
				fmt.Fprintf(&b, "%s=%d\n", reason, n)
			}
		}
	}
	for number, k := range s.out.Kept.All() {
		fmt.Fprintf(&b, "kept      %s\n", show(number, &k))
	}
	for number, k := range s.out.Completed.All() {
		fmt.Fprintf(&b, "completed %s\n", show(number, &k))
	}
	s.out.Reset()
	return b.String()
}

// verdict is what do is counted as.
func (s *script) verdict(do func()) quantize.Verdict {
	before := s.q.Counts()
	do()
	for v, n := range s.q.Counts().Verdicts {
		if n > before.Verdicts[v] {
			return quantize.Verdict(v)
		}
	}
	panic("it was not counted")
}

func add(q *quantize.Quantizer, now int64, number uint32, time int64, value float64, out *quantize.Output) {
	q.AddPoints(now, []uint32{number}, []int64{time}, []float64{value}, out)
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
