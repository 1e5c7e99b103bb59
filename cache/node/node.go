// Package node puts a cache together: it is told how much memory there is, where to listen
// and on which interface the kernel may answer, and runs the memory, the engine, the kernel
// program and the servers of the protocol until it is told to end. The command line starts
// one that stands alone, and whoever has items to publish stores them through Cache.
package node

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"carillon/cache"
	"carillon/cache/memcached"
	"carillon/cache/xdp"
	"carillon/slab"
)

const (
	// MinMemory is the least memory a node can have.
	MinMemory = cache.MinBytes
	// sampleOf is how many GETs in the kernel there are to one of which the key is told.
	sampleOf = 128
	// sampleEvery is how often these keys are fetched.
	sampleEvery = time.Second
)

// Config says what a node is like.
type Config struct {
	Memory    int64 // in bytes, of which the items take most
	ItemBytes int   // the largest item; 0 for the cache's default
	Keep      bool  // refuse new items where memory is full, instead of evicting old ones
	Server    memcached.Config

	Metrics string // address for GET /metrics by HTTP; empty for none, where NewCollector is registered elsewhere

	// Interface is the network interface whose driver is to answer GETs by UDP, of the sources that
	// Server.Allow has; empty for none.
	Interface string
	Mode      xdp.Mode
}

// Node is a cache that is ready to run. Its fields do not change after Start, but for the last two.
type Node struct {
	config  Config
	memory  *slab.Region // nil if region is not
	region  *xdp.Region  // nil without a kernel program
	cache   *cache.Cache
	server  *memcached.Server
	metrics net.Listener // nil without
	program *xdp.Program // nil without one
	mode    xdp.Mode
	closing sync.RWMutex // held to read while metrics are collected
	closed  bool
}

// Start opens everything, in the order in which items and requests meet it. Nothing is answered
// before Run or Serve, but by the kernel. Run or Close must follow.
func Start(ctx context.Context, config Config) (*Node, error) {
	if config.Interface != "" && config.Server.UDP == "" {
		return nil, errors.New("the kernel answers by UDP, for which there is no address")
	}
	n := &Node{config: config}
	if err := n.open(ctx); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *Node) open(ctx context.Context) (err error) {
	settings := cache.Config{ItemBytes: n.config.ItemBytes, Keep: n.config.Keep, Seed: seed()}
	var words []uint64
	if n.config.Interface != "" {
		if n.region, err = xdp.NewRegion(n.config.Memory); err != nil {
			return err
		}
		words, settings.Grace = n.region.Words(), n.region
	} else {
		n.memory = slab.NewRegion(int(n.config.Memory / cache.PageBytes * cache.PageBytes / 8))
		words = n.memory.Words
	}
	if n.cache, err = cache.New(words, settings); err != nil {
		return err
	}
	n.config.Server.Kernel = n.kernelCounters
	if n.server, err = memcached.Listen(ctx, n.cache, n.config.Server); err != nil {
		return err
	}
	if n.config.Metrics != "" {
		var listen net.ListenConfig
		if n.metrics, err = listen.Listen(ctx, "tcp", n.config.Metrics); err != nil {
			return fmt.Errorf("listening for metrics: %w", err)
		}
	}
	if n.region == nil {
		return nil
	}
	return n.attach()
}

// seed is of the hash: nobody outside may know which keys collide.
func seed() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

// attach lets the kernel answer.
func (n *Node) attach() error {
	bound := n.server.UDPAddr().(*net.UDPAddr).AddrPort()
	addresses, err := n.addresses(bound.Addr().Unmap())
	if err != nil {
		return err
	}
	n.program, err = xdp.Load(n.region, xdp.Config{
		Interface: n.config.Interface, Mode: n.config.Mode, Addresses: addresses, Port: bound.Port(),
		Allow: n.config.Server.Allow, Sample: sampleOf, Logger: n.config.Server.Logger,
	})
	if err != nil {
		return err
	}
	n.mode, err = n.program.Attach()
	return err
}

// addresses are those at which the kernel answers: the one that the server listens on, or,
// if that is all, those of the interface.
func (n *Node) addresses(bound netip.Addr) ([]netip.Addr, error) {
	if !bound.IsUnspecified() {
		return []netip.Addr{bound.WithZone("")}, nil
	}
	device, err := net.InterfaceByName(n.config.Interface)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", n.config.Interface, err)
	}
	all, err := device.Addrs()
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", n.config.Interface, err)
	}
	var addresses []netip.Addr
	for _, a := range all {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			addresses = append(addresses, prefix.Addr())
		}
	}
	return addresses, nil
}

// Cache is the engine, which may be used until Close, which Run ends with.
func (n *Node) Cache() *cache.Cache { return n.cache }

// Server is the server of the protocol.
func (n *Node) Server() *memcached.Server { return n.server }

// MetricsAddr is where metrics are, nil without.
func (n *Node) MetricsAddr() net.Addr {
	if n.metrics == nil {
		return nil
	}
	return n.metrics.Addr()
}

// Mode is where in the receive path the kernel answers, and whether it does.
func (n *Node) Mode() (mode xdp.Mode, ok bool) { return n.mode, n.program != nil }

// Run is Serve, and then Close.
func (n *Node) Run(ctx context.Context) error { return errors.Join(n.Serve(ctx), n.Close()) }

// Serve answers until ctx ends.
func (n *Node) Serve(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return n.server.Serve(ctx) })
	if n.metrics != nil {
		group.Go(func() error { return n.serveMetrics(ctx) })
	}
	if n.program != nil {
		group.Go(func() error { return n.sample(ctx) })
	}
	return group.Wait()
}

// sample tells the cache which keys are hot in the kernel.
func (n *Node) sample(ctx context.Context) error {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := n.program.Samples(func(key []byte) { n.cache.Saw(key, sampleOf) }); err != nil {
				return err
			}
		}
	}
}

// Kernel is what became of the datagrams that the kernel program saw; false without one.
func (n *Node) Kernel() (counters xdp.Counters, ok bool, err error) {
	if n.program == nil {
		return counters, false, nil
	}
	counters, err = n.program.Counters()
	return counters, true, err
}

// kernelCounters are shown by stats.
func (n *Node) kernelCounters(f func(name string, value uint64)) {
	if n.program == nil {
		return
	}
	counters, err := n.program.Counters()
	if err != nil {
		n.config.Server.Logger.Warn("the kernel's counters cannot be read", "error", err)
		return
	}
	for outcome, value := range counters {
		f(xdp.Outcome(outcome).String(), value)
	}
}

// Close closes what is open, in reverse. Nobody may use the cache any more.
func (n *Node) Close() error {
	n.closing.Lock()
	defer n.closing.Unlock()
	n.closed = true
	var errs []error
	if n.program != nil {
		errs = append(errs, n.program.Close())
	}
	if n.metrics != nil {
		_ = n.metrics.Close()
	}
	if n.server != nil {
		n.server.Close()
	}
	if n.cache != nil {
		n.cache.Close()
	}
	if n.region != nil {
		errs = append(errs, n.region.Close())
	}
	runtime.KeepAlive(n.memory) // which the cache used until here
	return errors.Join(errs...)
}
