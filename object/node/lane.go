package node

import (
	"context"
	"fmt"
	"sync/atomic"
)

// lane is a bounded queue of requests in front of a bounded number of workers: so many are worked on at
// once, so many wait, and the next is refused.
//
// Lanes keep nodes that flood each other going, because no lane waits in a circle. On a server, a request
// in lanes reading and writing needs nothing of any other node, and one in lane cluster needs only
// these two of others. On the way to a node it is the same: writes that the node is to pass on wait for
// writes on the way from there, so these have a lane of their own; and writes may wait for a body
// that is being got from another node, so gets have one, too, and hold it until their body is closed.
// With one lane for all, each of two nodes could have all its places taken by requests that
// wait for a place at the other: TestFlood then stands still.
type lane struct {
	places     chan struct{}
	waiting    atomic.Int64
	maxWaiting int64
}

func newLane(workers, maxWaiting int) *lane {
	return &lane{places: make(chan struct{}, workers), maxWaiting: int64(maxWaiting)}
}

// enter waits for a place, which leave gives back.
func (l *lane) enter(ctx context.Context) error {
	if l.tryEnter() {
		return nil
	}
	if l.waiting.Add(1) > l.maxWaiting {
		l.waiting.Add(-1)
		return fmt.Errorf("%w: %d", ErrBusy, l.maxWaiting)
	}
	defer l.waiting.Add(-1)
	select {
	case l.places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tryEnter takes a place if there is one.
func (l *lane) tryEnter() bool {
	select {
	case l.places <- struct{}{}:
		return true
	default:
		return false
	}
}

func (l *lane) leave() { <-l.places }
