// Package feed keeps the location directories of all nodes the same. Changes
// proposed on any node come in and go, as messages (docs/format/directory-feed.md),
// through one JetStream stream, whose sequence numbers are the revisions; each node
// applies the stream to its own directory in that order. HTTP handlers propose
// changes, wait for revisions and ask for a current state; server runs the node.
package feed

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"carillon/directory/location"
)

var (
	// ErrTrimmed: the directory needs changes that the stream no longer holds.
	// Restore a backup of another node first.
	ErrTrimmed = errors.New("the feed no longer holds the changes that the directory needs: restore a newer backup of the directory first")
	// ErrForeign: the directory has seen more than the stream ever held. It belongs
	// to another stream, or the stream was made anew or lost its end.
	ErrForeign = errors.New("the directory is ahead of the feed")
	// ErrVersion: the feed holds a message of a newer Carillon. To pass over what
	// others apply would make this node differ.
	ErrVersion = errors.New("the feed has a message of a newer version than this program knows")
	// ErrUnknown: whether the change was or will be applied is not known.
	ErrUnknown = errors.New("outcome of the change is unknown")
	// ErrReplaced: the directory's revision changed by other means than this node.
	ErrReplaced = errors.New("the directory was replaced while the feed ran")
	// ErrEnded: Run has returned.
	ErrEnded = errors.New("the directory's feed has ended")
)

// Config is what a node is made of.
type Config struct {
	Directory *location.Directory // the node is the only one to change it
	// Connection reconnects by itself and buffers nothing meanwhile: it is made
	// with nats.MaxReconnects(-1) and nats.ReconnectBufSize(-1). A copy of a change
	// that waited in a buffer could come too late to be known as one.
	Connection *nats.Conn
	Node       string // name of this node, for those who look at the stream
	Replicas   int    // copies of the stream, 1 to 5, odd
	Logger     *slog.Logger
	Now        func() time.Time
}

// Node is one node's end of the feed. Its methods are safe for concurrent use.
type Node struct {
	directory  *location.Directory
	connection *nats.Conn
	jetstream  jetstream.JetStream
	name       string
	replicas   int
	logger     *slog.Logger
	now        func() time.Time

	progress  progress
	proposals proposals
	rounds    rounds
	health    health

	started atomic.Bool
	changed uint64        // revision of the last change applied; Run's
	ended   chan struct{} // closed when Run returned
	reason  error         // why it did; read after ended
}

// Open makes the stream if there is none, and checks that the directory can go on
// from it. It waits for a stream without a leader until ctx ends. Absences are not
// answered from cache until Run has shown that the feed is live.
func Open(ctx context.Context, config Config) (*Node, error) {
	if config.Connection.Opts.ReconnectBufSize >= 0 {
		return nil, errors.New("opening the directory's feed: its connection must not buffer while it is away: make it with nats.ReconnectBufSize(-1)")
	}
	js, err := jetstream.New(config.Connection)
	if err != nil {
		return nil, fmt.Errorf("opening the directory's feed: %w", err)
	}
	n := &Node{
		directory:  config.Directory,
		connection: config.Connection,
		jetstream:  js,
		name:       config.Node,
		replicas:   config.Replicas,
		logger:     config.Logger,
		now:        config.Now,
		changed:    config.Directory.Revision(),
		ended:      make(chan struct{}),
	}
	n.progress.init(n.changed)
	n.proposals.init(config.Node + "-" + rand.Text())
	n.rounds.wake = make(chan struct{}, 1)
	n.health.reason = "the feed has not been read yet"
	n.directory.ServeNegatives(false)
	if err := n.ensureStream(ctx); err != nil {
		return nil, fmt.Errorf("opening the directory's feed: %w", err)
	}
	return n, nil
}

// Await waits until this node has applied everything up to and with a revision.
func (n *Node) Await(ctx context.Context, revision uint64) error {
	for {
		at, moved := n.progress.look()
		if at >= revision {
			return nil
		}
		select {
		case <-moved:
		case <-n.ended:
			return n.endedError()
		case <-ctx.Done():
			return fmt.Errorf("awaiting revision %d of the directory, which is at %d: %w", revision, at, ctx.Err())
		}
	}
}

func (n *Node) endedError() error { return fmt.Errorf("%w: %w", ErrEnded, n.reason) }

// progress is the place in the stream up to which everything is applied. The
// directory's own revision is that of the last change, and may be behind: the
// stream also holds marks, which change nothing.
type progress struct {
	mu    sync.Mutex
	at    uint64
	moved chan struct{} // closed when at rises
}

func (p *progress) init(at uint64) { p.at, p.moved = at, make(chan struct{}) }

func (p *progress) look() (at uint64, moved <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at, p.moved
}

func (p *progress) advance(to uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = to
	close(p.moved)
	p.moved = make(chan struct{})
}
