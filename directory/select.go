package directory

import (
	"cmp"
	"math"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/prometheus/prometheus/model/labels"

	"carillon/series"
)

// Select finds the series that satisfy all matchers, sorted by id; all series
// without any. A series that lacks a label has the empty value there, as in
// Prometheus: {job!="a"} and {job=""} hold for series without a job. What is
// defined meanwhile is in the answer or not. The error is always nil as long as
// the index is in memory.
func (d *Directory) Select(matchers ...*labels.Matcher) ([]series.ID, error) {
	sets := make([]*roaring.Bitmap, len(d.partitions))
	size := uint64(0)
	for i, p := range d.partitions {
		sets[i] = p.selectNumbers(matchers)
		size += sets[i].GetCardinality()
	}
	ids := make([]series.ID, 0, size)
	for i, set := range sets {
		set.Iterate(func(number uint32) bool {
			ids = append(ids, series.NewID(i, number))
			return true
		})
	}
	return ids, nil
}

// LabelNames is the names of all labels that the series which Select finds have,
// sorted.
func (d *Directory) LabelNames(matchers ...*labels.Matcher) ([]string, error) {
	var names []string
	for _, p := range d.partitions {
		names = append(names, p.labelNames(matchers)...)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// LabelValues is the values that one label has in the series which Select finds,
// sorted.
func (d *Directory) LabelValues(name string, matchers ...*labels.Matcher) ([]string, error) {
	var values []string
	for _, p := range d.partitions {
		values = append(values, p.labelValues(name, matchers)...)
	}
	slices.Sort(values)
	return slices.Compact(values), nil
}

func (p *partition) labelNames(matchers []*labels.Matcher) []string {
	set := p.selectNumbers(matchers)
	p.mu.RLock()
	defer p.mu.RUnlock()
	var names []string
	for name, l := range p.index {
		if l.occursIn(set) {
			names = append(names, name)
		}
	}
	return names
}

func (p *partition) labelValues(name string, matchers []*labels.Matcher) []string {
	var set *roaring.Bitmap
	if len(matchers) > 0 {
		set = p.selectNumbers(matchers)
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	l := p.index[name]
	switch {
	case l == nil:
		return nil
	case set == nil:
		return l.values
	}
	return l.valuesIn(set)
}

// selectNumbers finds the series of one partition. It works in three steps, so
// that slow regular expressions are not tried on very many values under the lock:
// definitions, and behind them every look-up, would wait. Under the lock it notes
// how many series there are and which values each matcher has to try; without it,
// it tries them; under the lock again, it puts the postings together. Since
// nothing is ever removed, the answer is that of the first step, cut off at the
// number of series noted then.
func (p *partition) selectNumbers(matchers []*labels.Matcher) *roaring.Bitmap {
	choices := make([]choice, len(matchers))
	p.mu.RLock()
	count := len(p.keys)
	for i, m := range matchers {
		choices[i] = newChoice(m, p.index[m.Name])
	}
	p.mu.RUnlock()

	for i := range choices {
		choices[i].tryValues()
	}
	// The sets that narrow most come first, and those to take away at the end.
	slices.SortStableFunc(choices, func(a, b choice) int { return cmp.Compare(a.rank(), b.rank()) })

	p.mu.RLock()
	defer p.mu.RUnlock()
	return combine(choices, count)
}

// choice is the values of a label that decide one matcher. A matcher that holds
// for the empty value holds for all series without the label; there the values
// that fail are noted, and their series taken away from all.
type choice struct {
	matcher *labels.Matcher
	label   *label   // nil if no series has it
	without bool     // the matcher holds for series without the label
	slots   []uint32 // of the values that hold or, with without, that fail
	untried []string // values still to be tried, by slot
}

// newChoice is called under the partition's lock.
func newChoice(m *labels.Matcher, l *label) choice {
	c := choice{matcher: m, label: l, without: m.Matches("")}
	if l == nil {
		return c
	}
	named, ok := c.named()
	if !ok {
		c.untried = l.values
		return c
	}
	for _, value := range named {
		if slot, ok := l.slots[value]; ok {
			c.slots = append(c.slots, slot)
		}
	}
	return c
}

// named is the values that decide, if the matcher names them itself.
func (c *choice) named() ([]string, bool) {
	m := c.matcher
	if negative := m.Type == labels.MatchNotEqual || m.Type == labels.MatchNotRegexp; negative != c.without {
		return nil, false // it names the values on the other side
	}
	if m.Type == labels.MatchEqual || m.Type == labels.MatchNotEqual {
		return []string{m.Value}, true
	}
	set := m.SetMatches()
	return set, len(set) > 0
}

func (c *choice) decides(value string) bool { return c.matcher.Matches(value) != c.without }

func (c *choice) tryValues() {
	for slot, value := range c.untried {
		if c.decides(value) {
			c.slots = append(c.slots, uint32(slot))
		}
	}
}

func (c *choice) rank() int {
	if c.without {
		return math.MaxInt
	}
	return len(c.slots)
}

// union is the series that the choice takes in or, with without, takes away.
// It is called under the partition's lock.
func (c *choice) union() *roaring.Bitmap {
	if c.label == nil {
		return roaring.New()
	}
	return c.label.union(c.slots)
}

// combine is the numbers below count that all choices leave. It is called under
// the partition's lock.
func combine(choices []choice, count int) *roaring.Bitmap {
	set := roaring.New()
	if len(choices) == 0 || choices[0].without {
		set.AddRange(0, uint64(count))
	}
	for i, c := range choices {
		switch {
		case c.without:
			set.AndNot(c.union())
		case i == 0:
			set = c.union()
		default:
			set.And(c.union())
		}
		if set.IsEmpty() {
			break
		}
	}
	set.RemoveRange(uint64(count), math.MaxUint32+1)
	return set
}
