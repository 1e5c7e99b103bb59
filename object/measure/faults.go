package measure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"carillon/figure"
	"carillon/peer"
)

// Faults is how many are injected into three nodes under load.
type Faults struct{ Times int }

const (
	faultWriters = 8
	aliveFor     = 150 * time.Millisecond // between two faults
	stopFor      = 100 * time.Millisecond // of a node that does not answer
	putWithin    = 2 * time.Second
)

// acknowledged is what nodes have said they have.
type acknowledged struct {
	mu      sync.Mutex
	numbers []int // guarded by mu
	next    atomic.Int64
	failed  atomic.Int64
}

// faults kills and stops nodes, one at a time, while objects are written, and counts what was acknowledged and is
// lost or wrong afterwards.
func (r *run) faults(ctx context.Context) (figures []figure.Figure, err error) {
	dir, done, err := peer.Scratch(r.Dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	us, err := r.startOurs(ctx, dir, "always", nodeNames()...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, us.end()) }()
	var acked acknowledged
	content := r.content(0, objectBytes)
	writing, stop := context.WithCancel(ctx)
	defer stop()
	var all sync.WaitGroup
	for range faultWriters {
		all.Go(func() { acked.write(writing, us, content) })
	}
	err = r.inject(ctx, us.nodes)
	stop()
	all.Wait()
	if err != nil {
		return nil, err
	}
	lost, err := acked.lost(ctx, us, content)
	if err != nil {
		return nil, err
	}
	return []figure.Figure{{ID: "object.lost", Value: float64(lost), Unit: "objects", Better: figure.Lower,
		Note: fmt.Sprintf("of %d acknowledged, %d faults, %d writes refused", len(acked.numbers), r.Scale.Faults.Times, acked.failed.Load())}}, nil
}

// inject kills a node, or stops it for a while, again and again.
func (r *run) inject(ctx context.Context, nodes cluster) error {
	random := rand.New(rand.NewPCG(r.Seed, 1))
	for i := range r.Scale.Faults.Times {
		r.Progress("faults", uint64(i), uint64(r.Scale.Faults.Times))
		if err := pause(ctx, aliveFor); err != nil {
			return err
		}
		p := nodes[random.IntN(len(nodes))]
		if random.IntN(3) > 0 {
			p.Kill()
			if err := p.start(ctx); err != nil {
				return err
			}
			continue
		}
		if err := p.Signal(syscall.SIGSTOP); err != nil {
			return err
		}
		err := pause(ctx, stopFor)
		if err = errors.Join(err, p.Signal(syscall.SIGCONT)); err != nil {
			return err
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func (a *acknowledged) write(ctx context.Context, us *ours, content []byte) {
	for ctx.Err() == nil {
		number := int(a.next.Add(1))
		own := bytes.Clone(content)
		label(own, number)
		put, cancel := context.WithTimeout(context.WithoutCancel(ctx), putWithin)
		err := us.put(put, nameOf(number), own)
		cancel()
		if err != nil {
			a.failed.Add(1)
			continue
		}
		a.mu.Lock()
		a.numbers = append(a.numbers, number)
		a.mu.Unlock()
	}
}

// lost reads everything back.
func (a *acknowledged) lost(ctx context.Context, us *ours, content []byte) (int, error) {
	var lost atomic.Int64
	err := each(writers, len(a.numbers), func() func(int) error {
		own := bytes.Clone(content)
		return func(i int) error {
			label(own, a.numbers[i])
			got, err := us.get(ctx, nameOf(a.numbers[i]))
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil || !bytes.Equal(got, own) {
				lost.Add(1)
			}
			return nil
		}
	})
	return int(lost.Load()), err
}
