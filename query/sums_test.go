package query

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"

	"carillon/bucket"
	"carillon/query/querytest"
	"carillon/series"
	"carillon/store"
)

// merging answers Sums with as little as it may: one bucket, of which nothing but count, sum,
// least and largest is right.
type merging struct {
	*querytest.Store
	tiers map[int]int // that Sums was asked of, and how often
}

func (m merging) Sums(ctx context.Context, ids []series.ID, tier int, from, to int64, visit func(series.ID, []bucket.Bucket) error) error {
	m.tiers[tier]++
	return m.Read(ctx, ids, tier, from, to, func(id series.ID, buckets []bucket.Bucket) error {
		all := bucket.Bucket{}
		for _, b := range buckets {
			all.Merge(series.Gauge, &b)
		}
		last := buckets[len(buckets)-1]
		return visit(id, []bucket.Bucket{{
			FirstTime: buckets[0].FirstTime, LastTime: last.FirstTime,
			Count: all.Count, Sum: all.Sum, Min: all.Min, Max: all.Max,
		}})
	})
}

// TestSumsOfLongWindows: a window that is worked out once may be answered by sums of many
// buckets, where a column of it adds up; one that is worked out several times may not, nor one
// that is to be exact.
func TestSumsOfLongWindows(t *testing.T) {
	tiers, err := store.ParseTiers("10s:1d,5m:10d")
	if err != nil {
		t.Fatal(err)
	}
	start, now := epoch.Add(-5*24*time.Hour), epoch
	s := querytest.New(tiers...)
	samples := walk(start, int(now.Sub(start)/(10*time.Second)), func(i int) float64 { return 50 + 40*math.Sin(float64(i)/700) + float64(i%7) })
	load(t, s, "x", series.Gauge, samples)
	s.Drop(0, now.Add(-24*time.Hour).UnixMilli())
	m := merging{s, map[int]int{}}
	api := newAPI(s, now, func(c *Config) { c.Buckets = m })
	ask := func(text string, start, end time.Time) []float64 {
		t.Helper()
		value, err := api.evaluate(t, question{text: text, start: start, end: end, step: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		var values []float64
		switch v := value.(type) {
		case promql.Vector:
			values = append(values, v[0].F)
		case promql.Matrix:
			for _, p := range v[0].Floats {
				values = append(values, p.F)
			}
		}
		return values
	}
	for _, c := range []struct {
		function string
		length   time.Duration
		tiers    []int
	}{
		{"sum_over_time", 72 * time.Hour, []int{1}},
		{"avg_over_time", 72 * time.Hour, []int{1}},
		{"count_over_time", 72 * time.Hour, []int{0, 1}},
		{"min_over_time", 72 * time.Hour, []int{0, 1}},
		{"max_over_time", 12 * time.Hour, []int{0}},
		{"max_over_time", time.Hour, nil},
		{"sum_over_time", 12 * time.Hour, nil},
		{"increase", 72 * time.Hour, nil},
	} {
		clear(m.tiers)
		text := fmt.Sprintf("%s(x[%ds])", c.function, int(c.length.Seconds()))
		once := ask(text, now, now)
		for _, tier := range c.tiers {
			if m.tiers[tier] == 0 {
				t.Errorf("%s: no sums of tier %d were asked for", text, tier)
			}
			delete(m.tiers, tier)
		}
		if len(m.tiers) > 0 {
			t.Errorf("%s: sums of tiers %v were asked for", text, m.tiers)
		}
		clear(m.tiers)
		again := ask(text, now.Add(-time.Minute), now)
		if len(m.tiers) > 0 {
			t.Errorf("%s, twice: sums of tiers %v were asked for", text, m.tiers)
		}
		if len(once) != 1 || len(again) != 2 || math.Abs(once[0]-again[1]) > 1e-9*math.Abs(again[1]) {
			t.Errorf("%s: %v once, %v in a range", text, once, again)
		}
	}
}
