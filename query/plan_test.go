package query

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/promql"
	"pgregory.net/rapid"

	"carillon/store"
)

const (
	hour = int64(3600_000)
	day  = 24 * hour
)

func TestPreferred(t *testing.T) {
	p := planner{tiers: defaultTiers()}
	for _, c := range []struct {
		name string
		s    selection
		want int
	}{
		{"two days are read finely", selection{end: 2 * day, step: hour}, 0},
		{"a week at an hour's step", selection{end: 7 * day, step: hour}, 2},
		{"a week at ten minutes' step", selection{end: 7 * day, step: 600_000}, 1},
		{"a week at a step finer than all tiers", selection{end: 7 * day, step: 1000}, 0},
		{"a rate needs two samples in its window", selection{end: 7 * day, step: hour, window: hour, pairs: true}, 1},
		{"a maximum does not", selection{end: 7 * day, step: hour, window: hour}, 2},
		{"a window of five minutes", selection{end: 7 * day, step: hour, window: 300_000, pairs: true}, 0},
		{"one evaluation over thirty days", selection{end: 30 * day, window: 30 * day}, 2},
		{"one evaluation over three days", selection{end: 3 * day, window: 3 * day}, 1},
	} {
		if got := p.preferred(c.s); got != c.want {
			t.Errorf("%s: tier %d, want %d", c.name, got, c.want)
		}
	}
}

func TestSpliceExample(t *testing.T) {
	p := planner{tiers: defaultTiers(), now: 1000*day + 12345}
	got := p.splice(0, 980*day, 1000*day)
	boundary := 990*day + 300_000 // ten days ago, up to the next five minutes
	want := []stretch{
		{tier: 1, from: 635*day + hour, to: boundary},
		{tier: 0, from: boundary, to: math.MaxInt64},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(stretch{})); diff != "" {
		t.Errorf("stretches (-want +got):\n%s", diff)
	}
}

// TestSpliceCoversOnce draws tiers and checks that the stretches cover the
// selection without a gap, without an overlap, on boundaries that both sides'
// segments respect, and only with tiers that are still retained.
func TestSpliceCoversOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var tiers []store.Tier
		resolution, retention := time.Second, time.Duration(0)
		for range rapid.IntRange(1, 5).Draw(t, "tiers") {
			resolution *= time.Duration(rapid.IntRange(2, 60).Draw(t, "factor"))
			retention = max(retention, resolution) + time.Duration(rapid.Int64Range(1, 1e6).Draw(t, "retention"))*time.Second
			tiers = append(tiers, store.Tier{Resolution: resolution, Retention: retention})
		}
		now := rapid.Int64Range(-1e12, 1e13).Draw(t, "now")
		p := planner{tiers: tiers, now: now}
		start := now - rapid.Int64Range(0, 3e9).Draw(t, "start")
		end := start + rapid.Int64Range(0, 3e9).Draw(t, "length")
		preferred := rapid.IntRange(0, len(tiers)-1).Draw(t, "preferred")
		stretches := p.splice(preferred, start, end)
		if len(stretches) == 0 || stretches[0].from > start || stretches[len(stretches)-1].to <= end {
			t.Fatalf("%v does not cover %d to %d", stretches, start, end)
		}
		for i, s := range stretches {
			if s.tier < preferred {
				t.Fatalf("tier %d is finer than %d", s.tier, preferred)
			}
			if s.tier < len(tiers)-1 && s.from < now-tiers[s.tier].Retention.Milliseconds() {
				t.Fatalf("tier %d is read where it is not retained: %v", s.tier, stretches)
			}
			if i == 0 {
				continue
			}
			older := stretches[i-1]
			if older.to != s.from || s.from%p.resolution(older.tier) != 0 || s.from%p.resolution(s.tier) != 0 {
				t.Fatalf("bad boundary: %v", stretches)
			}
		}
	})
}

func TestLookback(t *testing.T) {
	now := epoch.Add(30 * 24 * time.Hour)
	api := newAPI(nil, now)
	p := planner{tiers: defaultTiers(), now: now.UnixMilli()}
	for _, c := range []struct {
		text string
		ago  time.Duration // of the start
		step time.Duration // 0: an instant query
		want time.Duration
	}{
		{"x", time.Hour, 0, 5 * time.Minute},
		{"x", 47 * time.Hour, time.Minute, 5 * time.Minute},
		{"x", 7 * 24 * time.Hour, 4 * time.Hour, 2 * time.Hour},
		{"x", 20 * 24 * time.Hour, 0, 10 * time.Minute},
		{"x offset 20d", time.Hour, 0, 10 * time.Minute},
		{"x offset 400d", time.Hour, 0, 2 * time.Hour},
		{"x @ 1000", time.Hour, 0, 2 * time.Hour},
		{"x @ start()", 11 * 24 * time.Hour, time.Minute, 10 * time.Minute},
		{"max_over_time(x[300d])", time.Hour, 0, 5 * time.Minute},
		{"x > max_over_time(x[300d])", time.Hour, 0, 5 * time.Minute},
		{"max_over_time(x[300d:1h])", time.Hour, 0, 2 * time.Hour},
		{"max_over_time((x offset 400d)[1h:])", time.Hour, 0, 2 * time.Hour},
	} {
		q := question{text: c.text, start: now.Add(-c.ago), end: now, step: c.step}
		if c.step == 0 {
			q.end = q.start
		}
		expr, err := api.columns.ParseExpr(c.text)
		if err != nil {
			t.Fatal(err)
		}
		if expr, err = promql.PreprocessExpr(expr, q.start, q.end, q.step); err != nil {
			t.Fatal(err)
		}
		if got := p.lookback(expr, q.start.UnixMilli(), q.end.UnixMilli(), q.step.Milliseconds()); got != c.want {
			t.Errorf("%s from %s ago, step %s: looks back %s, want %s", c.text, c.ago, c.step, got, c.want)
		}
	}
}
