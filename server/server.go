// Package server wires the parts of Carillon into one process: it opens them in
// the order data flows, runs them until its context ends, and closes them in
// reverse. Only the command line and end-to-end tests call it.
package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"carillon/directory"
	"carillon/directory/feed"
	"carillon/directory/location"
	"carillon/journal"
	"carillon/partition"
	"carillon/quantize"
	"carillon/query"
	"carillon/receive"
	"carillon/rejects"
	"carillon/retention"
	"carillon/series"
	"carillon/store"
)

// Config is everything about a server that can be chosen.
type Config struct {
	Data     string  // directory for everything that is kept
	HTTP     Address // page, API, remote write
	Graphite Address // plaintext, TCP and UDP
	Istatd   Address // lines, TCP and UDP

	Tiers           []store.Tier
	DiskMax         int64  // bytes that the data directory may take; 0 for no bound
	Partitions      int    // of a new data directory
	JournalURL      string // external NATS server; empty for the embedded one
	SealEvery       time.Duration
	FutureTolerance time.Duration
	SeriesCaches    directory.Caches // of series keys
	SpellingBits    int              // log2 of the most series known by the bytes they are sent as
	LocationCaches  location.Caches  // of the location directory
	Retention       retention.Rules  // shorter retentions and limits of some series

	Cache   *Cache // nil for none
	Archive ArchiveConfig

	Agent         bool
	AgentInterval time.Duration
	Host          string // label of the agent's numbers; empty for the host's name

	QueryTimeout time.Duration
	QuerySamples int // samples one query may hold in memory
	QuerySeries  int // series one query may select

	Version  string
	Logger   *slog.Logger
	Progress func(stage string, done, total uint64) // told of the start's progress, by one goroutine
	Ready    func(Bound)                            // called once, when points are taken too
}

// Address is where a listener listens.
type Address struct {
	Addr  string // host:port; empty for none
	Asked bool   // somebody chose it: if it is taken, that is an error and not a warning
}

// Bound is where a running server really listens; empty where it does not.
type Bound struct{ URL, Graphite, Istatd, Cache, CacheUDP string }

const (
	sealBuckets      = 1 << 20         // buckets in memory at which a partition seals, whatever its age
	minDelay         = 2 * time.Second // a segment is published no sooner after its end,
	maxDelay         = time.Minute     // and no later
	shutdownLasts    = 30 * time.Second
	agentMemoryBytes = 16 << 20 // of the own agent's bodies while the journal is busy
	progressEvery    = 100 * time.Millisecond
	feedReplicas     = 1 // of the location directory's changes

	locationBlockCacheBytes = 32 << 20 // holds the filters of several million entries
)

// parts is what a server consists of, in the order data flows.
type parts struct {
	logger     *slog.Logger
	data       *dataDir
	registry   *prometheus.Registry
	rejects    *rejects.Ledger
	directory  *directory.Directory
	book       *retention.Book // nil without retention rules
	cache      *caching        // nil without a cache
	journal    *journal.Journal
	stores     []*store.Store
	partitions *partition.Set
	locations  *locations
	room       *room
	disk       *disk
	live       *query.Live
	writer     *receive.Writer
	query      *query.API
}

// Run opens a server, serves until ctx ends, seals what is in memory and closes. Queries
// are answered before the journal is replayed, points are taken afterwards.
func Run(ctx context.Context, c Config) (err error) {
	p, err := open(ctx, c)
	defer func() { err = errors.Join(err, p.close()) }()
	if err != nil {
		return err
	}
	stopLoops := p.startLoops(ctx)
	defer func() { err = errors.Join(err, stopLoops()) }()
	if err := p.serve(ctx, c); err != nil || p.partitions.Replaying() != nil {
		return err // nothing new came in while the journal was replayed
	}
	return p.seal()
}

// startLoops starts what runs as long as there are parts, whatever becomes of ctx.
func (p *parts) startLoops(ctx context.Context) (stop func() error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var loops errgroup.Group
	loops.Go(func() error { return p.disk.watch(ctx) })
	loops.Go(func() error {
		p.partitions.Run(ctx)
		return nil
	})
	return func() error {
		cancel()
		return loops.Wait()
	}
}

// open opens every part in the order data flows. What was opened before an
// error is in the parts all the same, for close.
func open(ctx context.Context, c Config) (*parts, error) {
	p := &parts{logger: c.Logger, registry: prometheus.NewRegistry(), room: newRoom()}
	if c.Partitions < 1 || c.Partitions > maxPartitions {
		return p, fmt.Errorf("%d partitions: want 1 to %d", c.Partitions, maxPartitions)
	}
	if c.DiskMax != 0 && c.DiskMax < MinDiskMax {
		return p, fmt.Errorf("--disk-max is %s: want at least %s, or 0 for no bound", formatBytes(c.DiskMax), formatBytes(MinDiskMax))
	}
	var err error
	if p.data, err = openDataDir(c.Data, newIdentity(c.Partitions, c.Tiers, time.Now())); err != nil {
		return p, err
	}
	count := p.data.identity.Partitions
	p.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	p.rejects = rejects.New(p.registry, time.Now)
	if p.directory, err = directory.Open(p.data.directory(), count, c.SeriesCaches, c.Logger); err != nil {
		return p, err
	}
	p.openBook(c.Retention)
	if c.Cache != nil {
		if p.cache, err = openCache(ctx, *c.Cache, p.directory, c.Tiers[0].Resolution, p.registry); err != nil {
			return p, err
		}
	}
	p.journal, err = journal.Open(ctx, journal.Config{
		Dir: p.data.journal(), URL: c.JournalURL, Partitions: count, Room: acceptance{p.room}, Logger: c.Logger, Registerer: p.registry,
	})
	if err != nil {
		return p, err
	}
	p.locations, err = openLocations(ctx, p.room.refused, location.Config{
		Dir: p.data.locations(), Logger: c.Logger, Caches: c.LocationCaches, BlockCacheBytes: locationBlockCacheBytes, Follower: p.cache.follower(),
	},
		func(ctx context.Context, d *location.Directory) (*feed.Node, error) {
			return feed.Open(ctx, feed.Config{
				Directory: d, Connection: p.journal.Connection(), Node: "carillon", Replicas: feedReplicas, Logger: c.Logger, Now: time.Now,
			})
		})
	if err != nil {
		return p, err
	}
	if p.cache != nil {
		p.cache.publish(ctx, p.locations.directory)
	}
	p.live = query.NewLive()
	if err := p.openPartitions(ctx, c, count); err != nil {
		return p, err
	}
	p.disk = &disk{
		data: p.data, max: c.DiskMax, room: p.room, tiers: c.Tiers, stores: p.stores, partitions: p.partitions,
		rejects: p.rejects, logger: c.Logger, now: time.Now,
	}
	if err := p.disk.look(true); err != nil {
		return p, err
	}
	p.registry.MustRegister(partition.NewCollector(p.partitions), newDiskCollector(p.disk))
	p.writer = receive.NewWriter(receive.Config{
		Directory: p.directory, Journal: guarded{p.journal, p.partitions, p.room}, Rejects: p.rejects,
		Admit: p.admit(), SpellingBits: c.SpellingBits, Now: time.Now, Registerer: p.registry, Logger: c.Logger,
	})
	p.query = query.New(query.Config{
		Catalogue: p.directory, Buckets: p.partitions, Live: p.live, Retention: p.retention(), Deleter: p.partitions,
		Limits:  query.Limits{Series: c.QuerySeries, Samples: c.QuerySamples, Timeout: c.QueryTimeout},
		Version: c.Version, Now: time.Now, Logger: c.Logger, Registerer: p.registry,
	})
	return p, nil
}

func (p *parts) openPartitions(ctx context.Context, c Config, count int) error {
	finest, coarsest := c.Tiers[0], c.Tiers[len(c.Tiers)-1]
	var opened []*partition.Partition
	merging := make(chan struct{}, 1) // the partitions take turns
	for i := range count {
		s, err := store.Open(store.Config{
			Dir: p.data.store(i), Tiers: c.Tiers,
			Kind:          func(number uint32) series.Kind { return p.directory.Kind(series.NewID(i, number)) },
			SyncDirectory: p.directory.Sync,
			Keep:          p.keep(i),
			Merging:       merging,
			Room:          p.room,
			Logger:        c.Logger,
		})
		if err != nil {
			return err
		}
		p.stores = append(p.stores, s)
		one, err := partition.Open(ctx, partition.Config{
			Number: i, Directory: p.directory, Journal: p.journal, Store: s, Rejects: p.rejects,
			Quantize: quantize.Config{
				Resolution:      finest.Resolution.Milliseconds(),
				FinestRetention: finest.Retention.Milliseconds(),
				Retention:       coarsest.Retention.Milliseconds(),
				FutureTolerance: c.FutureTolerance.Milliseconds(),
				MinDelay:        minDelay.Milliseconds(),
				MaxDelay:        maxDelay.Milliseconds(),
				MaxPoints:       p.maxPoints(i),
			},
			Logger: c.Logger, Now: time.Now, SealEvery: c.SealEvery, SealBuckets: sealBuckets,
			Publish: func(completed *quantize.Batch) { p.publish(i, completed) },
			Watched: p.watched,
		})
		if err != nil {
			return err
		}
		opened = append(opened, one)
		c.Progress("opening partitions", uint64(i+1), uint64(count))
	}
	p.partitions = partition.NewSet(opened, c.Tiers)
	return nil
}

// watched tells whether anybody wants completed segments.
func (p *parts) watched() bool { return p.cache != nil || p.live.Watched() }

// publish hands completed segments to the cache and to whoever subscribed.
func (p *parts) publish(partition int, completed *quantize.Batch) {
	if p.cache != nil {
		p.cache.buckets.Completed(partition, completed)
	}
	if !p.live.Watched() {
		return
	}
	buckets := make([]query.LiveBucket, 0, completed.Len())
	for number, b := range completed.All() {
		buckets = append(buckets, query.LiveBucket{ID: series.NewID(partition, number), Bucket: b})
	}
	p.live.Publish(buckets)
}

// guarded refuses points while a partition has stopped: the journal would take
// them, but nothing would ever move them on. While the journal is replayed it would be
// long before they could be read. While there is no room it refuses them before they
// are encoded.
type guarded struct {
	*journal.Journal
	partitions *partition.Set
	room       *room
}

func (g guarded) Append(ctx context.Context, parts []*journal.Part) error {
	if err := cmp.Or(g.partitions.Err(), g.partitions.Replaying(), g.room.refused()); err != nil {
		return fmt.Errorf("%w: %w", journal.ErrUnavailable, err)
	}
	return g.Journal.Append(ctx, parts)
}

// replay waits until what the journal held is in memory again, or ctx ends, and says
// how far it is.
func (p *parts) replay(ctx context.Context, progress func(string, uint64, uint64)) error {
	ready := make(chan error, 1)
	go func() { ready <- p.partitions.Ready(ctx) }()
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		if done, total := p.partitions.Progress(); total > 0 {
			progress("replaying the journal", done, total)
		}
		select {
		case err := <-ready:
			if err != nil {
				return err
			}
			if _, total := p.partitions.Progress(); total > 0 {
				progress("replaying the journal", total, total)
			}
			return nil
		case <-tick.C:
		}
	}
}

// seal moves everything acknowledged into files, so that the next start is quick.
func (p *parts) seal() error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownLasts)
	defer cancel()
	if err := p.partitions.Seal(ctx); err != nil {
		return fmt.Errorf("seal at the end (the journal has what is not sealed): %w", err)
	}
	p.logger.Info("sealed; all that was acknowledged is in files")
	return nil
}

// close closes what was opened, in reverse.
func (p *parts) close() (err error) {
	for _, s := range p.stores {
		err = errors.Join(err, s.Close())
	}
	if p.locations != nil {
		err = errors.Join(err, p.locations.close())
	}
	if p.cache != nil {
		err = errors.Join(err, p.cache.close())
	}
	if p.journal != nil {
		err = errors.Join(err, p.journal.Close())
	}
	if p.directory != nil {
		err = errors.Join(err, p.directory.Close())
	}
	if p.data != nil {
		err = errors.Join(err, p.data.close())
	}
	return err
}
