// Package measure measures what keeping objects costs: it is given an empty folder, a scale and the command
// that starts this build, writes and reads the same generated objects through stores in its own process, through nodes
// of this build and through other servers that are installed, and hands out figures with
// their goals and floors. What it reads back must be what it wrote, or the run fails.
// `carillon bench object` calls it, and so does its test, at a scale of seconds.
package measure

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os/exec"
	"slices"

	"carillon/figure"
	"carillon/object"
)

// ErrWrongAnswer is wrapped by the error of a run that read what was not written.
var ErrWrongAnswer = errors.New("wrong answer")

// objectBytes is the size of the objects that most figures are about.
const objectBytes = 10_000

// Scale is how much is measured.
type Scale struct {
	Writes  Writes  // of object.pack_ratio and object.sync_ratio
	Joined  int     // objects, of object.moved_ratio
	Cluster Cluster // of object.cluster_ratio
	Serve   Serve   // of object.get10k_ratio and object.get64m_ratio
	Faults  Faults  // of object.lost
}

// Full is the scale that the goals are about.
func Full() Scale {
	return Scale{
		Writes:  Writes{Turns: 6, Files: 2500, Packed: 32_000},
		Joined:  20_000,
		Cluster: Cluster{Turns: 7, Objects: 3000},
		Serve:   Serve{Turns: 9, Small: 10_000, Large: 24},
		Faults:  Faults{Times: 200},
	}
}

// Quick takes less than 50 seconds.
func Quick() Scale {
	return Scale{
		Writes:  Writes{Turns: 3, Files: 600, Packed: 16_000},
		Joined:  20_000,
		Cluster: Cluster{Turns: 3, Objects: 1500},
		Serve:   Serve{Turns: 3, Small: 4000, Large: 6},
		Faults:  Faults{Times: 10},
	}
}

// Config is what a run needs.
type Config struct {
	Dir      string   // exists and is empty; what is left there is the caller's to remove
	Command  []string // starts this build; a verb and its flags are added to it
	Peers    []string // names of those to compare with, of Peers
	Stages   []string // names of those to run, see Stages; none means all
	Scale    Scale
	Seed     uint64 // of contents
	Logger   *slog.Logger
	Progress func(stage string, done, total uint64)
	Missing  func(peer string) // is told of a peer that is not installed
}

// Peers are the names of servers that can be compared with.
func Peers() []string { return []string{nginx} }

// run is a measurement under way.
type run struct{ Config }

func stages() figure.Stages[*run] {
	return figure.Stages[*run]{
		{Name: "writes", Run: (*run).writes},
		{Name: "moved", Run: (*run).moved},
		{Name: "cluster", Run: (*run).cluster},
		{Name: "serve", Run: (*run).serve},
		{Name: "faults", Run: (*run).faults},
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

// check refuses names that nothing has, and leaves out the peers that are not installed.
func (c *Config) check() error {
	if err := stages().Check(c.Stages); err != nil {
		return err
	}
	for _, name := range c.Peers {
		if !slices.Contains(Peers(), name) {
			return fmt.Errorf("no peer %q: want some of %q", name, Peers())
		}
	}
	c.Peers = slices.DeleteFunc(slices.Clone(c.Peers), func(name string) bool {
		_, err := exec.LookPath(name)
		if err != nil {
			c.Missing(name)
		}
		return err != nil
	})
	return nil
}

// content is what is stored under a number: random bytes, no two alike.
func (r *run) content(number uint64, size int) []byte {
	var seed [32]byte
	for i, word := range []uint64{r.Seed, number} {
		for j := range 8 {
			seed[8*i+j] = byte(word >> (8 * j))
		}
	}
	content := make([]byte, size)
	_, _ = rand.NewChaCha8(seed).Read(content) // never fails
	return content
}

// version is that of everything written: each name is written once.
func version() object.Version { return object.Version{Hi: 1} }

func median(values []float64) float64 {
	slices.Sort(values)
	if n := len(values); n%2 == 0 {
		return (values[n/2-1] + values[n/2]) / 2
	}
	return values[len(values)/2]
}
