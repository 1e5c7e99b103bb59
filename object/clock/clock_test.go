package clock

import (
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"carillon/object"
)

// physical is a clock that a test sets.
type physical struct{ ms int64 }

func (p *physical) now() time.Time { return time.UnixMilli(p.ms) }

func at(wall int64, logical uint16, node uint64) Stamp {
	return Stamp{Wall: wall, Logical: logical, Node: node}
}

func TestNowGrows(t *testing.T) {
	p := &physical{ms: 1000}
	c := New(7, p.now, 0)
	for _, step := range []struct {
		ms   int64
		want Stamp
	}{
		{1000, at(1000, 0, 7)},
		{1000, at(1000, 1, 7)},
		{900, at(1000, 2, 7)}, // the clock stepped back
		{1001, at(1001, 0, 7)},
	} {
		p.ms = step.ms
		if got := StampOf(c.Now()); got != step.want {
			t.Errorf("at %d ms: %+v, want %+v", step.ms, got, step.want)
		}
	}
}

func TestFullCounterBorrowsAMillisecond(t *testing.T) {
	p := &physical{ms: 1000}
	c := New(1, p.now, 0)
	if err := c.Observe(at(1000, maxLogical, 9).Version()); err != nil {
		t.Fatal(err)
	}
	if got, want := StampOf(c.Now()), at(1001, 0, 1); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestObserveRefusesTheFuture(t *testing.T) {
	p := &physical{ms: 1000}
	c := New(1, p.now, 2*time.Second)
	if err := c.Observe(at(3001, 0, 0).Version()); !errors.Is(err, ErrSkew) {
		t.Errorf("beyond the skew: %v", err)
	}
	if got := StampOf(c.Now()); got.Wall != 1000 {
		t.Errorf("a refused version moved the clock to %+v", got)
	}
	if err := c.Observe(Guard(at(3000, 0, 0).Version())); err != nil {
		t.Errorf("at the bound: %v", err)
	}
	if got, want := StampOf(c.Now()), at(3000, 1, 1); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestTies states the rule: guarded, then wall time, then counter, then the higher node.
func TestTies(t *testing.T) {
	ascending := []Stamp{{}, at(1, 0, 9), at(1, 1, 0), at(1, 1, 1), at(1, 1, 2), at(1, 2, 0), at(2, 0, 0),
		{Guarded: true, Wall: 1}, {Guarded: true, Wall: 2}}
	for i, a := range ascending {
		for j, b := range ascending {
			if got := a.Version().Compare(b.Version()) < 0; got != (i < j) {
				t.Errorf("%+v before %+v: %v", a, b, got)
			}
		}
	}
}

func TestBefore(t *testing.T) {
	limit := Before(time.UnixMilli(5))
	for s, want := range map[Stamp]bool{
		at(4, maxLogical, 1<<63): true, at(5, 0, 0): false, {Guarded: true, Wall: 1}: false,
	} {
		if got := s.Version().Compare(limit) < 0; got != want {
			t.Errorf("%+v is before 5 ms: %v", s, got)
		}
	}
}

func TestStampsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := object.Version{Hi: rapid.Uint64().Draw(t, "hi"), Lo: rapid.Uint64().Draw(t, "lo")}
		s := StampOf(v)
		if s.Version() != v {
			t.Fatalf("%v came back as %v", v, s.Version())
		}
		if g := Guard(v); !Guarded(g) || StampOf(g).Wall != s.Wall {
			t.Fatalf("%v guarded is %v", v, g)
		}
	})
}

// TestCausality lets clocks that are wrong by up to the skew send each other messages:
// what a node stamps is later than whatever it has heard of, no two stamps are
// equal, and none is ahead of the fastest physical clock.
func TestCausality(t *testing.T) {
	const nodes, skew = 3, 5000
	rapid.Check(t, func(t *rapid.T) {
		physicals := make([]*physical, nodes)
		clocks := make([]*Clock, nodes)
		heard := make([]object.Version, nodes) // the newest each knows of
		fastest := int64(0)
		for i := range clocks {
			physicals[i] = &physical{ms: 1e6 + rapid.Int64Range(0, skew).Draw(t, "offset")}
			fastest = max(fastest, physicals[i].ms)
			clocks[i] = New(uint64(i+1), physicals[i].now, skew*time.Millisecond)
		}
		var all []object.Version
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			i, from := rapid.IntRange(0, nodes-1).Draw(t, "node"), rapid.IntRange(0, nodes-1).Draw(t, "from")
			switch rapid.IntRange(0, 2).Draw(t, "step") {
			case 0:
				v := clocks[i].Now()
				if heard[i].Compare(v) >= 0 {
					t.Fatalf("node %d stamps %+v after it heard of %+v", i, StampOf(v), StampOf(heard[i]))
				}
				if StampOf(v).Wall > fastest {
					t.Fatalf("%+v is ahead of every physical clock", StampOf(v))
				}
				heard[i] = v
				all = append(all, v)
			case 1:
				if clocks[i].Observe(heard[from]) == nil && heard[i].Compare(heard[from]) < 0 {
					heard[i] = heard[from]
				}
			case 2:
				for _, p := range physicals {
					p.ms += 3
				}
				fastest += 3
			}
		}
		slices.SortFunc(all, object.Version.Compare)
		if unique := slices.Compact(slices.Clone(all)); len(unique) != len(all) {
			t.Fatalf("a version was issued twice: %v", all)
		}
	})
}
