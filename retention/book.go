package retention

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"carillon/series"
)

// ErrSeriesLimit refuses a new series of a rule that has as many as it may have.
var ErrSeriesLimit = errors.New("series limit reached")

// admittedFor is how long an admitted series holds its place without being defined:
// its points may have been refused for another reason, or the journal was away.
const admittedFor = time.Minute

// Catalogue numbers series. Those of a partition get their numbers in order, and keep
// key and number for ever; package directory is one.
type Catalogue interface {
	Partitions() int
	Count(partition int) int
	Key(series.ID) (series.Key, bool)
	Lookup(series.Key) (series.ID, bool)
}

// Book knows under which rule each series is, and how many there are under each. It
// is safe for concurrent use. The labels of a series never change, so the rule of
// a number is found once, when it is asked for first, and takes a byte from then on.
type Book struct {
	rules     Rules
	catalogue Catalogue
	now       func() time.Time

	mu       sync.RWMutex
	rule     [][]uint8               // by partition and number: index of the rule + 1, 0 for none; guarded by mu, as are all below
	counts   []count                 // by rule
	admitted map[series.Key]admitted // series that are not defined yet
	expired  time.Time               // when expire last looked
}

type count struct {
	series   int // defined
	admitted int // and on the way
	refused  uint64
}

type admitted struct {
	rule int
	at   time.Time
}

// NewBook enters all series of a catalogue.
func NewBook(rules Rules, catalogue Catalogue, now func() time.Time) *Book {
	b := &Book{
		rules: rules, catalogue: catalogue, now: now, rule: make([][]uint8, catalogue.Partitions()),
		counts: make([]count, len(rules)), admitted: make(map[series.Key]admitted),
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.enter()
	return b
}

// Keep is how long each tier keeps a series; nil if no rule says anything.
func (b *Book) Keep(id series.ID) []time.Duration {
	if rule := b.find(id); rule != nil {
		return rule.Keep
	}
	return nil
}

// MaxPoints is how many points a series may bring in one segment of the finest tier;
// 0 is any number.
func (b *Book) MaxPoints(id series.ID) uint64 {
	if rule := b.find(id); rule != nil {
		return uint64(rule.MaxPoints)
	}
	return 0
}

// Shortest is the shortest Keep that a series may have.
func (b *Book) Shortest() []time.Duration { return b.rules.Shortest() }

func (b *Book) find(id series.ID) *Rule {
	b.mu.RLock()
	entered := b.rule[id.Partition()]
	b.mu.RUnlock()
	if int(id.Number()) >= len(entered) {
		b.mu.Lock()
		b.enter()
		entered = b.rule[id.Partition()]
		b.mu.Unlock()
	}
	if int(id.Number()) >= len(entered) || entered[id.Number()] == 0 {
		return nil
	}
	return &b.rules[entered[id.Number()]-1]
}

// enter finds the rules of series that were defined since. What stands in the slices
// never changes, so readers of an older one need no lock.
func (b *Book) enter() {
	for p := range b.rule {
		for n := len(b.rule[p]); n < b.catalogue.Count(p); n++ {
			key, _ := b.catalogue.Key(series.NewID(p, uint32(n)))
			at := b.rules.Find(key)
			b.rule[p] = append(b.rule[p], uint8(at+1))
			if at >= 0 {
				b.counts[at].series++
			}
			if a, ok := b.admitted[key]; ok {
				b.counts[a.rule].admitted--
				delete(b.admitted, key)
			}
		}
	}
}

// Admit tells whether a series that is not known may be defined. If so it has a place
// from then on. The error is of ErrSeriesLimit and says which rule refuses; the key is
// not kept then, and may stand in a buffer.
func (b *Book) Admit(key series.Key) error {
	at := b.rules.Find(key)
	if at < 0 || b.rules[at].MaxSeries == 0 {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.admitted[key]; ok {
		return nil
	}
	if _, known := b.catalogue.Lookup(key); known { // by now; nobody would ever free its place
		return nil
	}
	b.enter()
	c, most := &b.counts[at], b.rules[at].MaxSeries
	if c.series+c.admitted >= most {
		b.expire()
	}
	if c.series+c.admitted >= most {
		c.refused++
		return fmt.Errorf("%w: rule %d, %s, has its max_series of %d", ErrSeriesLimit, at+1, b.rules[at].Match, most)
	}
	c.admitted++
	b.admitted[series.Key(strings.Clone(string(key)))] = admitted{at, b.now()}
	return nil
}

// expire frees the places of series that were admitted long ago. It looks now and
// then: many may be refused in a row.
func (b *Book) expire() {
	now := b.now()
	if now.Sub(b.expired) < time.Second {
		return
	}
	b.expired = now
	before := now.Add(-admittedFor)
	for key, a := range b.admitted {
		if a.at.Before(before) {
			b.counts[a.rule].admitted--
			delete(b.admitted, key)
		}
	}
}

// Status is one rule and what it does.
type Status struct {
	Match     string `json:"match"`
	Series    int    `json:"series"` // under it; those that earlier rules match are not
	MaxSeries int    `json:"maxSeries,omitempty"`
	MaxPoints int    `json:"maxPoints,omitempty"`
	Refused   uint64 `json:"refused"` // definitions of new series since the start
}

// Status lists the rules in their order.
func (b *Book) Status() []Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.enter()
	list := make([]Status, len(b.rules))
	for i, rule := range b.rules {
		list[i] = Status{
			Match: rule.Match, Series: b.counts[i].series, MaxSeries: rule.MaxSeries, MaxPoints: rule.MaxPoints,
			Refused: b.counts[i].refused,
		}
	}
	return list
}
