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
		return c.getNewest(ctx, name, o)
	case Race:
		body, from, err = c.race(ctx, all, sought{name: name, Get: o})
	case Failover:
		body, from, err = c.failover(ctx, all, sought{name: name, Get: o})
	default:
		body, from, err = c.failover(ctx, all[:1], sought{name: name, Get: o})
	}
	more := mode != One || errors.Is(err, object.ErrNotFound) // which one node alone cannot know
	switch {
	case err == nil:
		return c.resumable(ctx, name, body, from, all), nil
	case more && o.Version.IsZero():
		return c.getNewest(ctx, name, o)
	case more && mode == One:
		return c.Get(ctx, name, Failover, o)
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

// getNewest reads what a survey finds to be newest or, from a node that has got a newer version since, that. If nobody can give
// it, a write may have passed by: then another survey finds something else, be it nothing.
func (c *Coordinator) getNewest(ctx context.Context, name string, o object.Get) (object.Body, error) {
	var failed error
	for range maxAttempts {
		view := c.view.Load()
		newest, holders, err := c.survey(ctx, view, name)
		switch {
		case err != nil:
			return nil, err
		case newest.Deleted || newest.Version.IsZero():
			return nil, fmt.Errorf("reading %q: %w", name, object.ErrNotFound)
		case newest.Version == o.Version:
			return nil, failed
		}
		o.Version = newest.Version
		_, all := view.holders(name)
		nodes := union(holders, all) // the others may have got it meanwhile
		body, from, err := c.failover(ctx, nodes, sought{name, o, holders})
		if err == nil {
			return c.resumable(ctx, name, body, from, nodes), nil
		}
		failed = fmt.Errorf("reading %q: %w", name, err)
		if errors.Is(err, object.ErrRange) || ctx.Err() != nil {
			break
		}
	}
	return nil, failed
}

// sought is what a read asks nodes for.
type sought struct {
	name string
	object.Get
	had []string // nodes that had Version when they were asked last: by now they may have displaced it, and what they have is as good
}

// errGone says that a node has nothing to read any more in the place of what it had. It says nothing of the name, unlike
// object.ErrNotFound.
var errGone = errors.New("what it had is gone")

// open asks one node, and has it mended if its copy is damaged.
func (c *Coordinator) open(ctx context.Context, from string, s sought) (object.Body, error) {
	node, err := c.config.Node(from)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", from, err)
	}
	had, o := slices.Contains(s.had, from), s.Get
	if had {
		o.Version = object.Version{}
	}
	begun := c.config.Clock.Wall()
	body, err := node.Get(ctx, s.name, o)
	switch {
	case err == nil && body.Info().Version.Compare(s.Version) < 0: // it has lost its disk and got an older copy back
		err = errors.Join(errGone, body.Close())
	case had && errors.Is(err, object.ErrNotFound):
		err = errGone
	case errors.Is(err, object.ErrDamaged):
		c.repairs.add(repair{name: s.name, deep: true})
	}
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", from, err)
	}
	c.latency.add(c.config.Clock.Wall().Sub(begun))
	return body, nil
}
