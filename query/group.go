package query

import (
	"math"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/kahansum"

	"carillon/bucket"
	"carillon/series"
)

// An aggregation right around a window is worked out there too, in the order of the series and
// with the engine's arithmetic: it is left one series a group. What it then does with these
// changes nothing, so where a group cannot be formed to the bit the series may as well be
// handed out as they are.

// groups tells whether an aggregation of one value is that value.
func groups(op parser.ItemType) bool {
	return op == parser.SUM || op == parser.AVG || op == parser.MIN || op == parser.MAX
}

// grouping is an aggregation as the engine's hints have it.
type grouping struct {
	function string // sum, avg, min or max
	by       bool   // labels are those that stay
	labels   []string
}

func groupingOf(hints *storage.SelectHints) *grouping {
	return &grouping{hints.Func, hints.By, hints.Grouping}
}

// of is the labels of the group that a series belongs to.
func (g *grouping) of(set labels.Labels) labels.Labels {
	switch {
	case !g.by:
		return labels.NewBuilder(set).Del(g.labels...).Del(series.MetricName).Labels()
	case len(g.labels) == 0:
		return labels.EmptyLabels()
	}
	return labels.NewBuilder(set).Keep(g.labels...).Labels()
}

// group is what series come to at each moment.
type group struct {
	labels labels.Labels
	count  []uint32 // of series, 0 where there are none
	value  []float64
	rest   []float64 // of sums, see kahansum
}

const groupBytes = 20 // a moment

// add takes the next series, which has samples at some of the moments.
func (g *group) add(function string, samples []sample, at moments) {
	i, time := 0, at.start
	for _, s := range samples {
		for time < s.T {
			i++
			time += at.step
		}
		if math.Float64bits(s.F) == bucket.StaleNaN {
			continue
		}
		g.count[i]++
		value := &g.value[i]
		switch {
		case g.count[i] == 1,
			function == "max" && (*value < s.F || math.IsNaN(*value)),
			function == "min" && (*value > s.F || math.IsNaN(*value)):
			*value = s.F
		case function == "sum" || function == "avg":
			*value, g.rest[i] = kahansum.Inc(s.F, *value, g.rest[i])
		}
	}
}

// samples is one for each moment at which there is a series, as slider.slide has it. It reports false if
// the engine would go another way to the mean, which it does where the sum overflows.
func (g *group) samples(function string, at moments) (out []sample, ok bool) {
	there := false
	for i, count := range g.count {
		time := at.start + int64(i)*at.step
		value := g.value[i]
		switch {
		case count == 0 && there:
			out = append(out, sample{T: time, F: math.Float64frombits(bucket.StaleNaN)})
		case count == 0:
		case function == "avg" && math.IsInf(value, 0):
			return nil, false
		case function == "avg":
			n := float64(count)
			out = append(out, sample{T: time, F: value/n + g.rest[i]/n})
		case function == "sum" && !math.IsInf(value, 0):
			out = append(out, sample{T: time, F: value + g.rest[i]})
		default:
			out = append(out, sample{T: time, F: value})
		}
		there = count > 0
	}
	return out, true
}

// aggregate puts groups in the place of series, where that can be done.
func (g *gathering) aggregate(found []storage.Series) ([]storage.Series, error) {
	steps := 1 + (g.moments.end-g.moments.start)/max(g.moments.step, 1)
	index := make(map[uint64]*group)
	var all []*group
	for _, s := range found {
		set := g.grouping.of(s.Labels())
		of := index[set.Hash()]
		if of == nil {
			if err := g.budget.take(steps * groupBytes); err != nil {
				return nil, err
			}
			of = &group{labels: set, count: make([]uint32, steps), value: make([]float64, steps), rest: make([]float64, steps)}
			index[set.Hash()] = of
			all = append(all, of)
		}
		of.add(g.grouping.function, s.(*sampled).samples, g.moments)
	}
	grouped := make([]storage.Series, len(all))
	for i, of := range all {
		samples, ok := of.samples(g.grouping.function, g.moments)
		if !ok {
			return found, nil
		}
		grouped[i] = &sampled{labels: of.labels, samples: samples}
	}
	return grouped, nil
}
