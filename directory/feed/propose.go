package feed

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"carillon/directory/location"
)

const (
	// maxProposals bounds the changes in flight of one node; more wait.
	maxProposals = 1024
	// proposeFor bounds the time in which a change is sent again. It leaves
	// most of duplicateWindow to a copy that is slow on its way.
	proposeFor = 30 * time.Second
)

// Propose puts a change, at the time it is now, into the feed and waits until it is
// applied here. A Result with Err is a refusal. An error that wraps ErrUnknown tells
// that the change may have been applied, or may still be; with any other it was
// not and will not be.
func (n *Node) Propose(ctx context.Context, change location.Change) (location.Result, error) {
	change.Time = n.now().UnixMilli()
	message, err := Encode(change)
	if err != nil {
		return location.Result{}, fmt.Errorf("proposing a change: %w", err)
	}
	select {
	case n.proposals.slots <- struct{}{}:
		defer func() { <-n.proposals.slots }()
	case <-n.ended:
		return location.Result{}, n.endedError()
	case <-ctx.Done():
		return location.Result{}, fmt.Errorf("proposing a change: %w", ctx.Err())
	}
	id, outcome := n.proposals.add()
	defer n.proposals.remove(id)

	ctx, cancel := context.WithTimeout(ctx, proposeFor)
	defer cancel()
	published := make(chan error, 1)
	go func() { published <- n.publish(ctx, id, message) }()
	var expired <-chan struct{} // once published; before, publish tells
	for {
		select {
		case o := <-outcome:
			return o.result, o.err
		case err := <-published:
			if err != nil {
				return location.Result{}, fmt.Errorf("proposing a change: %w", err)
			}
			expired = ctx.Done()
		case <-n.ended:
			return location.Result{}, fmt.Errorf("proposing a change: %w: %w", ErrUnknown, n.endedError())
		case <-expired:
			return location.Result{}, fmt.Errorf("proposing a change: %w: stored, but not applied here: %w", ErrUnknown, ctx.Err())
		}
	}
}

// publish stores a change in the stream. It is sent again until the stream says
// that it has it: by its id it counts once. The feed itself may bring it back, and
// so end ctx, before that.
func (n *Node) publish(ctx context.Context, id string, message []byte) error {
	sent := false
	err := n.retry(ctx, func(ctx context.Context) error {
		again := sent
		sent = true
		_, err := n.jetstream.PublishMsg(ctx, &nats.Msg{Subject: changeSubject, Data: message},
			jetstream.WithMsgID(id), jetstream.WithExpectStream(streamName), jetstream.WithRetryAttempts(0))
		if !again && (errors.Is(err, nats.ErrReconnectBufExceeded) || errors.Is(err, jetstream.ErrNoStreamResponse) || permanent(err)) {
			sent = false // it went nowhere
		}
		return err
	})
	if err != nil && sent {
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return err
}

// outcome is what became of a proposed change.
type outcome struct {
	result location.Result
	err    error
}

// proposals are the changes of this node that have not come back from the feed.
// They are known by message id, so that a change whose acknowledgement was lost
// is found as well.
type proposals struct {
	slots  chan struct{}
	prefix string // of message ids; no two openings of a node have the same

	mu      sync.Mutex
	count   uint64
	pending map[string]chan<- outcome
}

func (p *proposals) init(prefix string) {
	p.slots = make(chan struct{}, maxProposals)
	p.prefix = prefix
	p.pending = make(map[string]chan<- outcome)
}

func (p *proposals) add() (id string, back <-chan outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count++
	id = p.prefix + "." + strconv.FormatUint(p.count, 10)
	c := make(chan outcome, 1)
	p.pending[id] = c
	return id, c
}

func (p *proposals) remove(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pending, id)
}

// settle hands an outcome to whoever waits for it, if that is anyone here.
func (p *proposals) settle(id string, o outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c, ok := p.pending[id]; ok {
		c <- o
		delete(p.pending, id)
	}
}
