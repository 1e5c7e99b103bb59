package index

import (
	"cmp"
	"math"
	"runtime"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
)

// Select finds the series that satisfy all matchers, ascending; all series without any.
// A series that lacks a label has the empty value there, as in Prometheus: {job!="a"} and
// {job=""} hold for series without a job.
//
// It works in three steps, so that slow regular expressions are not tried on very many
// values under the lock: definitions, and behind them every look-up, would wait. Under
// the lock it notes how many series there are and which values each matcher has to
// try; without it, it tries them; under the lock again, it puts the lists together.
// Since nothing is ever removed, the answer is that of the first step.
func (x *Index) Select(matchers ...*labels.Matcher) []uint32 {
	choices := make([]choice, len(matchers))
	x.mu.RLock()
	count, dictionary := x.count, x.dictionary
	for i, m := range matchers {
		choices[i] = newChoice(m, &dictionary)
	}
	x.mu.RUnlock()

	for i := range choices {
		choices[i].tryValues(&dictionary, count)
	}
	runtime.KeepAlive(x)

	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.combine(choices, count)
}

// choice is the values of a label that decide one matcher. A matcher that holds for
// the empty value holds for all series without the label; there the values that fail
// are noted, and their series taken away from all.
type choice struct {
	matcher *labels.Matcher
	without bool     // the matcher holds for series without the label
	pairs   []uint32 // whose values hold or, with without, fail
	untried uint32   // the latest pair of those still to be tried, or none
	series  int      // how many have one of pairs, once that is counted
}

// newChoice is called under the lock.
func newChoice(m *labels.Matcher, d *dictionary) choice {
	c := choice{matcher: m, without: m.Matches(""), untried: none}
	values, ok := c.named()
	if !ok {
		if label, ok := d.byLabel[m.Name]; ok {
			c.untried = d.labels[label].latest
		}
		return c
	}
	var text []byte
	for _, value := range values {
		text = appendPair(text[:0], m.Name, value)
		if pair, ok := d.find(string(text)); ok {
			c.pairs = append(c.pairs, pair)
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

// tryValues reads nothing of the dictionary that can change.
func (c *choice) tryValues(d *dictionary, count uint32) {
	var value []byte
	for pair := c.untried; pair != none; pair = d.pairs.At(pair).sibling {
		if d.pairs.At(pair).first >= count {
			continue
		}
		value = d.appendValue(value[:0], pair)
		if c.matcher.Matches(string(value)) != c.without {
			c.pairs = append(c.pairs, pair)
		}
	}
}

// rank puts first what leaves the fewest series, and what is taken away at the end.
func (c *choice) rank() int {
	if c.without {
		return math.MaxInt
	}
	return c.series
}

// rowCost is how many numbers of a list are read in the time in which one row is
// looked at.
const rowCost = 16

// combine is the numbers below count that all choices leave, ascending. It is called
// under the lock.
func (x *Index) combine(choices []choice, count uint32) []uint32 {
	for i := range choices {
		for _, pair := range choices[i].pairs {
			choices[i].series += x.dictionary.size(pair)
		}
	}
	slices.SortStableFunc(choices, func(a, b choice) int { return cmp.Compare(a.rank(), b.rank()) })
	var left []uint32
	if len(choices) == 0 || choices[0].without {
		left = everyBelow(count)
	} else {
		left, choices = x.union(&choices[0], count), choices[1:]
	}
	for i := range choices {
		switch c := &choices[i]; {
		case len(left)*rowCost < c.series:
			left = x.sift(left, c)
		case len(c.pairs) == 1:
			left = x.merge(left, c, count)
		default:
			left = x.among(c, count).filter(left, !c.without)
		}
	}
	return left
}

func everyBelow(count uint32) []uint32 {
	all := make([]uint32, count)
	for i := range all {
		all[i] = uint32(i)
	}
	return all
}

// union is the series below count that have one of the choice's pairs, ascending.
func (x *Index) union(c *choice, count uint32) []uint32 {
	list := make([]uint32, 0, c.series)
	if len(c.pairs) == 1 {
		return x.appendList(list, c.pairs[0], count)
	}
	return x.among(c, count).appendTo(list)
}

// appendList appends the series below count that have a pair, ascending.
func (x *Index) appendList(list []uint32, pair, count uint32) []uint32 {
	var some piece
	for r := x.dictionary.read(pair, count); r.next(&some); {
		list = append(list, some.numbers[:some.n]...)
	}
	return list
}

// merge keeps of the numbers in left those that the choice, of one pair, leaves.
func (x *Index) merge(left []uint32, c *choice, count uint32) []uint32 {
	kept, i := left[:0], 0
	var some piece
	for r := x.dictionary.read(c.pairs[0], count); i < len(left) && r.next(&some); {
		for _, number := range some.numbers[:some.n] {
			from := i
			for i < len(left) && left[i] < number {
				i++
			}
			if c.without {
				kept = append(kept, left[from:i]...)
			}
			if i < len(left) && left[i] == number {
				if !c.without {
					kept = append(kept, number)
				}
				i++
			}
		}
	}
	if c.without {
		kept = append(kept, left[i:]...)
	}
	return kept
}

// among is union as a set: the lists of thousands of pairs are put together a bit each.
func (x *Index) among(c *choice, count uint32) bitset {
	set := newBitset(count)
	var some piece
	for _, pair := range c.pairs {
		for r := x.dictionary.read(pair, count); r.next(&some); {
			set.addMany(some.numbers[:some.n])
		}
	}
	return set
}

// sift keeps of the numbers in left those that the choice leaves, by a look at each row.
func (x *Index) sift(left []uint32, c *choice) []uint32 {
	slices.Sort(c.pairs)
	var space [maxFastRow]byte
	row := space[:0]
	return slices.DeleteFunc(left, func(number uint32) bool {
		row = x.rows.appendTo(row[:0], number)
		return hasOne(row, c.pairs) == c.without
	})
}

// hasOne tells whether one of the pairs, which are sorted, is in the row.
func hasOne(row []byte, pairs []uint32) bool {
	for len(row) > 0 {
		var pair uint32
		pair, row = cutNumber(row)
		if _, ok := slices.BinarySearch(pairs, pair); ok {
			return true
		}
	}
	return false
}

// With is the series that have the label with just this value, ascending.
func (x *Index) With(name, value string) []uint32 {
	text := appendPair(nil, name, value)
	x.mu.RLock()
	defer x.mu.RUnlock()
	pair, ok := x.dictionary.find(string(text))
	if !ok {
		return nil
	}
	return x.appendList(make([]uint32, 0, x.dictionary.size(pair)), pair, x.count)
}

// LabelNames is the names of the labels that the series which Select finds have, in no
// useful order.
func (x *Index) LabelNames(matchers ...*labels.Matcher) []string {
	pairs := x.pairsOf(matchers)
	x.mu.RLock()
	defer x.mu.RUnlock()
	var names []string
	for _, l := range x.dictionary.labels {
		for pair := l.latest; pair != none; pair = x.dictionary.pairs.At(pair).sibling {
			if x.occurs(pair, pairs) {
				names = append(names, l.name)
				break
			}
		}
	}
	return names
}

// LabelValues is the values that one label has in the series which Select finds, in no
// useful order.
func (x *Index) LabelValues(name string, matchers ...*labels.Matcher) []string {
	pairs := x.pairsOf(matchers)
	x.mu.RLock()
	defer x.mu.RUnlock()
	label, ok := x.dictionary.byLabel[name]
	if !ok {
		return nil
	}
	var values []string
	var value []byte
	for pair := x.dictionary.labels[label].latest; pair != none; pair = x.dictionary.pairs.At(pair).sibling {
		if x.occurs(pair, pairs) {
			value = x.dictionary.appendValue(value[:0], pair)
			values = append(values, string(value))
		}
	}
	return values
}

// occurs tells whether a pair is visible and in the set, which may be nil for all and
// know fewer pairs than there are by now.
func (x *Index) occurs(pair uint32, set bitset) bool {
	if set == nil {
		return x.dictionary.pairs.At(pair).first < x.count
	}
	return set.has(pair)
}

// pairsOf is the pairs that the series which Select finds have, or nil if these are
// all series. It reads rows, which do not change, so it needs no lock for long.
func (x *Index) pairsOf(matchers []*labels.Matcher) bitset {
	if len(matchers) == 0 {
		return nil
	}
	found := x.Select(matchers...)
	x.mu.RLock()
	rows, set := x.rows, newBitset(x.dictionary.count)
	x.mu.RUnlock()
	var space [maxFastRow]byte
	row := space[:0]
	for _, number := range found {
		row = rows.appendTo(row[:0], number)
		for rest := row; len(rest) > 0; {
			var pair uint32
			pair, rest = cutNumber(rest)
			set.add(pair)
		}
	}
	runtime.KeepAlive(x)
	return set
}
