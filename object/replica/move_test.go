package replica

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"carillon/object/placement"
)

// checkPlaces tells whether the copies of names are where the map says and nowhere else.
func checkPlaces(t *testing.T, c *cluster, m *placement.Map, names []string) {
	t.Helper()
	for _, name := range names {
		var nodes []string
		for node := range c.copies(name) {
			nodes = append(nodes, node)
		}
		wanted := m.Place(name)
		slices.Sort(nodes)
		slices.Sort(wanted)
		if !slices.Equal(nodes, wanted) {
			t.Errorf("%s is on %v, want %v", name, nodes, wanted)
		}
	}
}

// TestJoinAndLeave adds a node and takes another away while objects are read, written
// and deleted all the time.
func TestJoinAndLeave(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *cluster, o *Coordinator) {
		const objects = 60
		var names []string
		for i := range objects {
			names = append(names, fmt.Sprint("object ", i))
			put(t, o, names[i], "before")
		}
		synctest.Wait()
		slow := func(string) (error, error) { time.Sleep(time.Millisecond); return nil, nil }
		if err := c.replace("d").Admit(2); err != nil {
			t.Fatal(err)
		}
		for _, w := range c.wires {
			w.set(slow)
		}
		three, four, others := mapOf(t, "a", "b", "c"), mapOf(t, "a", "b", "c", "d"), mapOf(t, "b", "c", "d")
		plan := placement.NewPlan(three, four)
		for _, name := range names {
			plan.Add(name, int64(len("before")))
		}
		got := move(t, o, names, View{Epoch: 2, Now: four, Before: three})
		checkPlaces(t, c, four, names)
		if got.Copied > plan.Totals().Moving+objects/10 {
			t.Errorf("%d copies were made, %d were planned", got.Copied, plan.Totals().Moving)
		}
		move(t, o, names, View{Epoch: 4, Now: others, Before: four})
		checkPlaces(t, c, others, names)
		if left := len(c.stores["a"].names); left != 0 {
			t.Errorf("the node that left has %d objects", left)
		}
	})
}

// move changes the view, scrubs until all is settled, and changes it to the end of the
// move. All the while every third object is written, and all are read.
func move(t *testing.T, o *Coordinator, names []string, view View) Scrubbed {
	t.Helper()
	if err := errors.Join(o.SetView(view), o.Seal(t.Context())); err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for i, name := range names {
			fresh := fmt.Sprint(name, " at ", view.Epoch)
			before, err := content(t.Context(), o, name, Newest)
			if err != nil || before == "" {
				t.Errorf("%s was lost on the move: %q, %v", name, before, err)
			}
			if i%3 == 0 {
				put(t, o, name, fresh)
				want(t, o, name, Newest, fresh)
			}
		}
	})
	got, err := o.Scrub(t.Context(), Scrub{})
	if err != nil || !got.Settled() {
		t.Errorf("the move: %+v, %v", got, err)
	}
	work.Wait()
	for again := true; again; { // what was written behind the scrub may lie elsewhere, too
		more, err := o.Scrub(t.Context(), Scrub{})
		if err != nil {
			t.Fatal(err)
		}
		again = more.Copied+more.Dropped > 0 || !more.Settled()
	}
	if err := o.SetView(View{Epoch: view.Epoch + 1, Now: view.Now}); err != nil {
		t.Fatal(err)
	}
	return got
}

// TestLostDisk puts an empty node in the place of another. Until it is admitted it must
// not pass for one that knows that there is nothing.
func TestLostDisk(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *cluster, o *Coordinator) {
		m := mapOf(t, "a", "b", "c")
		var names []string
		c.wire("c").down() // so that only the disk that is lost and another have the objects
		for i := range 20 {
			names = append(names, fmt.Sprint("object ", i))
			put(t, o, names[i], names[i])
		}
		synctest.Wait()
		c.wire("c").up()
		blank := c.replace("a")
		if _, err := blank.Stat(t.Context(), names[0], 1); !errors.Is(err, ErrBlank) {
			t.Errorf("a blank node: %v", err)
		}
		for _, name := range names {
			want(t, o, name, Newest, name)
		}
		if err := errors.Join(blank.Admit(2), o.SetView(View{Epoch: 2, Now: m, Before: m, Lost: []string{"a"}}), o.Seal(t.Context())); err != nil {
			t.Fatal(err)
		}
		c.wire("b").down() // with it everything is gone that can be: who answers must not say "none"
		for _, name := range names {
			if got, err := content(t.Context(), o, name, Newest); !errors.Is(err, ErrTooFew) {
				t.Errorf("%s without the only node that has it: %q, %v", name, got, err)
			}
		}
		c.wire("b").up()
		for _, name := range names {
			want(t, o, name, Newest, name)
		}
		if got, err := o.Scrub(t.Context(), Scrub{}); err != nil || !got.Settled() {
			t.Errorf("%+v, %v", got, err)
		}
		checkPlaces(t, c, m, names)
		if err := o.SetView(View{Epoch: 3, Now: m}); err != nil {
			t.Fatal(err)
		}
		c.wire("b").down()
		for _, name := range names {
			want(t, o, name, Newest, name)
		}
	})
}

// TestScrubGoesOn ends a scrub early and takes it up behind the last name.
func TestScrubGoesOn(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *cluster, o *Coordinator) {
		for _, name := range []string{"1", "2", "3", "4", "5"} {
			put(t, o, name, name)
		}
		enough := errors.New("enough")
		got, err := o.Scrub(t.Context(), Scrub{Report: func(name string, _ Mended, _ error) error {
			if name == "2" {
				return enough
			}
			return nil
		}})
		if !errors.Is(err, enough) || got.Last != "2" || got.Names != 2 {
			t.Errorf("%+v, %v", got, err)
		}
		if got, err := o.Scrub(t.Context(), Scrub{After: got.Last}); err != nil || got.Names != 3 {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestViewsAndConfigurationsAreChecked(t *testing.T) {
	m := mapOf(t, "a", "b")
	for name, bad := range map[string]func() error{
		"no epoch":   func() error { _, err := New(Config{}, View{Now: m}); return err },
		"no map":     func() error { _, err := New(Config{}, View{Epoch: 1}); return err },
		"W below 0":  func() error { _, err := New(Config{Need: -1}, View{Epoch: 1, Now: m}); return err },
		"tiny grace": func() error { _, err := New(Config{Grace: time.Second}, View{Epoch: 1, Now: m}); return err },
	} {
		if bad() == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
