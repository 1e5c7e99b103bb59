package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// answer is what a node said.
type answer[T any] struct {
	node  string
	value T
	err   error
}

// ask calls do for all nodes at once. Every node's answer comes into the channel, in the order of
// their coming; whoever has heard enough need not read on. Group counts the calls.
func ask[T any](ctx context.Context, group *sync.WaitGroup, nodes []string, do func(ctx context.Context, node string) (T, error)) <-chan answer[T] {
	answers := make(chan answer[T], len(nodes))
	for _, node := range nodes {
		group.Go(func() {
			value, err := do(ctx, node)
			answers <- answer[T]{node, value, err}
		})
	}
	return answers
}

// gather writes on all nodes at once and returns when need of them acknowledged or so many failed that they
// cannot, with who acknowledged and, if they are too few, why. It also returns when ctx ends. All
// writes go on for at most timeout; group counts them, and afterwards, if not
// nil, hears which nodes failed in the end.
func gather(ctx context.Context, group *sync.WaitGroup, timeout time.Duration, nodes []string, need int,
	write func(ctx context.Context, node string) error, afterwards func(failed []string)) (acked []string, err error) {
	lasting, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	answers := ask(lasting, group, nodes, func(ctx context.Context, node string) (struct{}, error) {
		return struct{}{}, write(ctx, node)
	})
	heard := make(chan answer[struct{}], len(nodes))
	group.Go(func() {
		defer cancel()
		var failed []string
		for range nodes {
			a := <-answers
			heard <- a
			if a.err != nil {
				failed = append(failed, a.node)
			}
		}
		if afterwards != nil && len(failed) > 0 {
			afterwards(failed)
		}
	})
	enough, err := hear(ctx, heard, len(nodes), need)
	for _, a := range enough {
		acked = append(acked, a.node)
	}
	return acked, err
}

// hear returns the answers of those who acknowledged, when they are as many as needed or cannot become so many; why, says the
// error. It also returns when ctx ends.
func hear[T any](ctx context.Context, heard <-chan answer[T], nodes, need int) (acked []answer[T], err error) {
	var failures []error
	for len(acked) < need {
		if nodes-len(failures) < need {
			return acked, errors.Join(failures...)
		}
		select {
		case a := <-heard:
			if a.err != nil {
				failures = append(failures, fmt.Errorf("node %s: %w", a.node, a.err))
			} else {
				acked = append(acked, a)
			}
		case <-ctx.Done():
			return acked, errors.Join(append(failures, ctx.Err())...)
		}
	}
	return acked, nil
}

// union is the elements of both, each once, in their order.
func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}
