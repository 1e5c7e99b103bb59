package replica

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"

	"carillon/object"
)

func TestCompareAndSet(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *cluster, o *Coordinator) {
		ctx := t.Context()
		first, err := o.CompareAndSet(ctx, "n", object.Version{}, sourceOf("first"))
		if err != nil {
			t.Fatal(err)
		}
		second, err := o.CompareAndSet(ctx, "n", first.Version, sourceOf("second"))
		if err != nil {
			t.Fatal(err)
		}
		for _, expected := range []object.Version{{}, first.Version} {
			var conflict *object.ConflictError
			if _, err := o.CompareAndSet(ctx, "n", expected, sourceOf("third")); !errors.As(err, &conflict) || conflict.Newest != second {
				t.Errorf("expecting %v: %v, want a conflict with the second", expected, err)
			}
		}
		if got, err := o.Current(ctx, "n"); err != nil || got != second {
			t.Errorf("current is %+v, %v", got, err)
		}
		if _, err := o.Put(ctx, "n", sourceOf("plain")); !errors.Is(err, ErrGuarded) {
			t.Errorf("a plain put: %v", err)
		}
		if _, err := o.Delete(ctx, "n"); !errors.Is(err, ErrGuarded) {
			t.Errorf("a plain delete: %v", err)
		}
		gone, err := o.CompareAndDelete(ctx, "n", second.Version)
		if err != nil || !gone.Deleted {
			t.Fatal(gone, err)
		}
		want(t, o, "n", Newest, "")
		if _, err := o.CompareAndSet(ctx, "n", object.Version{}, sourceOf("again")); err != nil {
			t.Errorf("after the delete: %v", err)
		}
		put(t, o, "plain", "content")
		if _, err := o.CompareAndSet(ctx, "plain", object.Version{}, sourceOf("x")); !errors.Is(err, ErrUnguarded) {
			t.Errorf("of a name that was put: %v", err)
		}
		if _, err := o.CompareAndSet(ctx, "big", object.Version{}, sourceOf(strings.Repeat("x", MaxGuarded+1))); !errors.Is(err, object.ErrSize) {
			t.Errorf("of too much: %v", err)
		}
	})
}

// TestCompareAndSetRefuses goes through who can be away, and tells what the owner
// decided from what it did not.
func TestCompareAndSetRefuses(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *cluster, o *Coordinator) {
		ctx := t.Context()
		nodes := o.view.Load().Now.Place("n")
		first, err := o.CompareAndSet(ctx, "n", object.Version{}, sourceOf("first"))
		if err != nil {
			t.Fatal(err)
		}
		c.wire(nodes[2]).down()
		second, err := o.CompareAndSet(ctx, "n", first.Version, sourceOf("second"))
		if err != nil {
			t.Errorf("with the owner and another: %v", err)
		}
		c.wire(nodes[1]).down()
		if _, err := o.CompareAndSet(ctx, "n", second.Version, sourceOf("third")); !errors.Is(err, ErrTooFew) {
			t.Errorf("with the owner alone: %v", err)
		}
		for _, n := range nodes[1:] {
			c.wire(n).up()
		}
		c.wire(nodes[0]).down()
		if _, err := o.CompareAndSet(ctx, "n", second.Version, sourceOf("third")); !errors.Is(err, ErrTooFew) {
			t.Errorf("without the owner: %v", err)
		}
		if _, err := o.Current(ctx, "n"); !errors.Is(err, ErrTooFew) {
			t.Errorf("current without the owner: %v", err)
		}
		c.wire(nodes[0]).up()
		if got, err := o.Current(ctx, "n"); err != nil || got.Version != second.Version {
			t.Errorf("what was refused was written: %+v, %v", got, err)
		}
		c.wire(nodes[0]).set(func(op string) (error, error) {
			if op == "put" {
				return nil, errDown
			}
			return nil, nil
		})
		if _, err := o.CompareAndSet(ctx, "n", second.Version, sourceOf("third")); !errors.Is(err, ErrUncertain) {
			t.Errorf("when the owner's answer is lost: %v", err)
		}
		want(t, o, "n", One, "third")
	})
}

// TestOldViewsCannotDecide: a coordinator that missed a change of the map is refused.
func TestOldViewsCannotDecide(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *cluster, o *Coordinator) {
		late := c.coordinator(View{Epoch: 1, Now: mapOf(t, "a", "b", "c")}, nil)
		defer late.Close()
		first, err := o.CompareAndSet(t.Context(), "n", object.Version{}, sourceOf("first"))
		if err != nil {
			t.Fatal(err)
		}
		if err := o.SetView(View{Epoch: 2, Now: mapOf(t, "a", "b", "c")}); err != nil {
			t.Fatal(err)
		}
		if err := o.Seal(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, set := late.CompareAndSet(t.Context(), "n", first.Version, sourceOf("late"))
		_, put := late.Put(t.Context(), "m", sourceOf("late"))
		for _, err := range []error{set, put} {
			if !errors.Is(err, ErrStale) {
				t.Errorf("by an old view: %v", err)
			}
		}
		if err := o.SetView(View{Epoch: 2, Now: mapOf(t, "a")}); !errors.Is(err, ErrStale) {
			t.Errorf("two views of one epoch: %v", err)
		}
	})
}

// register is the model of a name: what it holds is the checksum of its content.
type request struct {
	read          bool
	expected, new object.Sum
}

type response struct {
	found     object.Sum
	conflict  bool
	uncertain bool
}

func register() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return object.Sum{} },
		Step: func(state, in, out any) (bool, any) {
			held, q, r := state.(object.Sum), in.(request), out.(response)
			switch {
			case q.read:
				return r.found == held, held
			case r.uncertain: // it may come after all others, so nobody need see it
				if held == q.expected {
					return true, q.new
				}
				return true, held
			case r.conflict:
				return r.found == held && held != q.expected, held
			default:
				return held == q.expected, q.new
			}
		},
		DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v %+v", in, out) },
	}
}

// storm breaks the wires of a cluster at random: nodes go away, answers get lost, and
// everything takes its time.
type storm struct {
	mu   sync.Mutex
	rng  *rand.Rand
	calm atomic.Bool // nothing fails, so that a move can end
}

func (s *storm) n(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rng.IntN(n)
}

func (s *storm) fault(string) (before, after error) {
	time.Sleep(time.Duration(s.n(3000)) * time.Microsecond)
	if s.calm.Load() {
		return nil, nil
	}
	switch s.n(25) {
	case 0:
		return errDown, nil
	case 1:
		return nil, errDown
	case 2:
		time.Sleep(time.Duration(s.n(300)) * time.Millisecond) // it arrives when nobody waits any more
	}
	return nil, nil
}

// putsFail is a node that answers and takes no copies.
func (s *storm) putsFail(op string) (before, after error) {
	time.Sleep(time.Duration(s.n(1000)) * time.Microsecond)
	if op == "put" {
		return errDown, nil
	}
	return nil, nil
}

// weather lets single nodes go down and come back until the context ends.
func (s *storm) weather(ctx context.Context, c *cluster, names []string) {
	for ctx.Err() == nil {
		w := c.wire(names[s.n(len(names))])
		if !s.calm.Load() {
			w.down()
		}
		time.Sleep(time.Duration(s.n(40)) * time.Millisecond)
		w.set(s.fault)
		time.Sleep(time.Duration(s.n(60)) * time.Millisecond)
	}
}

// history runs clients on one name, each with its own coordinator.
type history struct {
	mu   sync.Mutex
	ops  []porcupine.Operation
	time atomic.Int64
	done int // operations that said something
}

func (h *history) add(client int, call int64, in request, out response) {
	back := h.time.Add(1)
	if out.uncertain {
		back = 1 << 60
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !out.uncertain {
		h.done++
	}
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: in, Call: call, Output: out, Return: back})
}

// client reads and sets until it has done so many operations.
func (h *history) client(ctx context.Context, id int, o *Coordinator, s *storm, ops int) error {
	var known object.Info
	for i := range ops {
		time.Sleep(time.Duration(s.n(5000)) * time.Microsecond)
		call := h.time.Add(1)
		if s.n(3) == 0 {
			info, err := o.Current(ctx, "n")
			if err == nil {
				known = info
				h.add(id, call, request{read: true}, response{found: info.Sum})
			} else if !errors.Is(err, ErrTooFew) {
				return err
			}
			continue
		}
		source := sourceOf(fmt.Sprintf("client %d, operation %d", id, i))
		in := request{expected: known.Sum, new: *source.Sum}
		info, err := o.CompareAndSet(ctx, "n", known.Version, source)
		var conflict *object.ConflictError
		switch {
		case err == nil:
			known = info
			h.add(id, call, in, response{})
		case errors.As(err, &conflict):
			known = conflict.Newest
			h.add(id, call, in, response{found: known.Sum, conflict: true})
		case errors.Is(err, ErrUncertain):
			h.add(id, call, in, response{uncertain: true})
		case !errors.Is(err, ErrTooFew): // which says that nothing was written
			return err
		}
	}
	return nil
}

// TestHistoriesAreLinearizable lets clients set one name while nodes and messages fail
// and, in the middle, the map changes: a node joins, or the owner loses its disk for good.
func TestHistoriesAreLinearizable(t *testing.T) {
	for _, change := range []string{"none", "join", "lose the owner"} {
		for seed := range uint64(15) {
			t.Run(fmt.Sprintf("%s/%d", strings.ReplaceAll(change, " ", "_"), seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { linearizable(t, change, seed) })
			})
		}
	}
}

func linearizable(t *testing.T, change string, seed uint64) {
	const clients, ops = 4, 60
	names := []string{"a", "b", "c"}
	c := start(t, names...)
	s := &storm{rng: rand.New(rand.NewPCG(seed, 1))}
	h := new(history)
	ctx, cancel := context.WithCancel(t.Context())
	var coordinators []*Coordinator
	var working, weather sync.WaitGroup
	for id := range clients {
		o := c.coordinator(View{Epoch: 1, Now: mapOf(t, names...)}, func(c *Config) { c.Timeout = 100 * time.Millisecond })
		coordinators = append(coordinators, o)
		working.Go(func() {
			if err := h.client(ctx, id, o, s, ops); err != nil {
				t.Errorf("client %d: %v", id, err)
			}
		})
	}
	weather.Go(func() { s.weather(ctx, c, names) })
	time.Sleep(100 * time.Millisecond)
	view := View{Epoch: 2, Now: mapOf(t, names...), Before: mapOf(t, names...)}
	switch change {
	case "join":
		view.Now = mapOf(t, "a", "b", "c", "d")
		if err := c.replace("d").Admit(2); err != nil {
			t.Fatal(err)
		}
	case "lose the owner":
		owner := view.Now.Place("n")[0]
		cut := view.Now.Place("n")[1+seed%2:]
		for range 10 { // what it decides last is not copied to one node or to both
			for _, n := range cut {
				c.wire(n).set(s.putsFail)
			}
			time.Sleep(4 * time.Millisecond) // the weather interferes
		}
		view.Lost = []string{owner}
		if err := c.replace(owner).Admit(2); err != nil {
			t.Fatal(err)
		}
	}
	if change != "none" {
		for _, o := range coordinators {
			time.Sleep(time.Duration(s.n(30)) * time.Millisecond) // some learn it late
			if err := o.SetView(view); err != nil {
				t.Fatal(err)
			}
		}
		view = settle(t, coordinators[0], view, s)
		for _, o := range coordinators[1:] {
			time.Sleep(time.Duration(s.n(30)) * time.Millisecond)
			if err := o.SetView(view); err != nil {
				t.Fatal(err)
			}
		}
	}
	working.Wait()
	cancel()
	weather.Wait()
	for _, o := range coordinators {
		o.Close()
	}
	if h.done < clients*ops/20 {
		t.Errorf("only %d operations of %d said something", h.done, clients*ops)
	}
	if got := porcupine.CheckOperationsTimeout(register(), h.ops, time.Hour); got != porcupine.Ok {
		t.Errorf("the history of seed %d is %s; go test -run 'TestHistoriesAreLinearizable/%s' repeats it", seed, got, t.Name())
	}
}

// settle moves all objects to where a view wants them, and ends the move.
func settle(t *testing.T, o *Coordinator, view View, s *storm) View {
	var last error
	for try := range 100 {
		s.calm.Store(try > 20)
		time.Sleep(10 * time.Millisecond)
		if err := o.Seal(t.Context()); err != nil {
			last = err
			continue
		}
		got, err := o.Scrub(t.Context(), Scrub{Report: func(_ string, _ Mended, err error) error { last = err; return nil }})
		if err == nil && got.Settled() {
			view.Epoch, view.Before, view.Lost = view.Epoch+1, nil, nil
			if err := o.SetView(view); err != nil {
				t.Error(err)
			}
			s.calm.Store(false)
			return view
		}
	}
	t.Errorf("the move does not end: %v", last)
	return view
}
