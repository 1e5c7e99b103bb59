package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"carillon/directory/feed"
	"carillon/directory/location"
)

// locations is the location directory of this node and the feed that keeps it
// the same as everywhere. Restoring puts another directory in its place and
// begins a new feed node behind it; that is why callers come through here.
type locations struct {
	directory *location.Directory
	open      func(ctx context.Context) (*feed.Node, error)
	logger    *slog.Logger
	refused   func() error // why there is no room for changes; nil if there is

	restoring sync.Mutex // one at a time
	mu        sync.RWMutex
	node      *feed.Node         // guarded by mu, as are the next two
	stop      context.CancelFunc // ends the node's Run
	ended     chan struct{}      // closed when it has returned
}

// openLocations opens the directory and begins to follow the feed.
func openLocations(ctx context.Context, refused func() error, config location.Config, open func(context.Context, *location.Directory) (*feed.Node, error)) (*locations, error) {
	d, err := location.Open(config)
	if err != nil {
		return nil, err
	}
	l := &locations{
		directory: d, logger: config.Logger, refused: refused,
		open: func(ctx context.Context) (*feed.Node, error) { return open(ctx, d) },
	}
	if err := l.begin(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return l, nil
}

// begin opens a feed node and runs it until the end of this one.
func (l *locations) begin(ctx context.Context) error {
	node, err := l.open(ctx)
	if err != nil {
		return fmt.Errorf("feed of the location directory: %w", err)
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	l.mu.Lock()
	l.node, l.stop, l.ended = node, stop, ended
	l.mu.Unlock()
	go func() {
		defer close(ended)
		if err := node.Run(running); err != nil && running.Err() == nil {
			l.logger.Error("the location directory takes no more changes until a restart", "error", err)
		}
	}()
	return nil
}

func (l *locations) end() {
	l.mu.RLock()
	stop, ended := l.stop, l.ended
	l.mu.RUnlock()
	stop()
	<-ended
}

func (l *locations) current() *feed.Node {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.node
}

// Propose, Await, Current and Status are those of the node at work.
func (l *locations) Propose(ctx context.Context, change location.Change) (location.Result, error) {
	if err := l.refused(); err != nil {
		return location.Result{}, err
	}
	return l.current().Propose(ctx, change)
}

func (l *locations) Await(ctx context.Context, revision uint64) error {
	return l.current().Await(ctx, revision)
}

func (l *locations) Current(ctx context.Context) error { return l.current().Current(ctx) }

func (l *locations) Status() feed.Status { return l.current().Status() }

// restore puts a backup in the directory's place and goes on from its revision.
// If that fails, the directory is what it was, and goes on as before.
func (l *locations) restore(ctx context.Context, dir string) error {
	l.restoring.Lock()
	defer l.restoring.Unlock()
	l.end()
	err := l.directory.Restore(dir)
	return errors.Join(err, l.begin(ctx))
}

func (l *locations) close() error {
	l.end()
	return l.directory.Close()
}
