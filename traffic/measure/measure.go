// Package measure measures how servers take points in: it is given an empty folder, a
// scale and the command that starts this build, sends the same generated traffic to it and
// to other servers that are installed, one after the other, and hands out
// figures with their goals and floors. Every server must in the end answer with the count
// and the sum of what was sent, or the run fails. `carillon bench ingest` and
// `carillon bench quantize` call it, and so does their test, at a scale of seconds.
package measure

import (
	"context"
	"slices"
	"time"

	"carillon/figure"
	"carillon/peer"
)

// step is the time between two points of a series, where it is not said.
const step = 10 * time.Second

// Scale is how much is measured.
type Scale struct {
	Few      Population    // of ingest.cpu_ratio_100k
	Variants Population    // of the same in sequence, and with late, repeated and future points
	Many     Population    // of ingest.cpu_ratio_500k, ingest.new_series_ratio and ingest.memory_ratio
	Graphite Population    // of ingest.graphite_ratio
	Files    Population    // of the peers that keep a file a series
	Settle   time.Duration // at most, until a server's background work is over

	Quantize    Population // of quantize.points_per_core
	HalfMillion Pace       // of ingest.half_million_core_share
	FiveMillion Pace       // of ingest.five_million_bytes
	Kills       Kills      // of ingest.lost
}

// Population is a number of series, and how many points of each are sent after the
// one by which a server learns of it.
type Population struct {
	Series int
	Steps  int
}

// Full is the scale that the goals are about.
func Full() Scale {
	return Scale{
		Few: Population{100_000, 60}, Variants: Population{100_000, 60}, Many: Population{500_000, 20},
		Graphite: Population{100_000, 30}, Files: Population{10_000, 30},
		Settle: 30 * time.Second,

		Quantize:    Population{1_000_000, 20},
		HalfMillion: Pace{500_000, 10 * time.Second, 60}, FiveMillion: Pace{5_000_000, 10 * time.Second, 60},
		Kills: Kills{Series: 50_000, Times: 50, Alive: 2 * time.Second},
	}
}

// Quick takes less than 50 seconds.
func Quick() Scale {
	return Scale{
		Few: Population{100_000, 10}, Variants: Population{10_000, 20}, Many: Population{100_000, 10},
		Graphite: Population{20_000, 40}, Files: Population{500, 20},
		Settle: time.Second,

		Quantize:    Population{1_000_000, 3},
		HalfMillion: Pace{100_000, 2 * time.Second, 2}, FiveMillion: Pace{100_000, 2 * time.Second, 2},
		Kills: Kills{Series: 20_000, Times: 5, Alive: 600 * time.Millisecond},
	}
}

// Config is what a run needs.
type Config struct {
	Dir       string   // exists and is empty; what is left there is the caller's to remove
	Command   []string // starts this build; a verb and its flags are added to it
	Peers     []string // names of those to compare with, see peer.Others
	Stages    []string // names of those to run, see Stages; none means all
	Recording string   // a file to play besides; "" is none
	Scale     Scale
	Seed      uint64 // of values and orders
	Progress  func(stage string, done, total uint64)
	Missing   func(peer string) // is told of a peer that is not installed
}

// run is a measurement under way. Stages that need the same share it, which at the scale
// of Quick they do.
type run struct {
	Config
	trials map[trialKey]*trial
	paces  map[Pace]paced
}

func stages() figure.Stages[*run] {
	return figure.Stages[*run]{
		{Name: "few", Run: (*run).few},
		{Name: "variants", Run: (*run).variants},
		{Name: "many", Run: (*run).many},
		{Name: "graphite", Run: (*run).graphite},
		{Name: "files", Run: (*run).files},
		{Name: "quantize", Run: func(r *run, ctx context.Context) ([]figure.Figure, error) { return Quantize(ctx, r.Config) }},
		{Name: "half-million", Run: (*run).halfMillion},
		{Name: "five-million", Run: (*run).fiveMillion},
		{Name: "kills", Run: (*run).kills},
		{Name: "recorded", Run: (*run).recorded},
	}
}

// Stages are the names of what a run consists of, in its order.
func Stages() []string { return stages().Names() }

// Run measures stage by stage, and returns the figures that it has even if there was an
// error too.
func Run(ctx context.Context, c Config) ([]figure.Figure, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	return stages().Run(ctx, &run{Config: c, trials: make(map[trialKey]*trial), paces: make(map[Pace]paced)}, c.Stages)
}

// check refuses names that nothing has, and leaves out the peers that are not
// installed.
func (c *Config) check() error {
	if err := stages().Check(c.Stages); err != nil {
		return err
	}
	var err error
	c.Peers, err = peer.Choose(c.Peers, c.Missing)
	return err
}

// servers are this build, and those of some peers that it is to be compared with.
func (c *Config) servers(some ...string) []*peer.Peer {
	servers := []*peer.Peer{peer.Own(c.Command)}
	for _, name := range some {
		if slices.Contains(c.Peers, name) {
			servers = append(servers, peer.Other(name))
		}
	}
	return servers
}
