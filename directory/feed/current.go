package feed

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// rounds finds out how far the stream is, once for all who ask at the same time.
//
// With one replica the stream's server says its last sequence, and that is it.
// With several that would not do: a leader that was cut off from the others goes on
// answering for up to ten seconds, while a new leader already acknowledges
// changes that the old one does not know. So a round publishes a barrier, an empty
// message. It is stored only if a majority agrees, so that everything
// acknowledged before it was sent has a smaller sequence. A barrier replaces
// the one before it in the stream, which therefore does not grow.
//
// A round must begin after a caller came for its bound to hold for that caller.
// Callers that come while a round is under way share the next one.
type rounds struct {
	wake chan struct{} // the loop in Run has something to do
	last atomic.Uint64 // newest bound known

	mu   sync.Mutex
	next *round // that callers may still join
}

type round struct {
	done  chan struct{}
	bound uint64
	err   error
}

// Current waits until everything that was acknowledged anywhere before the call is
// applied here. A look-up that begins afterwards is linearizable. It tries until
// ctx ends.
func (n *Node) Current(ctx context.Context) error {
	r := n.rounds.join()
	select {
	case <-r.done:
	case <-n.ended:
		return n.endedError()
	case <-ctx.Done():
		return fmt.Errorf("asking how far the directory's feed is: %w", ctx.Err())
	}
	if r.err != nil {
		return r.err
	}
	return n.Await(ctx, r.bound)
}

func (r *rounds) join() *round {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == nil {
		r.next = &round{done: make(chan struct{})}
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
	return r.next
}

func (r *rounds) take() *round {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.next
	r.next = nil
	return taken
}

// serveRounds does the rounds until ctx ends. It is one of Run's goroutines.
// An error that it returns is one for good.
func (n *Node) serveRounds(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.rounds.wake:
		}
		r := n.rounds.take()
		if r == nil {
			continue
		}
		r.err = n.retry(ctx, func(ctx context.Context) (err error) {
			at, _ := n.progress.look()
			r.bound, err = n.bound(ctx, at)
			return err
		})
		if r.err == nil {
			n.rounds.last.Store(max(r.bound, n.rounds.last.Load()))
		}
		close(r.done)
		if r.err != nil && ctx.Err() == nil {
			return r.err
		}
	}
}

// bound returns a sequence not below that of anything acknowledged before the call.
// What is applied already, at, cannot be beyond it.
func (n *Node) bound(ctx context.Context, at uint64) (uint64, error) {
	last, err := n.lastSequence(ctx)
	if err != nil {
		return 0, fmt.Errorf("asking stream %s for its end: %w", streamName, err)
	}
	if last < at {
		return 0, fmt.Errorf("%w: stream %s ends at revision %d, the directory at %d", ErrForeign, streamName, last, at)
	}
	return last, nil
}

// lastSequence is the stream's last before the call; a barrier is not counted.
func (n *Node) lastSequence(ctx context.Context) (uint64, error) {
	if n.replicas == 1 {
		stream, err := n.jetstream.Stream(ctx, streamName)
		if err != nil {
			return 0, err
		}
		return stream.CachedInfo().State.LastSeq, nil
	}
	barrier := &nats.Msg{Subject: barrierSubject, Header: nats.Header{}}
	barrier.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
	ack, err := n.jetstream.PublishMsg(ctx, barrier, jetstream.WithRetryAttempts(0))
	if err != nil {
		return 0, err
	}
	return ack.Sequence - 1, nil
}
