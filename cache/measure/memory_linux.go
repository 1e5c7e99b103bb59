//go:build linux && (amd64 || arm64 || riscv64)

package measure

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"carillon/figure"
	"carillon/peer"
	"carillon/usage"
)

const (
	zipfExponent = 0.99
	zipfKeys     = 80_000 // a MiB of memory: about ten times what fits
	drawsAtOnce  = 100    // that are under way
	guessBytes   = 64     // that an item takes at least
)

// filled is a cache that was filled until it evicted.
type filled struct {
	items uint64
	bytes int64   // of memory that the process got for them
	hits  float64 // of the draws of the trace that were counted
}

// memory is what an item takes, and how often a trace finds one, at the same limit of memory: of memcached the
// limit is without its hash table, of this build with all.
func (r *run) memory(ctx context.Context) ([]figure.Figure, error) {
	if !r.memcached {
		return nil, nil
	}
	s, err := r.newSite()
	if err != nil {
		return nil, err
	}
	defer s.close()
	all := make(map[string]filled)
	trace := newTrace(r.Scale, r.Seed)
	for _, name := range []string{userSpace, peer.Memcached} {
		if all[name], err = r.fill(ctx, s, name, trace); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	ours, theirs := all[userSpace], all[peer.Memcached]
	bytes, theirBytes := float64(ours.bytes)/float64(ours.items), float64(theirs.bytes)/float64(theirs.items)
	return []figure.Figure{{
		ID: "cache.hit_ratio", Value: ours.hits / theirs.hits, Unit: "×", Better: figure.Higher, Goal: 1, Floor: 0.98,
		Note: fmt.Sprintf("%.4f of the draws, memcached %.4f; Zipf 0.99 over %d keys, %d MiB each", ours.hits, theirs.hits, len(trace.shares), r.Scale.MemoryMiB),
	}, {
		ID: "cache.item_bytes_ratio", Value: bytes / theirBytes, Unit: "×", Better: figure.Lower, Goal: 1, Floor: 1.1,
		Note: fmt.Sprintf("%.1f bytes an item of 20 and 20, memcached %.1f: resident memory when %d and %d items fill it, less that without", bytes, theirBytes, ours.items, theirs.items),
	}}, nil
}

// fill fills a server, then another one that draws.
func (r *run) fill(ctx context.Context, s *site, name string, t *trace) (f filled, err error) {
	c, err := s.start(ctx, r, name, r.Scale.MemoryMiB)
	if err != nil {
		return f, err
	}
	before, err := usage.Memory(c.process.PID())
	if err != nil {
		return f, err
	}
	if err := s.fill(c, small, uint32(r.Scale.MemoryMiB<<20/guessBytes)); err != nil {
		return f, err
	}
	after, err := usage.Memory(c.process.PID())
	if err != nil {
		return f, err
	}
	f.bytes = after - before
	err = s.pair.Client.Do(func() error {
		stream, err := dial(c.at, small)
		if err != nil {
			return err
		}
		defer stream.close()
		stats, err := stream.stats()
		if f.items = stats["curr_items"]; err == nil && (f.items == 0 || stats["evictions"] == 0) {
			err = fmt.Errorf("%w: %d items, %d evictions", ErrWrongAnswer, f.items, stats["evictions"])
		}
		return err
	})
	if err != nil {
		return f, err
	}
	if c, err = s.start(ctx, r, name, r.Scale.MemoryMiB); err != nil {
		return f, err
	}
	err = s.pair.Client.Do(func() (err error) {
		f.hits, err = r.draw(ctx, c, t)
		return err
	})
	return f, err
}

// trace is draws of keys, which are the same for every server.
type trace struct {
	shares []float64 // of the ranks, added up
	seed   uint64
}

func newTrace(scale Scale, seed uint64) *trace {
	t := &trace{make([]float64, zipfKeys*scale.MemoryMiB), seed}
	sum := 0.0
	for rank := range t.shares {
		sum += math.Pow(float64(rank+1), -zipfExponent)
		t.shares[rank] = sum
	}
	for rank := range t.shares {
		t.shares[rank] /= sum
	}
	return t
}

// draw asks for what is drawn, and stores what is not there: which share of the second half of the
// draws was.
func (r *run) draw(ctx context.Context, c contestant, t *trace) (float64, error) {
	stream, err := dial(c.at, small)
	if err != nil {
		return 0, err
	}
	defer stream.close()
	random := rand.New(rand.NewPCG(t.seed, 2))
	found, counted := 0, 0
	keys := make([]uint32, drawsAtOnce)
	title := "a Zipf trace, " + c.name
	for done := 0; done < r.Scale.Draws && ctx.Err() == nil; done += drawsAtOnce {
		r.Progress(title, uint64(done), uint64(r.Scale.Draws))
		for k := range keys {
			rank, _ := slices.BinarySearch(t.shares, random.Float64())
			keys[k] = uint32(rank)
			stream.ask(keys[k])
		}
		if err := stream.send(); err != nil {
			return 0, err
		}
		hits, err := stream.found(keys)
		if err != nil {
			return 0, err
		}
		if done >= r.Scale.Draws/2 {
			found, counted = found+hits, counted+drawsAtOnce
		}
	}
	r.Progress(title, uint64(r.Scale.Draws), uint64(r.Scale.Draws))
	return float64(found) / float64(counted), ctx.Err()
}

// found reads the replies to ask for some items, stores those that were not there, which the next send sends,
// and is how many were.
func (s *stream) found(keys []uint32) (hits int, err error) {
	const nothing = "END\r\n"
	var text []byte // not yet taken
	for _, n := range keys {
		want := s.items.reply(nil, n, 0)
		for len(text) == 0 || len(text) < len(nothing) || text[0] == 'V' && len(text) < len(want) {
			part, err := s.read(len(s.in))
			if err != nil {
				return hits, err
			}
			text = append(text, part...)
		}
		switch {
		case bytes.HasPrefix(text, []byte(nothing)):
			text = text[len(nothing):]
			s.set(n, 0, true)
		case bytes.HasPrefix(text, want):
			text = text[len(want):]
			hits++
		default:
			return hits, fmt.Errorf("%w: %.200q instead of %.200q", ErrWrongAnswer, text, want)
		}
	}
	return hits, nil
}
