package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"carillon/object"
	"carillon/object/clock"
)

// Compare-and-set: what it guarantees, and how.
//
// CompareAndSet, CompareAndDelete and Current on one name are linearizable, as long as a
// minority of its copies is lost for good between two views. They need the owner of the name, which is
// the first of its nodes, and with it most of the nodes. A caller that does not reach these
// is refused with ErrTooFew, and nothing was written. If they are lost in the
// middle the error is ErrUncertain: the write was made or not, and Current will tell when
// it is possible again. So in a partition one side at most goes on, that which has the owner and most of the
// copies, and often neither: a name refuses rather than forks.
//
//   - The owner decides. Its store compares and sets in one step, so the versions of a
//     name that it ever had follow one another; that step is when the write takes place.
//   - Nothing is told before most copies have it: not a success, not the version that a
//     conflict met, not what Current finds. So what was told is known to any majority.
//   - The owner changes with the view only. A coordinator with a new view whose
//     objects may still be elsewhere asks all nodes of both maps, those that are lost excepted,
//     and brings the newest version to the new owner before it lets it decide. Its questions
//     carry the new epoch, and nodes that heard it refuse guarded writes of older epochs,
//     so no decision of the old owner can come after. If one node does not answer, the name
//     refuses.
//   - A node that lost its disk has lost its epoch: it refuses all until it was admitted with a new view.
//
// Guarded versions are newer than all plain ones, and plain writes under a name with a guarded
// version are refused: they know no owner and would break the order.

// CompareAndSet stores a version of a name if the newest is expected. The zero version expects that
// there is no object. The error is a *object.ConflictError with what is there if that is something else.
func (c *Coordinator) CompareAndSet(ctx context.Context, name string, expected object.Version, s Source) (object.Info, error) {
	if s.Size > MaxGuarded {
		return object.Info{}, fmt.Errorf("%q has %d bytes, compare-and-set takes %d: %w", name, s.Size, MaxGuarded, object.ErrSize)
	}
	return c.decide(ctx, name, expected, func(ctx context.Context, node Node, w Write) (Receipt, error) {
		body, err := s.Open()
		if err != nil {
			return Receipt{}, err
		}
		w.Size, w.Sum = s.Size, s.Sum
		receipt, err := node.Put(ctx, name, body, w)
		return receipt, errors.Join(err, body.Close())
	})
}

// CompareAndDelete marks a name as deleted if the newest version is expected.
func (c *Coordinator) CompareAndDelete(ctx context.Context, name string, expected object.Version) (object.Info, error) {
	return c.decide(ctx, name, expected, func(ctx context.Context, node Node, w Write) (Receipt, error) {
		return node.Delete(ctx, name, w)
	})
}

// Current describes the newest version of a guarded name, be it the mark of a delete. An unknown name has the zero
// Info. Get it by its version.
func (c *Coordinator) Current(ctx context.Context, name string) (object.Info, error) {
	if err := object.CheckName(name); err != nil {
		return object.Info{}, err
	}
	g, current, err := c.guard(ctx, name)
	if err != nil {
		return object.Info{}, err
	}
	return current, g.establish(ctx, current)
}

// guarded is one operation on a guarded name. One goroutine owns it.
type guarded struct {
	c     *Coordinator
	view  *View
	name  string
	nodes []string // the owner first
	most  int
	at    map[string]object.Version // what the nodes that answered have
}

// decide makes a guarded write.
func (c *Coordinator) decide(ctx context.Context, name string, expected object.Version, do writing) (object.Info, error) {
	if err := object.CheckName(name); err != nil {
		return object.Info{}, err
	}
	g, current, err := c.guard(ctx, name)
	if err != nil {
		return object.Info{}, err
	}
	condition := object.IfNewest(expected)
	if expected.IsZero() {
		condition = object.IfAbsent()
	}
	if condition.Check(current) != nil {
		return object.Info{}, g.conflict(ctx, current)
	}
	if err := c.config.Clock.Observe(current.Version); err != nil {
		return object.Info{}, fmt.Errorf("compare-and-set of %q: %w", name, err)
	}
	w := Write{Epoch: g.view.Epoch, Version: clock.Guard(c.config.Clock.Now()), If: object.IfNewest(current.Version)}
	if current.Version.IsZero() {
		w.If = object.IfAbsent()
	}
	receipt, err := c.writeOn(ctx, g.nodes[0], w, do)
	var other *object.ConflictError
	if errors.As(err, &other) {
		return object.Info{}, g.conflict(ctx, other.Newest)
	}
	if err != nil {
		return object.Info{}, fmt.Errorf("compare-and-set of %q at its owner %s: %w", name, g.nodes[0], undecided(err))
	}
	g.at = map[string]object.Version{g.nodes[0]: w.Version}
	w.If, w.Copy = object.Condition{}, true
	if err := g.spread(ctx, func(ctx context.Context, node Node) error {
		_, err := do(ctx, node, w)
		return err
	}, w.Version); err != nil {
		return object.Info{}, fmt.Errorf("compare-and-set of %q: %w: %w", name, ErrUncertain, err)
	}
	return receipt.Info, nil
}

// undecided tells what an error of the owner means for the write: these it gives before it
// writes, any other may come from a write or in its place.
func undecided(err error) error {
	for _, before := range []error{object.ErrSize, object.ErrSum, clock.ErrSkew} {
		if errors.Is(err, before) {
			return err
		}
	}
	for _, before := range []error{ErrStale, ErrBlank} {
		if errors.Is(err, before) {
			return fmt.Errorf("%w: %w", ErrTooFew, err)
		}
	}
	return fmt.Errorf("%w: %w", ErrUncertain, err)
}

// guard asks the nodes of a name and finds what its owner has. It fails if the owner and most of
// the nodes do not answer or, while objects move, if any does not.
func (c *Coordinator) guard(ctx context.Context, name string) (*guarded, object.Info, error) {
	view := c.view.Load()
	now, all := view.holders(name)
	g := &guarded{c: c, view: view, name: name, nodes: now, most: majority(view.Now), at: make(map[string]object.Version)}
	answers := ask(ctx, &c.working, all, func(ctx context.Context, node string) (object.Info, error) {
		return c.stat(ctx, node, name, view.Epoch)
	})
	var owners, newest object.Info
	var failures []error
	for range all {
		a := <-answers
		if a.err != nil {
			failures = append(failures, fmt.Errorf("node %s: %w", a.node, a.err))
			continue
		}
		g.at[a.node] = a.value.Version
		if a.node == now[0] {
			owners = a.value
		}
		if a.value.Version.Compare(newest.Version) > 0 {
			newest = a.value
		}
		if _, owner := g.at[now[0]]; view.Before == nil && owner && len(g.at) >= g.most {
			return g, owners, plain(name, newest)
		}
	}
	if view.Before == nil || len(failures) > 0 {
		return nil, object.Info{}, fmt.Errorf("%q refuses: its owner %s and %d nodes must answer, or all of %v while objects move: %w: %w",
			name, now[0], g.most, all, ErrTooFew, errors.Join(failures...))
	}
	if err := plain(name, newest); err != nil {
		return nil, object.Info{}, err
	}
	if owners.Version != newest.Version {
		if err := g.copy(ctx, now[0], newest); err != nil {
			return nil, object.Info{}, fmt.Errorf("%q refuses: bringing it to its new owner %s: %w: %w", name, now[0], ErrTooFew, err)
		}
		g.at[now[0]] = newest.Version
	}
	return g, newest, nil
}

// plain refuses a name that was written without compare-and-set.
func plain(name string, newest object.Info) error {
	if newest.Version.IsZero() || clock.Guarded(newest.Version) {
		return nil
	}
	return fmt.Errorf("compare-and-set of %q: %w", name, ErrUnguarded)
}

// conflict tells the caller what is there, when it is sure to stay.
func (g *guarded) conflict(ctx context.Context, current object.Info) error {
	if err := g.establish(ctx, current); err != nil {
		return err
	}
	return fmt.Errorf("compare-and-set of %q: %w", g.name, &object.ConflictError{Newest: current})
}

// establish makes sure that most nodes have a version that the owner has, or a newer one.
func (g *guarded) establish(ctx context.Context, current object.Info) error {
	if current.Version.IsZero() {
		return nil
	}
	err := g.spread(ctx, func(ctx context.Context, node Node) error {
		return g.transfer(ctx, node, current)
	}, current.Version)
	if err != nil {
		return fmt.Errorf("%q refuses: version %v: %w: %w", g.name, current.Version, ErrTooFew, err)
	}
	return nil
}

// spread makes the copies that are missing of a version which the owner has, until most nodes have it.
func (g *guarded) spread(ctx context.Context, write func(ctx context.Context, node Node) error, v object.Version) error {
	var missing []string
	have := 0
	for _, node := range g.nodes {
		if at, known := g.at[node]; known && at.Compare(v) >= 0 {
			have++
		} else {
			missing = append(missing, node)
		}
	}
	_, err := gather(ctx, &g.c.working, g.c.config.Timeout, missing, g.most-have, func(ctx context.Context, to string) error {
		node, err := g.c.config.Node(to)
		if err != nil {
			return err
		}
		return write(ctx, node)
	}, func([]string) { g.c.repairs.add(repair{name: g.name}) })
	return err
}

func (g *guarded) copy(ctx context.Context, to string, info object.Info) error {
	ctx, cancel := context.WithTimeout(ctx, g.c.config.Timeout)
	defer cancel()
	node, err := g.c.config.Node(to)
	if err != nil {
		return err
	}
	return g.transfer(ctx, node, info)
}

// transfer copies a version from one of the nodes that have it, the owner if it does.
func (g *guarded) transfer(ctx context.Context, to Node, info object.Info) error {
	m := mending{c: g.c, view: g.view, name: g.name, Mended: Mended{Newest: info}}
	m.good = append(m.good, g.nodes[0])
	for node, v := range g.at {
		if v == info.Version && !slices.Contains(m.good, node) {
			m.good = append(m.good, node)
		}
	}
	return m.transferTo(ctx, to, false)
}
