package replica

import (
	"context"
	"errors"
	"fmt"
	"io"

	"carillon/object"
	"carillon/object/clock"
)

// maxAttempts bounds how often a write is stamped anew because it met a newer one, and how often a read looks again because
// one passed by.
const maxAttempts = 8

// Source is a content that can be read more than once: each copy and each retry opens it anew. One of known size up to MaxQueued
// is read before Put returns.
type Source struct {
	Open func() (io.ReadCloser, error)
	Size int64       // bytes, or object.UnknownSize
	Sum  *object.Sum // if not nil, what the checksum must be
}

// Put stores a new version of a name and returns when W nodes have it; the other copies go
// on. A put that begins after another was acknowledged is newer than that. The error is
// ErrUncertain if too few nodes acknowledged; to put the same again is then
// always right.
func (c *Coordinator) Put(ctx context.Context, name string, s Source) (object.Info, error) {
	if err := object.CheckName(name); err != nil {
		return object.Info{}, err
	}
	if s.Size >= 0 && s.Size <= MaxQueued && !c.config.ServerCopies {
		return c.putContent(ctx, name, s)
	}
	return c.write(ctx, name, c.onNodes(name, func(ctx context.Context, node Node, w Write) (Receipt, error) {
		body, err := s.Open()
		if err != nil {
			return Receipt{}, err
		}
		w.Size, w.Sum = s.Size, s.Sum
		receipt, err := node.Put(ctx, name, body, w)
		return receipt, errors.Join(err, body.Close())
	}))
}

// Delete marks a name as deleted, on the terms of Put. It is no error if there is nothing to delete.
func (c *Coordinator) Delete(ctx context.Context, name string) (object.Info, error) {
	if err := object.CheckName(name); err != nil {
		return object.Info{}, err
	}
	return c.write(ctx, name, c.onNodes(name, func(ctx context.Context, node Node, w Write) (Receipt, error) {
		return node.Delete(ctx, name, w)
	}))
}

// writing is a Put or Delete on one node.
type writing func(ctx context.Context, node Node, w Write) (Receipt, error)

// writingAll makes a write on nodes, and returns when need of them acknowledged.
type writingAll func(ctx context.Context, nodes []string, need int, w Write) (object.Info, error)

// onNodes makes a write with a goroutine for each node.
func (c *Coordinator) onNodes(name string, do writing) writingAll {
	return func(ctx context.Context, nodes []string, need int, w Write) (object.Info, error) {
		if c.config.ServerCopies {
			return c.writeThrough(ctx, nodes, need, w, do)
		}
		return c.writeAll(ctx, name, nodes, need, w, do)
	}
}

// write stamps a write and makes it. A node that has something newer says so: then some
// clock is ahead of ours, and the write is stamped anew, behind what is there.
func (c *Coordinator) write(ctx context.Context, name string, do writingAll) (object.Info, error) {
	var err error
	for range maxAttempts {
		var info object.Info
		view := c.view.Load()
		w := Write{Epoch: view.Epoch, Version: c.config.Clock.Now()}
		if info, err = do(ctx, view.Now.Place(name), c.need(view), w); err == nil {
			return info, nil
		}
		var newer *object.ConflictError
		if !errors.As(err, &newer) {
			break
		}
		if clock.Guarded(newer.Newest.Version) {
			return object.Info{}, fmt.Errorf("writing %q: %w", name, ErrGuarded)
		}
		if err := c.config.Clock.Observe(newer.Newest.Version); err != nil {
			return object.Info{}, fmt.Errorf("writing %q: %w", name, err)
		}
	}
	if errors.Is(err, object.ErrSize) || errors.Is(err, object.ErrSum) { // the same content goes to all
		return object.Info{}, fmt.Errorf("writing %q: %w", name, err)
	}
	return object.Info{}, fmt.Errorf("writing %q: %w: %w", name, ErrUncertain, err)
}

// writeAll sends each node its copy.
func (c *Coordinator) writeAll(ctx context.Context, name string, nodes []string, need int, w Write, do writing) (object.Info, error) {
	infos := make(chan object.Info, len(nodes))
	_, err := gather(ctx, &c.working, c.config.Timeout, nodes, need, func(ctx context.Context, to string) error {
		node, err := c.config.Node(to)
		if err != nil {
			return err
		}
		receipt, err := do(ctx, node, w)
		if err == nil {
			infos <- receipt.Info
		}
		return err
	}, func([]string) { c.repairs.add(repair{name: name}) })
	if err != nil {
		return object.Info{}, err
	}
	return <-infos, nil
}

// writeThrough sends one node the content and lets it make the other copies. If it fails, the next node is asked
// to: the version stays the same, so whatever the first one did is done.
func (c *Coordinator) writeThrough(ctx context.Context, nodes []string, need int, w Write, do writing) (object.Info, error) {
	var failures []error
	for i, to := range nodes {
		w.Forward = Forward{Need: need}
		w.Forward.To = append(append(w.Forward.To, nodes[:i]...), nodes[i+1:]...)
		receipt, err := c.writeOn(ctx, to, w, do)
		if err == nil && len(receipt.Acked) >= need {
			return receipt.Info, nil
		}
		failures = append(failures, fmt.Errorf("node %s: %w", to, err))
		if errors.Is(err, object.ErrConflict) || ctx.Err() != nil {
			break
		}
	}
	return object.Info{}, errors.Join(failures...)
}

func (c *Coordinator) writeOn(ctx context.Context, to string, w Write, do writing) (Receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	node, err := c.config.Node(to)
	if err != nil {
		return Receipt{}, err
	}
	return do(ctx, node, w)
}
