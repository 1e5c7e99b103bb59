package traffic

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/prompb"
)

var begin = time.UnixMilli(1_700_000_000_000)

func newGenerator(t testing.TB, c Config) *Generator {
	t.Helper()
	if c.Start.IsZero() {
		c.Start = begin
	}
	if c.Step == 0 {
		c.Step = 10 * time.Second
	}
	g, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

var rough = Rough{Jitter: 40 * time.Millisecond, Late: 0.05, Duplicate: 0.05, Future: 0.05}

// point is a row of Points.
type point struct {
	series uint32
	time   int64
	value  float64
}

// all makes a number of steps, in batches of the size.
func all(g *Generator, steps, batch int) (points []point, sum Sum) {
	var p Points
	for range steps {
		g.NextStep()
		for from := 0; from < g.Series(); from += batch {
			sum.Add(g.Fill(&p, from, min(from+batch, g.Series())))
			for i := range p.Numbers {
				points = append(points, point{p.Numbers[i], p.Times[i], p.Values[i]})
			}
		}
	}
	return points, sum
}

func TestDeterministic(t *testing.T) {
	for _, c := range []Config{{Series: 777, Seed: 5}, {Series: 777, Seed: 5, Rough: rough}, {Series: 777, Seed: 5, Sequential: true}} {
		a, sumA := all(newGenerator(t, c), 5, 100)
		b, sumB := all(newGenerator(t, c), 5, 33)
		if !slices.Equal(a, b) || sumA != sumB {
			t.Errorf("%+v: two runs differ", c)
		}
		c.Seed++
		if other, _ := all(newGenerator(t, c), 5, 100); slices.Equal(a, other) {
			t.Errorf("%+v: the seed makes no difference", c)
		}
	}
}

// TestSum stores what a server should: a time of a series once, and nothing of the
// future.
func TestSum(t *testing.T) {
	for name, r := range map[string]Rough{"plain": {}, "rough": rough} {
		t.Run(name, func(t *testing.T) {
			const series, steps = 500, 40
			g := newGenerator(t, Config{Series: series, Rough: r})
			points, sum := all(g, steps, 64)
			if len(points) != series*steps {
				t.Fatalf("%d points", len(points))
			}
			type key struct {
				series uint32
				time   int64
			}
			stored := make(map[key]float64)
			var total float64
			var repeated, ahead, behind int
			for _, p := range points {
				k := key{p.series, p.time}
				before, known := stored[k]
				switch {
				case p.time > g.Time()+FutureBy.Milliseconds()/2:
					ahead++
				case known && before != p.value:
					t.Fatalf("%+v was %v before", p, before)
				case known:
					repeated++
				default:
					if (p.time-begin.UnixMilli()+LateSteps*g.every)%g.every == g.every/2 {
						behind++
					}
					stored[k] = p.value
					total += p.value
				}
			}
			if int64(len(stored)) != sum.Points || math.Abs(total-sum.Value()) > 1e-9*total {
				t.Errorf("%d points with sum %v are to be stored, said are %d and %v", len(stored), total, sum.Points, sum.Value())
			}
			if repeated+ahead+int(sum.Points) != len(points) {
				t.Errorf("%d repeated, %d ahead, %d accepted of %d", repeated, ahead, sum.Points, len(points))
			}
			for what, got := range map[string]int{"late": behind, "repeated": repeated, "future": ahead} {
				if want := float64(len(points)) * r.Late; float64(got) < 0.8*want || float64(got) > 1.2*want {
					t.Errorf("%d %s points of %d, want about %v", got, what, len(points), want)
				}
			}
		})
	}
}

// TestKinds looks at what the values of each kind are.
func TestKinds(t *testing.T) {
	const series, steps = 1000, 200
	values := make([][]float64, series)
	points, _ := all(newGenerator(t, Config{Series: series}), steps, series)
	for _, p := range points {
		values[p.series] = append(values[p.series], p.value)
	}
	shares := make(map[kind]int)
	var increments, squares float64
	for i, v := range values {
		k := kindOf(uint32(i))
		shares[k]++
		for j, now := range v {
			digits := map[kind]float64{counter: 1, walk: 100, constant: 1, noise: 1000}[k]
			if scaled := now * digits; math.Abs(scaled-math.Round(scaled)) > 1e-6 {
				t.Fatalf("series %d, kind %d: %v has too many digits", i, k, now)
			}
			if j == 0 {
				continue
			}
			change := now - v[j-1]
			switch {
			case k == counter && change < 0, k == constant && change != 0, k == noise && (now < 0 || now >= 1000):
				t.Fatalf("series %d, kind %d: %v after %v", i, k, now, v[j-1])
			case k == counter:
				increments += change
			case k == walk:
				squares += change * change
			}
		}
	}
	if shares[counter] != 400 || shares[walk] != 300 || shares[constant] != 200 || shares[noise] != 100 {
		t.Errorf("shares of the kinds: %v", shares)
	}
	if mean := increments / (400 * (steps - 1)); mean < 980 || mean > 1020 {
		t.Errorf("counters rise by %v", mean)
	}
	if deviation := math.Sqrt(squares / (300 * (steps - 1))); deviation < 0.48 || deviation > 0.52 {
		t.Errorf("walks change by %v", deviation)
	}
}

func TestOrder(t *testing.T) {
	numbers := func(g *Generator) []uint32 {
		var p Points
		g.NextStep()
		g.Fill(&p, 0, g.Series())
		return p.Numbers
	}
	g := newGenerator(t, Config{Series: 100, Sequential: true})
	if first, second := numbers(g), numbers(g); !slices.IsSorted(first) || !slices.Equal(first, second) {
		t.Error("not in sequence")
	}
	g = newGenerator(t, Config{Series: 100})
	first, second := numbers(g), numbers(g)
	if slices.Equal(first, second) || slices.IsSorted(first) {
		t.Error("not shuffled")
	}
	slices.Sort(first)
	slices.Sort(second)
	if !slices.Equal(first, second) || len(slices.Compact(first)) != 100 {
		t.Error("not every series once")
	}
}

// wanted is the labels of a series, sorted, written down in another way.
func wanted(i uint32) []prompb.Label {
	host := i / 100
	return []prompb.Label{
		{Name: "__name__", Value: familyTable[i/10%10].name}, {Name: "host", Value: fmt.Sprintf("web-%05d", host)},
		{Name: "instance", Value: fmt.Sprintf("%02d", i%100)}, {Name: "region", Value: fmt.Sprintf("eu-%d", host%4+1)}, {Name: "shard", Value: fmt.Sprintf("%02d", host%16)},
	}
}

func TestRemoteWrite(t *testing.T) {
	g := newGenerator(t, Config{Series: 12_345, Rough: rough})
	g.NextStep()
	var p Points
	g.Fill(&p, 0, g.Series())
	body := NewEncoder(RemoteWrite).Append(nil, &p)
	raw, err := snappy.Decode(nil, body)
	if err != nil {
		t.Fatal(err)
	}
	var request prompb.WriteRequest
	if err := request.Unmarshal(raw); err != nil {
		t.Fatal(err)
	}
	if len(request.Timeseries) != g.Series() {
		t.Fatalf("%d series", len(request.Timeseries))
	}
	for at, s := range request.Timeseries {
		if !reflect.DeepEqual(s.Labels, wanted(p.Numbers[at])) {
			t.Fatalf("series %d is %v", p.Numbers[at], s.Labels)
		}
		if len(s.Samples) != 1 || s.Samples[0].Timestamp != p.Times[at] || s.Samples[0].Value != p.Values[at] {
			t.Fatalf("series %d: %v, want %d %v", p.Numbers[at], s.Samples, p.Times[at], p.Values[at])
		}
	}
}

func TestLines(t *testing.T) {
	p := Points{
		Numbers: []uint32{0, 1_234_567, maxSeries - 1, 4049},
		Times:   []int64{1_700_000_000_000, 1_700_000_000_007, 1_700_000_000_980, 0},
		Values:  []float64{1, -0.25, 12345678, 999.999},
	}
	for format, want := range map[Format]string{
		Graphite: `
bench_requests_total;host=web-00000;instance=00;region=eu-1;shard=00 1 1700000000
bench_queue;host=web-12345;instance=67;region=eu-2;shard=09 -0.25 1700000000.007
bench_noise;host=web-99999;instance=99;region=eu-4;shard=15 12345678 1700000000.980
bench_load;host=web-00040;instance=49;region=eu-1;shard=08 999.999 0
`,
		Istatd: `
bench_requests_total.web-00000.00 1700000000 1
bench_queue.web-12345.67 1700000000.007 -0.25
bench_noise.web-99999.99 1700000000.980 12345678
bench_load.web-00040.49 0 999.999
`,
	} {
		if got := string(NewEncoder(format).Append([]byte("\n"), &p)); got != want {
			t.Errorf("%s: got %s", format, got)
		}
	}
}

func TestSelectors(t *testing.T) {
	g := newGenerator(t, Config{Series: 1600})
	if got := g.Selectors(RemoteWrite, 100); len(got) != 16 || got[3] != `{__name__=~"bench_.+",shard="03"}` {
		t.Errorf("by shard: %q", got)
	}
	if got := g.Selectors(Graphite, 99); len(got) != 160 || got[34] != `bench_load{shard="03"}` {
		t.Errorf("by shard and family: %q", got)
	}
	if got := g.Selectors(Istatd, 100); len(got) != families || got[9] != `{__name__=~"bench_noise\\..+"}` {
		t.Errorf("of istatd: %q", got)
	}
}

func TestNewRefuses(t *testing.T) {
	good := Config{Series: 1, Start: begin, Step: time.Second}
	for want, change := range map[string]func(*Config){
		"series":  func(c *Config) { c.Series = 0 },
		"1 to":    func(c *Config) { c.Series = maxSeries + 1 },
		"step":    func(c *Config) { c.Step = time.Second + 1 },
		"quarter": func(c *Config) { c.Rough.Jitter = time.Second/4 + 1 },
		"less":    func(c *Config) { c.Rough.Late, c.Rough.Future = 0.5, 0.5 },
	} {
		c := good
		change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want something with %q", c, err, want)
		}
	}
	if _, err := New(good); err != nil {
		t.Error(err)
	}
}

// TestNoGarbage: the generator runs on the cores that it loads a server on.
func TestNoGarbage(t *testing.T) {
	g := newGenerator(t, Config{Series: 5000, Rough: rough})
	for format := range formats {
		e := NewEncoder(format)
		var p Points
		var body []byte
		work := func() {
			g.NextStep()
			g.Fill(&p, 0, g.Series())
			body = e.Append(body[:0], &p)
		}
		for range 5 {
			work()
		}
		body = slices.Grow(body, len(body)) // a number of the next step may have more digits
		e.raw = slices.Grow(e.raw, len(e.raw))
		if got := testing.AllocsPerRun(10, work); got != 0 {
			t.Errorf("%s: %v allocations a step", format, got)
		}
	}
}

func BenchmarkGenerate(b *testing.B) {
	for format := range formats {
		b.Run(strings.ReplaceAll(format.String(), " ", "_"), func(b *testing.B) {
			g := newGenerator(b, Config{Series: 1_000_000})
			e := NewEncoder(format)
			var p Points
			var body []byte
			const batch = 5000
			g.NextStep()
			at, bytes := 0, 0
			for b.Loop() {
				if at == g.Series() {
					g.NextStep()
					at = 0
				}
				g.Fill(&p, at, at+batch)
				body = e.Append(body[:0], &p)
				bytes += len(body)
				at += batch
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/point")
			b.ReportMetric(float64(bytes)/float64(b.N*batch), "bytes/point")
		})
	}
}
