package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"carillon/object"
)

// Read says how much a Get asks for.
type Read int

// From the safest to the cheapest. Only Newest always sees the last write that was acknowledged, provided
// that more than half of the copies make a write (2W > N); the others may answer
// with an older version that a node still has. No mode answers ErrNotFound without
// having asked so many nodes that Newest would.
const (
	Newest   Read = iota // asks so many nodes for their version that the newest is among them
	Race                 // asks the first node, and the next whenever one takes longer than 95 % of reads
	Failover             // asks one node after the other
	One                  // asks the first node only
)

// Get returns the content of an object, or of a version of it if o says which. If a node
// fails in the middle, the body goes on from another. The caller closes the body.
func (c *Coordinator) Get(ctx context.Context, name string, mode Read, o object.Get) (object.Body, error) {
	if err := object.CheckName(name); err != nil {
		return nil, err
	}
	view := c.view.Load()
	_, all := view.holders(name)
	if !o.Version.IsZero() && mode == Newest {
		mode = Failover // there is only one
	}
	var body object.Body
	var from string
	var err error
	switch mode {
	case Newest:
		return c.getNewest(ctx, view, name, o)
	case Race:
		body, from, err = c.race(ctx, name, all, o)
	case Failover:
		body, from, err = c.failover(ctx, name, all, o)
	default:
		body, from, err = c.failover(ctx, name, all[:1], o)
	}
	if err == nil {
		return c.resumable(ctx, name, body, from, all), nil
	}
	if o.Version.IsZero() && (mode != One || errors.Is(err, object.ErrNotFound)) {
		return c.getNewest(ctx, view, name, o) // enough nodes may know that there is none
	}
	return nil, fmt.Errorf("reading %q: %w", name, err)
}

// Stat describes the newest version on the terms of Newest.
func (c *Coordinator) Stat(ctx context.Context, name string) (object.Info, error) {
	if err := object.CheckName(name); err != nil {
		return object.Info{}, err
	}
	newest, _, err := c.survey(ctx, c.view.Load(), name)
	if err == nil && (newest.Deleted || newest.Version.IsZero()) {
		err = fmt.Errorf("%q: %w", name, object.ErrNotFound)
	}
	return newest, err
}

// History describes the versions of a name that any of its nodes keeps, newest first, marks of deletes
// included. It is empty for an unknown name. How many versions are kept is each node's own. The
// error wraps ErrTooFew if the newest could be missing.
func (c *Coordinator) History(ctx context.Context, name string) ([]object.Info, error) {
	if err := object.CheckName(name); err != nil {
		return nil, err
	}
	view := c.view.Load()
	_, all := view.holders(name)
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	answers := ask(ctx, &c.working, all, func(ctx context.Context, node string) ([]object.Info, error) {
		n, err := c.config.Node(node)
		if err != nil {
			return nil, err
		}
		return n.History(ctx, name)
	})
	var versions []object.Info
	var answered []string
	var failures []error
	for range all {
		a := <-answers
		if a.err != nil {
			failures = append(failures, fmt.Errorf("node %s: %w", a.node, a.err))
			continue
		}
		answered = append(answered, a.node)
		versions = append(versions, a.value...)
	}
	if !c.enough(view, name, answered) {
		return nil, fmt.Errorf("history of %q: %w: %w", name, ErrTooFew, errors.Join(failures...))
	}
	slices.SortFunc(versions, func(a, b object.Info) int { return b.Version.Compare(a.Version) })
	return slices.CompactFunc(versions, func(a, b object.Info) bool { return a.Version == b.Version }), nil
}

// survey finds the newest version and who has it. Who has another is mended later.
func (c *Coordinator) survey(ctx context.Context, view *View, name string) (object.Info, []string, error) {
	_, all := view.holders(name)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := ask(ctx, &c.working, all, func(ctx context.Context, node string) (object.Info, error) {
		return c.stat(ctx, node, name, view.Epoch)
	})
	var newest object.Info
	var answered, holders []string
	var failures []error
	differ := false
	for range all {
		a := <-answers
		if a.err != nil {
			failures = append(failures, fmt.Errorf("node %s: %w", a.node, a.err))
			continue
		}
		order := a.value.Version.Compare(newest.Version)
		differ = differ || len(answered) > 0 && order != 0
		if order > 0 {
			newest, holders = a.value, nil
		}
		if order >= 0 && !a.value.Version.IsZero() {
			holders = append(holders, a.node)
		}
		answered = append(answered, a.node)
		if c.enough(view, name, answered) {
			if differ {
				c.repairs.add(repair{name: name})
			}
			return newest, holders, nil
		}
	}
	return object.Info{}, nil, fmt.Errorf("looking for %q: %w: %w", name, ErrTooFew, errors.Join(failures...))
}

func (c *Coordinator) getNewest(ctx context.Context, view *View, name string, o object.Get) (object.Body, error) {
	newest, holders, err := c.survey(ctx, view, name)
	if err != nil {
		return nil, err
	}
	if newest.Deleted || newest.Version.IsZero() {
		return nil, fmt.Errorf("reading %q: %w", name, object.ErrNotFound)
	}
	_, all := view.holders(name)
	o.Version = newest.Version
	nodes := union(holders, all) // the others may have got it meanwhile
	body, from, err := c.failover(ctx, name, nodes, o)
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", name, err)
	}
	return c.resumable(ctx, name, body, from, nodes), nil
}

// open asks one node, and has it mended if its copy is damaged.
func (c *Coordinator) open(ctx context.Context, from, name string, o object.Get) (object.Body, error) {
	node, err := c.config.Node(from)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", from, err)
	}
	begun := c.config.Clock.Wall()
	body, err := node.Get(ctx, name, o)
	if err != nil {
		if errors.Is(err, object.ErrDamaged) {
			c.repairs.add(repair{name: name, deep: true})
		}
		return nil, fmt.Errorf("node %s: %w", from, err)
	}
	c.latency.add(c.config.Clock.Wall().Sub(begun))
	return body, nil
}
