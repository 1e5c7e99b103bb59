package quantize_test

import (
	"testing"

	"carillon/quantize"
	"carillon/series"
)

// TestMaxPoints: a limited series brings so many points a segment, whether a seal comes
// between them or not; others bring as many as they like, and so does it by other
// values for its newest millisecond.
func TestMaxPoints(t *testing.T) {
	limited := config
	limited.MaxPoints = func(number uint32) uint64 { return uint64(number) * 3 }
	q := quantize.New(limited)
	q.Define(series.Gauge)
	q.Define(series.Gauge)
	var out quantize.Output
	verdict := func(number uint32, time int64, value float64) quantize.Verdict {
		before := q.Counts().Verdicts
		add(q, 1_010_000, number, time, value, &out)
		for v, n := range q.Counts().Verdicts {
			if n > before[v] {
				return quantize.Verdict(v)
			}
		}
		panic("it was not counted")
	}
	for segment := int64(1_000_000); segment <= 1_010_000; segment += 10_000 {
		for i := range int64(6) {
			if got := verdict(0, segment+i, 1); got != quantize.OnTime {
				t.Errorf("point %d of a series without a limit: %v", i, got)
			}
			want := quantize.OnTime
			if i >= 3 {
				want = quantize.TooMany
			}
			if got := verdict(1, segment+i, 1); got != want {
				t.Errorf("point %d of a limited series: %v, want %v", i, got, want)
			}
			if i == 1 {
				for range q.Seal {
				}
			}
		}
		if got := verdict(1, segment+2, 7); got != quantize.Replaced {
			t.Errorf("another value for the newest millisecond: %v", got)
		}
	}
	if len(out.Refused) != 6 {
		t.Errorf("%d points refused, want 6", len(out.Refused))
	}
}
