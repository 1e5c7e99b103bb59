package feed

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// proveEvery is how often a node shows that its feed is live, or tries to.
	proveEvery = time.Second
	// liveFor is how long after the moment for which it was shown a feed counts as
	// live. A node that is cut off answers absences from cache for no longer than
	// this and two attempts of proveEvery.
	liveFor = 3 * time.Second
)

// Status is how a node's feed is.
type Status struct {
	Revision uint64 `json:"revision"` // everything up to and with it is applied here
	Last     uint64 `json:"last"`     // of the stream, as far as this node knows
	Damaged  uint64 `json:"damaged"`  // messages passed over since Open, as on every node
	// Live: at most 5 s ago this node had applied everything acknowledged anywhere.
	// If it is not, absences are answered from disk, and Reason says why.
	Live   bool   `json:"live"`
	Reason string `json:"reason,omitempty"`
}

// health is what Status tells.
type health struct {
	damaged atomic.Uint64

	mu     sync.Mutex
	live   bool
	reason string
}

// Status returns how the feed is.
func (n *Node) Status() Status {
	at, _ := n.progress.look()
	s := Status{Revision: at, Last: max(at, n.rounds.last.Load()), Damaged: n.health.damaged.Load()}
	n.health.mu.Lock()
	defer n.health.mu.Unlock()
	s.Live, s.Reason = n.health.live, n.health.reason
	return s
}

// watch proves over and over that the feed is live, until ctx ends. The proof is
// Current: the stream answered for a moment after the question, and what
// it had then is applied here. A lost connection needs no proof.
func (n *Node) watch(ctx context.Context) {
	changed := n.connection.StatusChanged()
	defer n.connection.RemoveStatusListener(changed)
	tick := time.NewTicker(proveEvery)
	defer tick.Stop()
	var proven time.Time
	for {
		began := n.now()
		err := n.prove(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			proven = began
			n.setLive(true, "")
		case !n.connection.IsConnected():
			n.setLive(false, errAway.Error())
		case n.now().Sub(proven) > liveFor:
			n.setLive(false, err.Error())
		}
		if !n.pause(ctx, tick.C, changed) {
			return
		}
	}
}

// prove tries for up to proveEvery.
func (n *Node) prove(ctx context.Context) error {
	if !n.connection.IsConnected() {
		return errAway
	}
	ctx, cancel := context.WithTimeout(ctx, proveEvery)
	defer cancel()
	if err := n.Current(ctx); err != nil {
		return fmt.Errorf("the feed is not provably live: %w", err)
	}
	return nil
}

// pause waits for the next time to prove. It returns false when ctx ends.
func (n *Node) pause(ctx context.Context, tick <-chan time.Time, changed <-chan nats.Status) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-tick:
			return true
		case status, open := <-changed:
			if !open { // with the connection, for good
				changed = nil
			} else if status == nats.CONNECTED {
				return true
			}
			n.setLive(false, errAway.Error())
		}
	}
}

// setLive makes the directory answer absences from cache, or not.
func (n *Node) setLive(live bool, reason string) {
	h := &n.health
	h.mu.Lock()
	defer h.mu.Unlock()
	if live != h.live {
		n.directory.ServeNegatives(live)
		n.logger.Info("the directory's feed", "live", live, "reason", reason)
	}
	h.live, h.reason = live, reason
}
