package traffic

import "math"

const (
	meanIncrement = 1000 // of a counter, a step
	walkDeviation = 50   // of a walk's change a step, in hundredths
	noiseRange    = 1e6  // thousandths
	maxInitial    = 1e6
)

// kind is how a series behaves.
type kind uint8

const (
	counter  kind = iota // rises, by whole numbers
	walk                 // goes up and down, with two decimals
	constant             // stays what it is
	noise                // is another number every time, with three decimals
)

// advance brings a series' state to the present step.
func (g *Generator) advance(i uint32, draw uint64) {
	switch kindOf(i) {
	case counter:
		g.state[i] += g.increments.of(mix(draw))
	case walk:
		g.state[i] += g.changes.of(mix(draw))
	}
}

// value is what a series shows, given the draw of its step, and the same in
// thousandths.
func (g *Generator) value(i uint32, draw uint64) (value float64, milli int64) {
	switch kindOf(i) {
	case walk:
		return float64(g.state[i]) / 100, g.state[i] * 10
	case noise:
		milli = int64(below(mix(draw), noiseRange))
		return float64(milli) / 1000, milli
	}
	return float64(g.state[i]), g.state[i] * 1000
}

// quantiles turn random bits into random numbers of any distribution: they are its
// values at evenly spaced probabilities, and those between are interpolated.
type quantiles [1<<quantileBits + 1]float64

const quantileBits = 10

func (q *quantiles) of(draw uint64) int64 {
	at := draw >> (64 - quantileBits)
	between := float64(draw<<quantileBits>>11) / (1 << 53)
	return int64(math.Round(q[at] + (q[at+1]-q[at])*between))
}

// probability is that of the i-th of the quantiles; it avoids 0 and 1, where some
// are infinite.
func probability(i int) float64 { return (float64(i) + 0.5) / (1<<quantileBits + 1) }

func exponential(mean float64) (q quantiles) {
	for i := range q {
		q[i] = -mean * math.Log(1-probability(i))
	}
	return q
}

func normal(deviation float64) (q quantiles) {
	for i := range q {
		q[i] = deviation * math.Sqrt2 * math.Erfinv(2*probability(i)-1)
	}
	return q
}
