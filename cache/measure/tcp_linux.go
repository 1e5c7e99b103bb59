//go:build linux && (amd64 || arm64 || riscv64)

package measure

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"carillon/figure"
	"carillon/peer"
)

const (
	connections = 4
	pipeline    = 100 // operations under way on each
	setsAmong   = 10  // operations, of which one is a SET
)

// tcp is pipelines of GETs, with SETs among them, in user space: of this build without a kernel program, and of
// memcached.
func (r *run) tcp(ctx context.Context) ([]figure.Figure, error) {
	if !r.memcached {
		return nil, nil
	}
	s, err := r.newSite()
	if err != nil {
		return nil, err
	}
	defer s.close()
	contestants, err := s.startAll(ctx, r, serverMiB, userSpace, peer.Memcached)
	if err != nil {
		return nil, err
	}
	costs := make(map[string][]cost)
	for _, c := range contestants {
		if err := s.fill(c, small, udpItems); err != nil {
			return nil, err
		}
	}
	const title = "pipelines by TCP"
	rounds := uint64(2 * r.Scale.Rounds)
	for round := range rounds {
		r.Progress(title, round, rounds)
		for _, c := range contestants {
			one, err := s.pipelines(ctx, c, r.Scale.Pipelined, r.Seed+round)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			costs[c.name] = append(costs[c.name], one)
		}
	}
	r.Progress(title, rounds, rounds)
	ratio, _ := ratios(costs[peer.Memcached], costs[userSpace])
	return []figure.Figure{{
		ID: "cache.user_tcp_ratio", Value: median(ratio), Unit: "×", Better: figure.Higher, Goal: 1.3, Floor: 0.8,
		Note: compared(costs[userSpace], costs[peer.Memcached]) + fmt.Sprintf("; %d connections, %d operations under way on each, every %dth a SET", connections, pipeline, setsAmong),
	}}, nil
}

// pipelines is what an operation costs, without this process, which is the generator.
func (s *site) pipelines(ctx context.Context, c contestant, operations int, seed uint64) (one cost, err error) {
	err = s.pair.Client.Do(func() error {
		var streams [connections]*stream
		for i := range streams {
			if streams[i], err = dial(c.at, small); err != nil {
				return err
			}
			defer streams[i].close()
		}
		before, err := s.apart()
		if err != nil {
			return err
		}
		random := rand.New(rand.NewPCG(seed, 1))
		done := 0
		for ; done < operations && ctx.Err() == nil; done += connections * pipeline {
			if err := volley(streams[:], random); err != nil {
				return err
			}
		}
		after, err := s.apart()
		if err != nil {
			return err
		}
		took := after.less(before)
		one = cost{float64(took.parts) / float64(done), float64(took.machine) / float64(done)}
		return ctx.Err()
	})
	return one, err
}

// apart is what all but this process spent.
func (s *site) apart() (spent, error) {
	all, err := s.machine.spent()
	if err != nil {
		return all, err
	}
	var own time.Duration
	own, err = cpu(os.Getpid())
	return spent{all.parts - own, all.machine - own}, err
}

// volley sends a pipeline on each connection, and reads the replies.
func volley(streams []*stream, random *rand.Rand) error {
	for _, s := range streams {
		for k := range pipeline {
			n := random.Uint32N(udpItems)
			if k%setsAmong == 0 {
				s.set(n, 0, false)
			} else {
				s.get(n, 0)
			}
		}
		if err := s.send(); err != nil {
			return err
		}
	}
	for _, s := range streams {
		if err := s.receive(); err != nil {
			return err
		}
	}
	return nil
}
