package measure

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"time"

	"carillon/figure"
	"carillon/store"
	"carillon/usage"
)

// Background is how much there is to seal and to merge while memory is measured.
type Background struct {
	Series  int // of all partitions together
	Samples int // of each in memory while all is sealed at once
	Seals   int // that the files come from which are merged,
	Each    int // with so many samples of each series
}

const (
	partitions = 8 // as in a server that is told nothing else

	// rollAfter is when all that was sealed has to be in the coarser tiers.
	rollAfter = store.DefaultRollupDelay + 2*time.Hour
)

// background is by how much the resident memory of this process grows, first while full heads
// of all partitions are sealed at once, and then while they are rolled up at once, from as many
// files as there ever are, and these are merged. The heads themselves are there before, and what is fed later waits: nothing
// but the work is counted.
func (r *run) background(ctx context.Context) (_ []figure.Figure, err error) {
	defer debug.SetGCPercent(debug.SetGCPercent(store.GCPercent))
	merging := make(chan struct{}, 1)
	merging <- struct{}{} // nobody may, yet
	var all crowd
	defer func() { err = errors.Join(err, all.close()) }()
	for i := range partitions {
		s, err := open(filepath.Join(r.Dir, "background", strconv.Itoa(i)), unsynced{}, merging, r.Logger)
		if err != nil {
			return nil, err
		}
		all.stores = append(all.stores, s)
		all.points = append(all.points, mix{seed: r.Seed + uint64(i), start: beginning}.all(r.Scale.Background.Series/partitions))
	}
	sealing, err := r.whileSealing(ctx, all)
	if err != nil {
		return nil, err
	}
	rising, err := r.whileMerging(ctx, all, merging)
	if err != nil {
		return nil, err
	}
	b := r.Scale.Background
	return []figure.Figure{{
		ID: "store.background_bytes", Value: float64(max(sealing, rising)), Unit: bytesUnit, Better: figure.Lower, Goal: 64 << 20, Floor: 128 << 20,
		Note: fmt.Sprintf("peak of resident memory over that before; %d series: sealing %d samples each in %d partitions at once %s, rolling up and merging %d files %s",
			b.Series, b.Samples, partitions, figure.Amount(float64(sealing), bytesUnit), b.Seals, figure.Amount(float64(rising), bytesUnit)),
	}}, nil
}

// crowd is stores side by side, with their points.
type crowd struct {
	stores []*fed
	points [][]points
}

func (c crowd) close() (err error) {
	for _, s := range c.stores {
		err = errors.Join(err, s.Close())
	}
	return err
}

func (c crowd) feed(n int) {
	for i, s := range c.stores {
		s.feed(c.points[i], n)
	}
}

func (c crowd) seal(ctx context.Context) error {
	for _, s := range c.stores {
		if err := s.seal(ctx); err != nil {
			return err
		}
	}
	return c.idle(ctx)
}

func (r *run) whileSealing(ctx context.Context, all crowd) (int64, error) {
	all.feed(r.Scale.Background.Samples)
	return rise(func() error { return all.seal(ctx) })
}

// whileMerging rolls up in all stores at once, when the clock says so, and then merges in
// one after the other, as the partitions of a server take turns.
func (r *run) whileMerging(ctx context.Context, all crowd, merging chan struct{}) (int64, error) {
	b := r.Scale.Background
	for i := range b.Seals {
		r.Progress("files to be merged", uint64(i), uint64(b.Seals))
		all.feed(b.Each)
		if err := all.seal(ctx); err != nil {
			return 0, err
		}
	}
	<-merging
	before := all.merged()
	rising, err := rise(func() error {
		if err := all.later(ctx, rollAfter); err != nil {
			return err
		}
		for i, s := range all.stores {
			r.Progress("merge them", uint64(i), partitions)
			if err := s.settle(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	r.Progress("merge them", partitions, partitions)
	if err == nil && all.merged() == before {
		err = errors.New("nothing was merged")
	}
	return rising, err
}

// later moves the clocks, with nothing new to seal.
func (c crowd) later(ctx context.Context, d time.Duration) error {
	for _, s := range c.stores {
		s.now += d.Milliseconds()
		s.Maintain(s.now)
	}
	return c.idle(ctx)
}

func (c crowd) idle(ctx context.Context) error {
	for _, s := range c.stores {
		if err := s.idle(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (c crowd) merged() (bytes int64) {
	for _, s := range c.stores {
		bytes += s.Written().Merged
	}
	return bytes
}

// rise is by how much the resident memory of this process was larger at most, while it
// worked, than before.
func rise(work func() error) (int64, error) {
	debug.FreeOSMemory()
	self := os.Getpid()
	before, err := usage.Memory(self)
	if err != nil {
		return 0, err
	}
	if err := usage.ResetPeak(self); err != nil {
		return 0, err
	}
	if err := work(); err != nil {
		return 0, err
	}
	after, err := usage.PeakMemory(self)
	return max(0, after-before), err
}
