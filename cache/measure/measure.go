// Package measure measures what a cache costs: it is given the command that starts this
// build and a scale, puts servers of this build and memcached into a network namespace of
// their own, sends the same requests to them from another one, in turns, and hands out figures
// with their goals and floors. Replies are counted and one in 256 is compared byte by byte
// with what was stored, or the run fails. `carillon bench cache` calls it, and so does its
// test, at a scale of seconds.
package measure

import (
	"context"
	"errors"
	"slices"
	"time"

	"carillon/figure"
	"carillon/peer"
)

// ErrWrongAnswer is wrapped by the error of a run that got what was not stored, or too little.
var ErrWrongAnswer = errors.New("wrong answer")

// Scale is how much is measured.
type Scale struct {
	Rounds    int           // of everything that is measured in turns; medians count
	Paced     time.Duration // of a round of a server that gets requests at a pace
	Flood     uint32        // requests of a round of a server that gets them as fast as they can be made
	HitRuns   int           // of the program for cache.xdp_hit_ns, a round
	Mix       time.Duration // as Paced, for the mixes
	MixFlood  uint32        // as Flood, for the mixes
	Pipelined int           // operations by TCP a round
	MemoryMiB int           // of the caches that are filled
	Draws     int           // of the Zipf trace, half of them to warm up
}

// Full is the scale that the goals are about.
func Full() Scale {
	return Scale{
		Rounds: 9, Paced: time.Second, Flood: 4_000_000, HitRuns: 1_000_000, Mix: time.Second, MixFlood: 1 << 20,
		Pipelined: 1_000_000, MemoryMiB: 64, Draws: 10_000_000,
	}
}

// Quick takes less than 50 seconds.
func Quick() Scale {
	return Scale{
		Rounds: 3, Paced: 300 * time.Millisecond, Flood: 400_000, HitRuns: 100_000, Mix: 200 * time.Millisecond, MixFlood: 1 << 16,
		Pipelined: 50_000, MemoryMiB: 8, Draws: 500_000,
	}
}

// Config is what a run needs.
type Config struct {
	Dir      string   // exists and is empty
	Command  []string // starts this build; a verb and its flags are added to it
	Stages   []string // names of those to run, see Stages; none means all
	Scale    Scale
	Seed     uint64 // of the order of keys
	Progress func(stage string, done, total uint64)
	Missing  func(peer string) // is told if memcached is not installed: then there are only figures without it
}

// run is a measurement under way.
type run struct {
	Config
	memcached bool // is installed
}

// Stages are the names of what a run consists of, in its order.
func Stages() []string { return stages().Names() }

// Run measures stage by stage, and returns the figures that it has even if there was an
// error too. It needs root, for network namespaces and programs in the kernel.
func Run(ctx context.Context, c Config) ([]figure.Figure, error) {
	if err := stages().Check(c.Stages); err != nil {
		return nil, err
	}
	r := &run{Config: c, memcached: peer.Installed(peer.Memcached)}
	if !r.memcached {
		c.Missing(peer.Memcached)
	}
	return stages().Run(ctx, r, c.Stages)
}

// median is the middle one of an odd number of values, else the higher one of two.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
