// Package measure measures the directory of locations as a caller sees it: it is
// given an empty folder and a scale, builds a directory of random names there and
// its predecessor's table beside it, and hands out figures with their goals and
// floors. Every answer is checked, and a wrong one fails the run. `carillon bench
// directory` calls it, and so does its own test, at a scale of seconds.
package measure

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"time"

	"carillon/figure"
)

// ErrWrongAnswer is wrapped by the error of a run that was answered falsely.
var ErrWrongAnswer = errors.New("wrong answer")

// Scale is how much is measured. Rates are the medians of the rounds.
type Scale struct {
	Entries         int // of the directory; as many absent names are asked for
	Rounds          int
	BlockCacheBytes int64 // of Pebble, while reads without our caches are measured
	Uncached        int   // look-ups a round and kind without our caches
	OldEntries      int   // of the old design's table
	OldLookups      int   // a round
	LoadBits        int   // log2 of the slots of the tables that are filled until they refuse
	LoadSeeds       int   // how many of them
}

// Full is the scale that the goals are about.
func Full() Scale {
	return Scale{
		Entries: 2_000_000, Rounds: 7, BlockCacheBytes: 8 << 20, Uncached: 20_000,
		OldEntries: 1_700_000, OldLookups: 2_000, LoadBits: 20, LoadSeeds: 10,
	}
}

// Quick takes less than 50 seconds.
func Quick() Scale {
	s := Full()
	s.Entries, s.Rounds, s.Uncached, s.OldLookups, s.LoadBits = 250_000, 5, 10_000, 1_000, 17
	return s
}

// Config is what a run needs.
type Config struct {
	Dir      string // exists and is empty; what is left there is the caller's to remove
	Scale    Scale
	Seed     uint64 // of names and orders
	Logger   *slog.Logger
	Progress func(stage string, done, total uint64)
}

// Run measures everything, in CPU seconds of one thread, to which the calling
// goroutine is locked meanwhile. Look-ups do all their work there, so that the load
// of other processors falsifies only what they share with it, memory bandwidth
// above all; and waiting for a disk does not count, in favour of what reads it.
func Run(ctx context.Context, c Config) ([]figure.Figure, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	load, err := loadFactor(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("measure load factor: %w", err)
	}
	old, err := oldDesign(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("measure the old design: %w", err)
	}
	p := newPopulation(c.Scale.Entries, c.Seed)
	if err := create(ctx, c, p); err != nil {
		return nil, fmt.Errorf("create %d entries: %w", c.Scale.Entries, err)
	}
	disk, err := measureUncached(ctx, c, p)
	if err != nil {
		return nil, fmt.Errorf("measure without caches: %w", err)
	}
	cached, err := measureCached(ctx, c, p)
	if err != nil {
		return nil, fmt.Errorf("measure with caches: %w", err)
	}
	return figures(load, old, disk, cached), nil
}

// cost is the time a look-up took, a number a round.
type cost []float64

func (c *cost) add(spent time.Duration, lookups int) {
	*c = append(*c, spent.Seconds()/float64(lookups))
}

// seconds is the median.
func (c cost) seconds() float64 {
	sorted := slices.Sorted(slices.Values(c))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

func (c cost) perSecond() float64 { return 1 / c.seconds() }
