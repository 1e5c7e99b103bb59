// Package measure measures what the store costs: it is given an empty folder, a scale and
// the command that starts this build, feeds the same generated points to stores in its
// own process, to servers of this build and to other ones that are installed, and hands out figures
// with their goals and floors. What it reads back must be what it wrote, bit by bit, and
// answers that are timed must be alike, or the run fails. `carillon bench store` calls it, and so
// does its test, at a scale of seconds.
package measure

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"carillon/figure"
	"carillon/peer"
	ingest "carillon/traffic/measure"
)

// ErrWrongAnswer is wrapped by the error of a run that read what was not written.
var ErrWrongAnswer = errors.New("wrong answer")

// Scale is how much is measured.
type Scale struct {
	Bytes         Population // of store.bytes_per_point and store.bytes_vs_victoria
	Counter       Age        // of store.mb_per_counter
	Amplification Population // of store.write_amplification
	Query         Dashboard  // of store.query_ratio_*
	Background    Background // of store.background_bytes
	Kills         ingest.Kills
}

// Population is a number of series, and how many points each has, one every ten
// seconds.
type Population struct {
	Series int
	Points int
}

func (p Population) String() string {
	return fmt.Sprintf("%d series, %d points each", p.Series, p.Points)
}

// Full is the scale that the goals are about.
func Full() Scale {
	return Scale{
		Bytes:         Population{20_000, 1000},
		Counter:       Age{Series: 200, Lasts: fullAge},
		Amplification: Population{500, 3 * pointsPerDay},
		Query:         Dashboard{Hosts: 100, Rounds: 15},
		Background:    Background{Series: 500_000, Samples: 60, Seals: 64, Each: 4},
		Kills:         ingest.Kills{Series: 50_000, Times: 200, Alive: time.Second},
	}
}

// Quick takes less than 50 seconds.
func Quick() Scale {
	return Scale{
		Bytes:         Population{2_000, 1000},
		Counter:       Age{Series: 20, Lasts: 60 * day},
		Amplification: Population{50, pointsPerDay},
		Query:         Dashboard{Hosts: 10, Rounds: 15},
		Background:    Background{Series: 100_000, Samples: 60, Seals: 64, Each: 1},
		Kills:         ingest.Kills{Series: 10_000, Times: 5, Alive: 600 * time.Millisecond},
	}
}

// Config is what a run needs.
type Config struct {
	Dir      string   // exists and is empty; what is left there is the caller's to remove
	Command  []string // starts this build; a verb and its flags are added to it
	Peers    []string // names of those to compare with, of Peers
	Stages   []string // names of those to run, see Stages; none means all
	Scale    Scale
	Seed     uint64 // of values
	Logger   *slog.Logger
	Progress func(stage string, done, total uint64)
	Missing  func(peer string) // is told of a peer that is not installed
}

// Peers are the names of servers that can be compared with.
func Peers() []string { return []string{peer.Victoria} }

// run is a measurement under way.
type run struct{ Config }

// stages begin with what measures the memory of this process, which nothing else shall
// have used yet.
func stages() figure.Stages[*run] {
	return figure.Stages[*run]{
		{Name: "background", Run: (*run).background},
		{Name: "bytes", Run: (*run).bytes},
		{Name: "counter", Run: (*run).counter},
		{Name: "amplification", Run: (*run).amplification},
		{Name: "query", Run: (*run).query},
		{Name: "kills", Run: (*run).kills},
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
	return stages().Run(ctx, &run{c}, c.Stages)
}

// check refuses names that nothing has, and leaves out the peers that are not
// installed.
func (c *Config) check() error {
	if err := stages().Check(c.Stages); err != nil {
		return err
	}
	for _, name := range c.Peers {
		if !slices.Contains(Peers(), name) {
			return fmt.Errorf("no peer %q: want some of %q", name, Peers())
		}
	}
	var err error
	c.Peers, err = peer.Choose(c.Peers, c.Missing)
	return err
}

// kills is the measurement of what survives a SIGKILL, which that of ingesting is too.
func (r *run) kills(ctx context.Context) ([]figure.Figure, error) {
	dir, done, err := peer.Scratch(r.Dir)
	if err != nil {
		return nil, err
	}
	figures, err := ingest.Run(ctx, ingest.Config{
		Dir: dir, Command: r.Command, Stages: []string{"kills"}, Scale: ingest.Scale{Kills: r.Scale.Kills}, Seed: r.Seed, Progress: r.Progress,
	})
	err = errors.Join(err, done())
	for _, f := range figures {
		if f.ID == ingest.Lost {
			f.ID, f.Note = "store.lost", f.Note+"; the faulty file system is a test: go test ./store -run Fault"
			return []figure.Figure{f}, err
		}
	}
	return nil, err
}
