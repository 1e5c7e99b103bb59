// Package traffic makes the metrics of a fleet of hosts: from a seed and a number of
// series it generates points step by step, as columns or as the bytes of remote
// write, Graphite or istatd, and keeps the count and the sum of what a server must
// have stored in the end. What measures and tests a server calls it.
package traffic

import (
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"time"
)

// Config says what is generated. The same Config makes the same points.
type Config struct {
	Series     int
	Seed       uint64
	Start      time.Time     // of the first step, to the millisecond
	Step       time.Duration // between two points of a series, whole milliseconds
	Sequential bool          // the series in the order of their numbers, not reshuffled every step
	Rough      Rough
}

// Rough is what real traffic has besides: clocks that jitter, and the share of
// points, 0 to 1, that are not what the server waits for.
type Rough struct {
	Jitter    time.Duration // times differ by up to that from the beat, at most a quarter of Step
	Late      float64       // come LateSteps late
	Duplicate float64       // are the one before again, with its time and value
	Future    float64       // are FutureBy ahead, which a server must refuse
}

const (
	// LateSteps is how many steps after its time a late point comes.
	LateSteps = 30
	// FutureBy is how far ahead of the step a future point is.
	FutureBy = 48 * time.Hour

	maxSeries = maxHosts * perHost
)

// Generator makes points. NextStep is called by one goroutine while no other uses
// the Generator; between two calls, several may fill batches, with ranges that do not
// overlap: only the batch that a series is in touches its state.
type Generator struct {
	config     Config
	step       int   // since Start; -1 before the first
	start      int64 // all milliseconds
	every      int64
	jitter     int64
	late       uint32 // a draw below it is late,
	duplicate  uint32 // else below it a duplicate,
	future     uint32 // else below it a future point
	random     *rand.Rand
	order      []uint32
	state      []int64 // of a counter its value, of a walk its hundredths, of a constant its value
	increments quantiles
	changes    quantiles
}

// New is a Generator before its first step.
func New(config Config) (*Generator, error) {
	r := config.Rough
	switch {
	case config.Series < 1 || config.Series > maxSeries:
		return nil, fmt.Errorf("%d series: want 1 to %d", config.Series, maxSeries)
	case config.Step < 4*time.Millisecond || config.Step%time.Millisecond != 0:
		return nil, fmt.Errorf("step %s: want whole milliseconds, at least 4", config.Step)
	case r.Jitter < 0 || r.Jitter > config.Step/4:
		return nil, fmt.Errorf("jitter %s: want at most a quarter of the step of %s", r.Jitter, config.Step)
	case !(r.Late >= 0 && r.Duplicate >= 0 && r.Future >= 0 && r.Late+r.Duplicate+r.Future < 1):
		return nil, errors.New("late, duplicate and future points must be less than all")
	}
	const all = 1 << 32
	g := &Generator{
		config: config, step: -1,
		start: config.Start.UnixMilli(), every: config.Step.Milliseconds(), jitter: r.Jitter.Milliseconds(),
		late: uint32(r.Late * all), duplicate: uint32((r.Late + r.Duplicate) * all), future: uint32((r.Late + r.Duplicate + r.Future) * all),
		random: rand.New(rand.NewPCG(config.Seed, 1)),
		order:  make([]uint32, config.Series), state: make([]int64, config.Series),
		increments: exponential(meanIncrement), changes: normal(walkDeviation),
	}
	for i := range g.order {
		g.order[i] = uint32(i)
		g.state[i] = int64(g.draw(uint32(i), -1) % maxInitial)
		if kindOf(uint32(i)) == walk {
			g.state[i] *= 100
		}
	}
	return g, nil
}

// NextStep begins the next step, with another order of the series.
func (g *Generator) NextStep() {
	g.step++
	if !g.config.Sequential {
		g.random.Shuffle(len(g.order), func(i, j int) { g.order[i], g.order[j] = g.order[j], g.order[i] })
	}
}

// Series is how many points a step has.
func (g *Generator) Series() int { return len(g.order) }

// Time is that of the present step, in milliseconds.
func (g *Generator) Time() int64 { return g.start + int64(g.step)*g.every }

// Points are columns: point i is of series Numbers[i].
type Points struct {
	Numbers []uint32
	Times   []int64 // milliseconds since the epoch
	Values  []float64
}

// Sum is what a server must have stored.
type Sum struct {
	Points int64
	Milli  int64 // the sum of the values, in thousandths, exact
}

// Add adds what another batch brought.
func (s *Sum) Add(other Sum) {
	s.Points += other.Points
	s.Milli += other.Milli
}

// Value is the sum of the values.
func (s Sum) Value() float64 { return float64(s.Milli) / 1000 }

// Fill makes the points from to up to, not including, to of the present step, in place of
// what p holds, and returns what they add to the sum. Each point of a step is to
// be filled once.
func (g *Generator) Fill(p *Points, from, to int) (accepted Sum) {
	p.Numbers = append(p.Numbers[:0], g.order[from:to]...)
	p.Times, p.Values = p.Times[:0], p.Values[:0]
	for _, i := range p.Numbers {
		draw := g.draw(i, g.step)
		at, fate := g.slot(i, g.step, draw)
		var value float64
		var milli int64
		switch fate {
		case duplicate:
			at, _ = g.slot(i, g.step-1, g.draw(i, g.step-1))
			value, _ = g.value(i, g.draw(i, g.step-1))
		case future:
			g.advance(i, draw)
			value, _ = g.value(i, draw)
		default:
			g.advance(i, draw)
			value, milli = g.value(i, draw)
			accepted.Points++
			accepted.Milli += milli
		}
		p.Times, p.Values = append(p.Times, at), append(p.Values, value)
	}
	return accepted
}

// fate is what becomes of a series' point of a step.
type fate uint8

const (
	onTime fate = iota
	late
	duplicate
	future
)

// slot is the time and the fate of a point. A late one lies half a step off the
// beat, where no other one of the series can lie. What repeats the one before must
// have one that was sent for the first time and stored; if not, it is on time.
func (g *Generator) slot(i uint32, step int, draw uint64) (at int64, f fate) {
	at = g.start + int64(step)*g.every
	if g.jitter > 0 {
		at += int64(draw>>16&0xffff)%(2*g.jitter+1) - g.jitter
	}
	f = g.fate(draw)
	switch {
	case f == late:
		at = g.start + int64(step-LateSteps)*g.every + g.every/2
	case f == future:
		at += FutureBy.Milliseconds()
	case f == duplicate && (step == 0 || g.fate(g.draw(i, step-1)) >= duplicate):
		f = onTime
	}
	return at, f
}

func (g *Generator) fate(draw uint64) fate {
	switch chance := uint32(draw >> 32); {
	case chance >= g.future:
		return onTime
	case chance < g.late:
		return late
	case chance < g.duplicate:
		return duplicate
	}
	return future
}

// draw is the 64 random bits of a series and step.
func (g *Generator) draw(i uint32, step int) uint64 {
	return mix(g.config.Seed + mix(uint64(i)<<32|uint64(uint32(step))))
}

// mix spreads what differs in a bit over all bits (the finalizer of SplitMix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// below is a random number of [0, n) from the bits of a draw.
func below(draw, n uint64) uint64 {
	high, _ := bits.Mul64(draw, n)
	return high
}
