package retention

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"carillon/series"
)

// catalogue is a directory in memory.
type catalogue struct {
	mu   sync.Mutex
	keys [2][]series.Key
}

func (c *catalogue) Partitions() int { return len(c.keys) }

func (c *catalogue) Count(partition int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.keys[partition])
}

func (c *catalogue) Key(id series.ID) (series.Key, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.keys[id.Partition()][id.Number()], true
}

func (c *catalogue) Lookup(key series.Key) (series.ID, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p, keys := range c.keys {
		for n, have := range keys {
			if have == key {
				return series.NewID(p, uint32(n)), true
			}
		}
	}
	return 0, false
}

func (c *catalogue) define(key series.Key) series.ID {
	if id, ok := c.Lookup(key); ok {
		return id
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := key.Partition(len(c.keys))
	c.keys[p] = append(c.keys[p], key)
	return series.NewID(p, uint32(len(c.keys[p])-1))
}

func newTestBook(t *testing.T) (*Book, *catalogue, *time.Time) {
	rules, err := Parse([]byte("rules:\n- {match: '{job=\"a\"}', max_series: 3, tiers: 10s:1d}\n- {match: '{job=~\".+\"}', max_points: 5}\n"), tiers(t))
	if err != nil {
		t.Fatal(err)
	}
	c := new(catalogue)
	c.define(key(t, "job", "a", "n", "0"))
	now := time.Unix(1_700_000_000, 0)
	return NewBook(rules, c, func() time.Time { return now }), c, &now
}

func TestBook(t *testing.T) {
	b, c, now := newTestBook(t)
	member := func(n int) series.Key { return key(t, "job", "a", "n", fmt.Sprint(n)) }
	for _, n := range []int{1, 2, 1, 2} { // the same ones count once
		if err := b.Admit(member(n)); err != nil {
			t.Errorf("series %d: %v", n, err)
		}
	}
	err := b.Admit(member(3))
	if !errors.Is(err, ErrSeriesLimit) || !strings.Contains(err.Error(), `rule 1, {job="a"}, has its max_series of 3`) {
		t.Errorf("one too many: %v", err)
	}
	if err := b.Admit(key(t, "job", "b")); err != nil {
		t.Errorf("of another rule: %v", err)
	}
	c.define(member(1))
	if err := b.Admit(member(3)); !errors.Is(err, ErrSeriesLimit) {
		t.Errorf("one is defined, and another one on its way: %v", err)
	}
	*now = now.Add(2 * admittedFor)
	if err := b.Admit(member(3)); err != nil {
		t.Errorf("the place of one that never came is free: %v", err)
	}
	id := c.define(member(3))
	if err := b.Admit(member(4)); !errors.Is(err, ErrSeriesLimit) {
		t.Errorf("full again: %v", err)
	}
	if keep := b.Keep(id); len(keep) != 3 || keep[0] != 24*time.Hour {
		t.Errorf("it is kept %v", keep)
	}
	other := c.define(key(t, "job", "b"))
	if b.MaxPoints(other) != 5 || b.MaxPoints(id) != 0 || b.Keep(c.define(key(t, "x", "y"))) != nil {
		t.Error("rules of other series are wrong")
	}
	status := b.Status()
	if status[0].Series != 3 || status[0].Refused != 3 || status[1].Series != 1 {
		t.Errorf("status %+v", status)
	}
}

// TestBookNeverOverfills: whoever asks and defines at the same time, there are never
// more series than the rule has places for.
func TestBookNeverOverfills(t *testing.T) {
	b, c, _ := newTestBook(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for n := range 50 {
				k := key(t, "job", "a", "n", fmt.Sprint(n))
				if b.Admit(k) == nil {
					b.Keep(c.define(k))
				}
			}
		})
	}
	wg.Wait()
	if got := c.Count(0) + c.Count(1); got != 3 {
		t.Errorf("%d series, the limit is 3", got)
	}
}
