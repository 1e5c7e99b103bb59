package query

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"

	"carillon/bucket"
	"carillon/query/querytest"
	"carillon/series"
	"carillon/store"
)

func named(t testing.TB, name string) series.Key {
	t.Helper()
	key, err := series.Named(name)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// walk is samples every ten seconds, shortly after the full ten.
func walk(start time.Time, n int, value func(i int) float64) []sample {
	random := rand.New(rand.NewPCG(3, 4))
	samples := make([]sample, n)
	for i := range samples {
		samples[i] = sample{T: start.UnixMilli() + int64(i)*10_000 + random.Int64N(5000), F: value(i)}
	}
	return samples
}

func load(t testing.TB, s *querytest.Store, name string, kind series.Kind, samples []sample) {
	t.Helper()
	key := named(t, name)
	for _, sample := range samples {
		s.Add(key, kind, sample.T, sample.F)
	}
}

func inWindow(samples []sample, after, to time.Time) []float64 {
	var values []float64
	for _, s := range samples {
		if s.T > after.UnixMilli() && s.T <= to.UnixMilli() {
			values = append(values, s.F)
		}
	}
	return values
}

// naive is the definition of each function over the raw values.
func naive(function string, values []float64) float64 {
	sum, rise := 0.0, 0.0
	for i, v := range values {
		sum += v
		if i > 0 {
			rise += v - values[i-1]
			if v < values[i-1] {
				rise += values[i-1]
			}
		}
	}
	n := float64(len(values))
	m2 := 0.0
	for _, v := range values {
		m2 += (v - sum/n) * (v - sum/n)
	}
	switch function {
	case "min_over_time":
		return slices.Min(values)
	case "max_over_time":
		return slices.Max(values)
	case "sum_over_time":
		return sum
	case "count_over_time":
		return n
	case "avg_over_time":
		return sum / n
	case "stdvar_over_time":
		return m2 / n
	case "stddev_over_time":
		return math.Sqrt(m2 / n)
	case "last_over_time":
		return values[len(values)-1]
	case "rise":
		return rise
	}
	panic(function)
}

func vectorValue(t testing.TB, api *API, text string, when time.Time) float64 {
	t.Helper()
	v, err := api.evaluate(t, question{text: text, start: when})
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	vector := v.(promql.Vector)
	if len(vector) != 1 {
		t.Fatalf("%s at %s: %d values, want one", text, when, len(vector))
	}
	return vector[0].F
}

// TestRolledUp asks for whole hours of which only the 1 h tier is left, and
// compares with the raw samples.
func TestRolledUp(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	samples := walk(epoch, 12*360, func(i int) float64 { return 1e6 + 50*math.Sin(float64(i)/99) + random.NormFloat64() })
	s := querytest.New(defaultTiers()...)
	load(t, s, "x", series.Gauge, samples)
	s.Drop(0, math.MaxInt64)
	s.Drop(1, math.MaxInt64)
	api := newAPI(s, at(2*365*24*time.Hour))
	for _, function := range []string{
		"min_over_time", "max_over_time", "sum_over_time", "count_over_time", "avg_over_time",
		"stddev_over_time", "stdvar_over_time", "last_over_time",
	} {
		for hours := 1; hours <= 5; hours++ {
			end := at(8 * time.Hour)
			got := vectorValue(t, api, fmt.Sprintf("%s(x[%dh])", function, hours), end)
			want := naive(function, inWindow(samples, end.Add(-time.Duration(hours)*time.Hour), end))
			if math.Abs(got-want) > 1e-9*math.Abs(want) {
				t.Errorf("%s over %d h: %v, want %v", function, hours, got, want)
			}
		}
	}
	for _, read := range s.Reads() {
		if read.Tier != 2 {
			t.Fatalf("read tier %d, which is not retained", read.Tier)
		}
	}
	if got := vectorValue(t, api, "x", at(8*time.Hour)); got != naive("last_over_time", inWindow(samples, epoch, at(8*time.Hour))) {
		t.Errorf("instant selector: %v", got)
	}
	middle := vectorValue(t, api, "quantile_over_time(0.5, x[4h])", at(8*time.Hour))
	if math.Abs(middle-1e6) > 60 {
		t.Errorf("median: %v", middle)
	}
}

// TestRolledUpCounter finds the increase over counter resets that only the
// buckets' Resets still know of.
func TestRolledUpCounter(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	total := 0.0
	samples := walk(epoch, 12*360, func(i int) float64 {
		if i%500 == 400 || i == 401 || i == 1000 {
			total = 0
		}
		total += float64(random.IntN(100))
		return total
	})
	s := querytest.New(defaultTiers()...)
	load(t, s, "x_total", series.Counter, samples)
	s.Drop(0, math.MaxInt64)
	s.Drop(1, math.MaxInt64)
	api := newAPI(s, at(2*365*24*time.Hour))

	// The window begins and ends just outside of the samples, so that the engine
	// extrapolates by next to nothing.
	first, last := samples[0].T, samples[len(samples)-1].T
	end := time.UnixMilli(last)
	window := time.Duration(last-first+1) * time.Millisecond
	want := naive("rise", inWindow(samples, epoch.Add(-time.Second), end))
	got := vectorValue(t, api, fmt.Sprintf("increase(x_total[%dms])", window.Milliseconds()), end)
	if math.Abs(got-want) > 1e-6*want {
		t.Errorf("increase: %v, want %v", got, want)
	}
	got = vectorValue(t, api, fmt.Sprintf("rate(x_total[%dms])", window.Milliseconds()), end)
	if want /= window.Seconds(); math.Abs(got-want) > 1e-6*want {
		t.Errorf("rate: %v, want %v", got, want)
	}
}

// TestSplice has samples in three tiers, none of which covers all: counts and
// maxima must be exact, as if there were no boundary.
func TestSplice(t *testing.T) {
	tiers := []store.Tier{
		{Resolution: 10 * time.Second, Retention: 90 * time.Minute},
		{Resolution: 5 * time.Minute, Retention: 4*time.Hour + 7*time.Minute},
		{Resolution: time.Hour, Retention: 1000 * time.Hour},
	}
	samples := walk(epoch, 9*360, func(i int) float64 { return float64(i % 7919) })
	s := querytest.New(tiers...)
	load(t, s, "x", series.Gauge, samples)
	now := at(8*time.Hour + 43*time.Minute + 12*time.Second)
	// What is out of retention may still be there: files go as a whole.
	s.Drop(0, now.Add(-2*time.Hour).UnixMilli())
	s.Drop(1, now.Add(-5*time.Hour).UnixMilli())
	api := newAPI(s, now)
	end := at(8 * time.Hour)
	for _, function := range []string{"count_over_time", "sum_over_time", "max_over_time", "min_over_time", "stdvar_over_time"} {
		got := vectorValue(t, api, function+"(x[8h])", end)
		want := naive(function, inWindow(samples, epoch, end))
		if math.Abs(got-want) > 1e-9*want {
			t.Errorf("%s: %v, want %v", function, got, want)
		}
	}
	tiersRead := map[int]bool{}
	for _, r := range s.Reads() {
		tiersRead[r.Tier] = true
	}
	if len(tiersRead) != 3 {
		t.Errorf("tiers read: %v, want all three", tiersRead)
	}
	// Instant selectors leave no gap where there are only hours: they look back
	// two hours then.
	v, err := api.evaluate(t, question{text: "x", start: at(time.Hour), end: end, step: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if points := len(v.(promql.Matrix)[0].Floats); points != 7*60+1 {
		t.Errorf("%d points, want one a minute", points)
	}
}

func TestEvents(t *testing.T) {
	s := querytest.New(defaultTiers()...)
	key := named(t, "logins")
	for i := range 360 {
		for j := range 3 { // three in the same millisecond
			s.Add(key, series.Event, epoch.UnixMilli()+int64(i)*10_000+500, float64(j+1))
		}
	}
	api := newAPI(s, at(time.Hour))
	for text, want := range map[string]float64{
		"logins":                       0.6, // 1+2+3 in ten seconds
		"sum_over_time(logins[10m])":   360,
		"count_over_time(logins[1m])":  18,
		"avg_over_time(logins[10m])":   2,
		"max_over_time(logins[10m])":   3,
		"rate(logins[10m])":            0.6,
		"increase(logins[10m])":        360,
		"stdvar_over_time(logins[1m])": 2.0 / 3,
	} {
		if got := vectorValue(t, api, text, at(59*time.Minute+55*time.Second)); math.Abs(got-want) > 1e-9 {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

// TestColumns lets a user ask for a column by hand.
func TestColumns(t *testing.T) {
	s := querytest.New(store.Tier{Resolution: time.Minute, Retention: time.Hour})
	for i, v := range []float64{3, 1, 4, 1, 5} {
		s.Add(named(t, "x"), series.Gauge, epoch.UnixMilli()+int64(i)*1000, v)
	}
	api := newAPI(s, at(time.Minute))
	for c, want := range map[string]float64{"edges": 5, "sum": 14, "count": 5, "min": 1, "max": 5, "avg": 2.8} {
		if got := vectorValue(t, api, fmt.Sprintf("x{__column__=%q}", c), at(30*time.Second)); got != want {
			t.Errorf("%s: %v, want %v", c, got, want)
		}
	}
	if _, err := api.evaluate(t, question{text: `x{__column__="median"}`, start: epoch}); err == nil {
		t.Error("no error for a column that is not there")
	}
}

// TestScatter checks that the samples that stand for a bucket have its count,
// mean and sum of squared distances, at increasing times inside its segment.
func TestScatter(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	const resolution = 10_000
	for n := 2; n < 40; n++ {
		var b bucket.Bucket
		width := []int64{9_999, int64(n), 1}[n%3]
		for range n {
			one := bucket.Of(epoch.UnixMilli()+random.Int64N(width), random.Float64()*100)
			b.Merge(series.Event, &one)
		}
		samples := scatter(nil, &b, 1, resolution)
		mean, m2 := 0.0, 0.0
		for i, s := range samples {
			mean += s.F / float64(len(samples))
			if i > 0 && s.T <= samples[i-1].T || bucket.Floor(s.T, resolution) != b.Start(resolution) {
				t.Fatalf("n %d: times %v", n, samples)
			}
		}
		for _, s := range samples {
			m2 += (s.F - mean) * (s.F - mean)
		}
		if uint64(len(samples)) != b.Count || math.Abs(mean-b.Mean()) > 1e-9 || math.Abs(m2-b.M2) > 1e-6 {
			t.Errorf("n %d: count %d, mean %v, m2 %v of %+v", n, len(samples), mean, m2, b)
		}
	}
	huge := bucket.Bucket{FirstTime: 1, LastTime: 1, Count: 1 << 40, Sum: 1 << 41, M2: 1 << 40}
	samples := scatter(nil, &huge, scatterScale(huge.Count, resolution), resolution)
	if len(samples) == 0 || len(samples) > maxScatter {
		t.Errorf("%d samples for a huge bucket", len(samples))
	}
}
