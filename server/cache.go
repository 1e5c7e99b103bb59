package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"carillon/cache/newest"
	"carillon/cache/node"
	"carillon/directory/location"
)

// Cache is the cache that a server publishes what is newest in.
type Cache struct {
	Node      node.Config
	Select    []newest.Selector // series that are published; none: all of them
	Format    newest.Format
	Expire    time.Duration // see newest.Config
	Directory bool          // publish the entries of the location directory too
}

// caching is a cache and what keeps it filled. Publishers store into memory that the node
// gives back at its end, so they end first.
type caching struct {
	node    *node.Node
	buckets *newest.Buckets
	entries *newest.Entries // nil if they are not published
	iface   string          // whose driver answers; empty for none
	logger  *slog.Logger

	stopPublishing, stopServing context.CancelFunc
	publishers                  sync.WaitGroup
	ended                       chan struct{} // closed when the node serves no more
	reason                      error         // why; read after ended
}

// openCache opens a cache, and lets it answer.
func openCache(ctx context.Context, c Cache, catalogue newest.Catalogue, resolution time.Duration, registerer prometheus.Registerer) (_ *caching, err error) {
	n, err := node.Start(ctx, c.Node)
	if err != nil {
		return nil, fmt.Errorf("--cache: %w", err)
	}
	k := &caching{node: n, iface: c.Node.Interface, logger: c.Node.Server.Logger, ended: make(chan struct{})}
	k.buckets, err = newest.New(newest.Config{
		Cache: n.Cache(), Catalogue: catalogue, Select: c.Select, Format: c.Format, Resolution: resolution, Expire: c.Expire,
	})
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	if c.Directory {
		k.entries = newest.NewEntries(n.Cache())
	}
	registerer.MustRegister(node.NewCollector(n), newest.NewCollector(k.buckets, k.entries))
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	k.stopServing = stop
	go func() {
		defer close(k.ended)
		k.reason = n.Serve(serving)
	}()
	return k, nil
}

// follower is told of the directory's changes; nil for nobody.
func (k *caching) follower() location.Follower {
	if k == nil || k.entries == nil {
		return nil
	}
	return k.entries
}

// publish begins to store what comes.
func (k *caching) publish(ctx context.Context, directory *location.Directory) {
	ctx, k.stopPublishing = context.WithCancel(context.WithoutCancel(ctx))
	k.publishers.Go(func() { k.buckets.Run(ctx) })
	if k.entries == nil {
		return
	}
	k.publishers.Go(func() {
		if err := k.entries.Run(ctx, directory); err != nil {
			k.logger.Error("entries that were not changed since the start are not in the cache", "error", err)
		}
	})
}

// addresses are where the cache answers; empty where it does not.
func (k *caching) addresses() (tcp, udp string) {
	if a := k.node.Server().TCPAddr(); a != nil {
		tcp = a.String()
	}
	if a := k.node.Server().UDPAddr(); a != nil {
		udp = a.String()
	}
	return tcp, udp
}

// watch returns when ctx ends, or, with the reason, when the cache does not answer any more.
func (k *caching) watch(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-k.ended:
		return fmt.Errorf("cache: %w", k.reason)
	}
}

// close ends everything. No follower may be called any more.
func (k *caching) close() error {
	if k.stopPublishing != nil {
		k.stopPublishing()
	}
	k.publishers.Wait()
	k.stopServing()
	<-k.ended
	return errors.Join(k.reason, k.node.Close())
}
