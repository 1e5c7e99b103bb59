package measure

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"time"

	"carillon/bucket"
	"carillon/figure"
	"carillon/quantize"
	"carillon/series"
	"carillon/traffic"
	"carillon/usage"
)

// Quantize measures package quantize on its own, in CPU time of one thread: no
// sockets, no journal, no files. Of the configuration it needs Scale, Seed and Progress.
func Quantize(ctx context.Context, c Config) (figures []figure.Figure, err error) {
	p := c.Scale.Quantize
	for _, v := range []struct {
		figure figure.Figure
		work   work
	}{
		{figure.Figure{ID: "quantize.points_per_core", Better: figure.Higher, Goal: 12e6, Floor: 6e6, Note: "random order"}, work{title: "quantize"}},
		{figure.Figure{ID: "quantize.points_per_core_sequential", Note: "the same order every step"}, work{title: "quantize in sequence", sequential: true}},
		{figure.Figure{ID: "quantize.points_per_core_rough", Note: roughNote}, work{title: "quantize rough traffic", rough: roughTraffic}},
	} {
		v.work.population = p
		rate, err := c.align(ctx, v.work)
		if err != nil {
			return figures, err
		}
		v.figure.Value, v.figure.Unit = rate, perSecond
		v.figure.Note = fmt.Sprintf("%s, %d points a batch; %s, median of the steps", v.figure.Note, perRequest, p)
		figures = append(figures, v.figure)
	}
	return figures, nil
}

// alignment is a quantizer at work, and what came out of it.
type alignment struct {
	quantizer *quantize.Quantizer
	out       quantize.Output
	advanced  int64 // when it was last asked for what is complete, in milliseconds
	points    int64
	sum       float64
}

// align returns points a second, the median of the steps.
func (c *Config) align(ctx context.Context, w work) (rate float64, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	g, err := traffic.New(traffic.Config{
		Series: w.population.Series, Seed: c.Seed, Start: time.UnixMilli(1_700_000_000_000), Step: step, Rough: w.rough, Sequential: w.sequential,
	})
	if err != nil {
		return 0, err
	}
	a := &alignment{quantizer: quantize.New(quantize.Config{
		Resolution: step.Milliseconds(), FinestRetention: 10 * 24 * time.Hour.Milliseconds(), Retention: 365 * 24 * time.Hour.Milliseconds(),
		FutureTolerance: time.Minute.Milliseconds(), MinDelay: 2 * time.Second.Milliseconds(), MaxDelay: time.Minute.Milliseconds(),
	})}
	for range w.population.Series {
		a.quantizer.Define(series.Gauge)
	}
	var (
		points traffic.Points
		sent   traffic.Sum
		rates  []float64
	)
	for i := range w.population.Steps + 1 {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		c.Progress(w.title, uint64(i), uint64(w.population.Steps)+1)
		g.NextStep()
		var spent time.Duration
		for from := 0; from < g.Series(); from += perRequest {
			to := min(from+perRequest, g.Series())
			sent.Add(g.Fill(&points, from, to))
			now := g.Time() + int64(float64(step.Milliseconds())*float64(to)/float64(g.Series()))
			spent += a.take(now, &points)
		}
		if i > 0 { // the first one only touches the memory
			rates = append(rates, float64(g.Series())/spent.Seconds())
		}
	}
	c.Progress(w.title, uint64(w.population.Steps)+1, uint64(w.population.Steps)+1)
	slices.Sort(rates)
	return rates[len(rates)/2], a.check(w.population.Series, sent)
}

// take aligns a batch, as the loop of a partition does, and returns the CPU time of
// that alone.
func (a *alignment) take(now int64, p *traffic.Points) time.Duration {
	began := usage.Thread()
	a.quantizer.AddPoints(now, p.Numbers, p.Times, p.Values, &a.out)
	if now-a.advanced >= time.Second.Milliseconds() {
		a.advanced = now
		a.quantizer.Advance(now, &a.out)
	}
	spent := usage.Thread() - began
	for _, b := range a.out.Kept.All() {
		a.count(b)
	}
	a.out.Reset()
	return spent
}

func (a *alignment) count(b bucket.Bucket) {
	a.points += int64(b.Count)
	a.sum += b.Sum
}

// check compares what came out, and what is still open, with what was sent.
func (a *alignment) check(numSeries int, sent traffic.Sum) error {
	for i := range numSeries {
		if b, open := a.quantizer.Open(uint32(i)); open {
			a.count(b)
		}
	}
	// What is repeated after its segment was closed comes out once more: the store
	// knows that it has it.
	repeated := a.points - sent.Points
	if repeated < 0 || float64(repeated) > roughTraffic.Duplicate*1.2*float64(sent.Points) || repeated == 0 && math.Abs(a.sum-sent.Value()) > sumTolerance*sent.Value() {
		return fmt.Errorf("quantize returned %d points with the sum %v, given were %d with %v: %w", a.points, a.sum, sent.Points, sent.Value(), ErrWrongSum)
	}
	return nil
}
