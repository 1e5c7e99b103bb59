package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"carillon/object"
)

// failover asks nodes in their order. The error is ErrNotFound only if all said so. Each
// node has the timeout to begin its answer.
func (c *Coordinator) failover(ctx context.Context, nodes []string, s sought) (object.Body, string, error) {
	return c.hedged(ctx, nodes, s, c.config.Timeout)
}

// race asks the next node whenever the last one has not answered within the hedge.
func (c *Coordinator) race(ctx context.Context, nodes []string, s sought) (object.Body, string, error) {
	return c.hedged(ctx, nodes, s, c.latency.hedge())
}

// opening is the reads of one object that are under way at several nodes. One
// goroutine owns it; those that ask the nodes only send answers.
type opening struct {
	group    *sync.WaitGroup
	answers  chan opened
	cancels  []context.CancelFunc // of the reads that were begun, in the nodes' order
	failures []error
}

// opened is how a node began its answer.
type opened struct {
	read int // which, in opening's cancels
	body object.Body
	err  error
}

// hedged asks the first node, and the next each time that an answer is bad or none came
// for patience. The first body wins.
func (c *Coordinator) hedged(ctx context.Context, nodes []string, s sought, patience time.Duration) (object.Body, string, error) {
	reads := opening{group: &c.working, answers: make(chan opened, len(nodes))}
	start := func() {
		read := len(reads.cancels)
		ctx, cancel := context.WithCancel(ctx)
		reads.cancels = append(reads.cancels, cancel)
		c.working.Go(func() {
			body, err := c.open(ctx, nodes[read], s)
			reads.answers <- opened{read, body, err}
		})
	}
	start()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for len(reads.failures) < len(nodes) {
		if len(reads.cancels) == len(nodes) {
			patience = c.config.Timeout
		}
		timer.Reset(patience)
		select {
		case a := <-reads.answers:
			if a.err == nil {
				reads.abandon(a.read)
				return &cancelling{a.body, reads.cancels[a.read]}, nodes[a.read], nil
			}
			reads.failures = append(reads.failures, a.err)
		case <-timer.C:
			if len(reads.cancels) == len(nodes) {
				reads.abandon(-1)
				reads.failures = append(reads.failures, fmt.Errorf("no answer within %v", patience))
				return nil, "", reads.failure()
			}
			c.counts.hedges.Add(1)
		case <-ctx.Done():
			reads.abandon(-1)
			return nil, "", ctx.Err()
		}
		if len(reads.cancels) < len(nodes) {
			start()
		}
	}
	reads.abandon(-1)
	return nil, "", reads.failure()
}

// abandon ends all reads but one, whichever have not failed yet.
func (r *opening) abandon(but int) {
	for i, cancel := range r.cancels {
		if i != but {
			cancel()
		}
	}
	open := len(r.cancels) - len(r.failures)
	if but >= 0 {
		open--
	}
	r.group.Go(func() {
		for range open {
			if a := <-r.answers; a.err == nil {
				a.body.Close()
			}
		}
	})
}

// failure is what went wrong. Not to have the object is the answer only if there is no
// other; that the range lies outside of it is the answer of any node that has it.
func (r *opening) failure() error {
	for _, err := range r.failures {
		if errors.Is(err, object.ErrRange) {
			return err
		}
	}
	wrong := slices.DeleteFunc(slices.Clone(r.failures), func(err error) bool { return errors.Is(err, object.ErrNotFound) })
	if len(wrong) > 0 {
		return fmt.Errorf("%w: %w", ErrTooFew, errors.Join(wrong...))
	}
	return errors.Join(r.failures...)
}

// cancelling is a body whose end ends its request.
type cancelling struct {
	object.Body
	cancel context.CancelFunc
}

func (b *cancelling) Close() error {
	err := b.Body.Close()
	b.cancel()
	return err
}
