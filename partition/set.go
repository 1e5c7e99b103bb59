package partition

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"carillon/bucket"
	"carillon/series"
	"carillon/store"
)

// Set is all partitions of a server. It satisfies query.Buckets.
type Set struct {
	partitions []*Partition
	tiers      []store.Tier

	mu  sync.Mutex
	err error // of the first partition that stopped; guarded by mu
}

// NewSet puts partitions together; partition i must be at index i.
func NewSet(partitions []*Partition, tiers []store.Tier) *Set {
	return &Set{partitions: partitions, tiers: tiers}
}

// Run runs all partitions until ctx ends. A partition whose disk failed stops
// alone: the others go on, and Err says what happened.
func (s *Set) Run(ctx context.Context) {
	from := make([]uint64, len(s.partitions))
	for i, p := range s.partitions {
		from[i] = p.applied + 1
	}
	readers := s.partitions[0].config.Journal.Readers(from)
	var wg sync.WaitGroup
	for i, p := range s.partitions {
		wg.Go(func() {
			if err := p.run(ctx, readers[i]); err != nil {
				p.config.Logger.Error("a partition has stopped; nothing more is taken until a restart", "error", err)
				s.mu.Lock()
				s.err = errors.Join(s.err, err)
				s.mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// Err is why partitions have stopped, nil while all work.
func (s *Set) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Progress is how much of what the journal held at the start has been read
// again, in messages.
func (s *Set) Progress() (done, total uint64) {
	for _, p := range s.partitions {
		total += p.replay
		done += p.replay - min(p.target-min(p.position.Load().sequence, p.target), p.replay)
	}
	return done, total
}

// Replaying is an error as long as not everything that the journal held at the start is
// applied; it says how far that is.
func (s *Set) Replaying() error {
	if !slices.ContainsFunc(s.partitions, (*Partition).replaying) {
		return nil
	}
	done, total := s.Progress()
	return fmt.Errorf("the journal is being replayed (%d %%): points that were not yet in files are missing until then", 100*done/max(total, 1))
}

// Ready waits until everything the journal held at the start is applied.
func (s *Set) Ready(ctx context.Context) error {
	for _, p := range s.partitions {
		select {
		case <-p.ready:
		case <-p.stopped:
			return errors.Join(p.errStopped(), s.Err())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Seal moves everything acknowledged so far from the journal into synced files.
func (s *Set) Seal(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, p := range s.partitions {
		group.Go(func() error { return p.Seal(ctx) })
	}
	return group.Wait()
}

// Seal moves everything acknowledged so far from the journal into synced files.
func (p *Partition) Seal(ctx context.Context) error {
	if err := p.settle(ctx); err != nil {
		return err
	}
	done := make(chan struct{})
	select {
	case p.sealNow <- done:
	case <-p.stopped:
		return p.errStopped()
	case <-ctx.Done():
		return ctx.Err()
	}
	return p.await(ctx, done)
}

// Settle returns when everything this process acknowledged before the call can
// be read, new series included. It does not wait for what the journal held at the start:
// while that is replayed, it returns what is missing, for people.
func (s *Set) Settle(ctx context.Context) (missing string, err error) {
	if err := s.Replaying(); err != nil {
		return err.Error(), nil
	}
	for _, p := range s.partitions {
		if err := p.settle(ctx); err != nil {
			return "", err
		}
	}
	return "", nil
}

// Tiers is at which resolutions Read can answer, finest first, and how far back: not
// as far as was configured where the oldest data had to go early.
func (s *Set) Tiers() []store.Tier {
	tiers := slices.Clone(s.tiers)
	for i, horizon := range s.Horizons() {
		kept := s.partitions[0].config.Now().Sub(time.UnixMilli(horizon))
		tiers[i].Retention = min(tiers[i].Retention, max(kept, 0))
	}
	return tiers
}

// Press makes the partitions seal sooner, and let the journal go of everything that is
// sealed, until it is taken back: for when the journal takes too much of the disk. What
// that costs is that a request sent again within the retry window may count twice if
// there was a restart in between.
func (s *Set) Press(on bool) {
	for _, p := range s.partitions {
		p.pressed.Store(on)
	}
}

// Horizons is the time from which on all partitions keep a tier, for each of them, in
// milliseconds.
func (s *Set) Horizons() []int64 {
	var horizons []int64
	for _, p := range s.partitions {
		for tier, horizon := range p.config.Store.Horizons() {
			if tier == len(horizons) {
				horizons = append(horizons, horizon)
			}
			horizons[tier] = max(horizons[tier], horizon)
		}
	}
	return horizons
}

// Read calls visit for each of the series with its buckets that overlap [from,
// to] (milliseconds) at a tier, sorted by time, at most one a segment. Series
// without any are left out. The slice is only valid during the call.
func (s *Set) Read(ctx context.Context, ids []series.ID, tier int, from, to int64, visit func(series.ID, []bucket.Bucket) error) error {
	for i, numbers := range s.numbers(ids) {
		if err := s.partitions[i].read(ctx, numbers, tier, from, to, (*store.View).Read, visit); err != nil {
			return err
		}
	}
	return nil
}

// Sums is Read for who wants to know nothing but counts, sums, least and largest of all that
// is in [from, to]: one bucket may stand for many, of which nothing but these four is right.
func (s *Set) Sums(ctx context.Context, ids []series.ID, tier int, from, to int64, visit func(series.ID, []bucket.Bucket) error) error {
	for i, numbers := range s.numbers(ids) {
		if err := s.partitions[i].read(ctx, numbers, tier, from, to, (*store.View).ReadSums, visit); err != nil {
			return err
		}
	}
	return nil
}

// Scan is Read for those who keep nothing, and much faster: buckets come in pieces, oldest first, and
// series that have nothing but samples at the finest tier, at most one a segment, are shown
// to samples as their times and values, of which bucket.StaleNaN is a staleness marker.
// Without samples all are shown to visit.
func (s *Set) Scan(ctx context.Context, ids []series.ID, tier int, from, to int64, samples func(id series.ID, times []int64, values []float64) error,
	visit func(series.ID, []bucket.Bucket) error) error {
	for i, numbers := range s.numbers(ids) {
		if err := s.partitions[i].scan(ctx, numbers, tier, from, to, samples, visit); err != nil {
			return err
		}
	}
	return nil
}

// numbers divides series by partition.
func (s *Set) numbers(ids []series.ID) [][]uint32 {
	numbers := make([][]uint32, len(s.partitions))
	for _, id := range ids {
		numbers[id.Partition()] = append(numbers[id.Partition()], id.Number())
	}
	return numbers
}

// Stats is a snapshot of every partition: positions and HeadBuckets of now, the rest at most a
// second old.
func (s *Set) Stats() []Stats {
	stats := make([]Stats, len(s.partitions))
	for i, p := range s.partitions {
		stats[i] = *p.stats.Load()
		position := p.position.Load()
		stats[i].Applied, stats[i].AppliedAt, stats[i].HeadBuckets = position.sequence, position.at, position.head
	}
	return stats
}
