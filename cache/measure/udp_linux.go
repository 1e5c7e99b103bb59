//go:build linux && (amd64 || arm64 || riscv64)

package measure

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"carillon/figure"
	"carillon/peer"
)

// stages begin with what disturbs the others least.
func stages() figure.Stages[*run] {
	return figure.Stages[*run]{
		{Name: "hit", Run: (*run).hit},
		{Name: "udp", Run: (*run).udp},
		{Name: "mixes", Run: (*run).mixes},
		{Name: "tcp", Run: (*run).tcp},
		{Name: "memory", Run: (*run).memory},
	}
}

const (
	serverMiB = 128
	udpItems  = 50_000
)

// small are the items of most figures.
var small = items{keyBytes: 20, valueBytes: 20}

// player is a contestant with its requests, and what they cost it so far.
type player struct {
	*generator
	costs     []cost
	overheads []float64 // of generator and sink, ns a request
	rates     []float64 // replies a second
	possible  []float64 // the same for all the time of all processors
	lost      uint64
}

// udp is GETs of datagrams: of this build in the kernel and in user space, and of memcached.
func (r *run) udp(ctx context.Context) (figures []figure.Figure, err error) {
	s, err := r.newSite()
	if err != nil {
		return nil, err
	}
	defer s.close()
	if err := s.pair.Cut(); err != nil {
		return nil, err
	}
	contestants, err := s.startAll(ctx, r, serverMiB, inKernel, userSpace, peer.Memcached)
	if err != nil {
		return nil, err
	}
	players := make(map[string]*player)
	for _, c := range contestants {
		if err := s.fill(c, small, udpItems); err != nil {
			return nil, err
		}
		g, err := s.newGenerator(c, small, udpItems, udpItems, r.Seed)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, g.lab.Close()) }()
		players[c.name] = &player{generator: g}
	}
	const title = "GETs by UDP"
	for round := range r.Scale.Rounds {
		r.Progress(title, uint64(round), uint64(r.Scale.Rounds))
		for _, c := range contestants {
			if err := players[c.name].play(ctx, r.Scale); err != nil {
				return nil, err
			}
		}
	}
	r.Progress(title, uint64(r.Scale.Rounds), uint64(r.Scale.Rounds))
	return udpFigures(players), nil
}

// fill stores items in a server.
func (s *site) fill(c contestant, i items, count uint32) error {
	return s.pair.Client.Do(func() error {
		stream, err := dial(c.at, i)
		if err != nil {
			return err
		}
		defer stream.close()
		if err := stream.fill(0, count); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		return nil
	})
}

// play is one round: requests that are answered, and as many that are not.
func (p *player) play(ctx context.Context, scale Scale) error {
	if err := p.attach(); err != nil {
		return err
	}
	send := func(from end) (trial, error) { return p.paced(ctx, from, scale.Paced) }
	if p.name == inKernel {
		send = func(from end) (trial, error) { return p.flood(ctx, from, scale.Flood) }
	}
	answered, err := send(p.site.client())
	for err == nil && p.slower(answered) {
		answered, err = send(p.site.client())
	}
	if err := errors.Join(err, p.check(answered)); err != nil {
		return err
	}
	alone, err := p.alone(send)
	p.take(answered, alone, 0)
	return err
}

// take notes what a round cost, of which own is what changes by TCP cost this process.
func (p *player) take(answered, alone trial, own time.Duration) {
	p.costs = append(p.costs, costOf(answered, alone, own))
	p.overheads = append(p.overheads, aloneCost(alone))
	p.rates = append(p.rates, float64(answered.replies.Values)/answered.took.Seconds())
	p.possible = append(p.possible, float64(answered.replies.Values)/answered.spent.parts.Seconds()*float64(runtime.NumCPU()))
	p.lost += answered.requests - answered.replies.All()
}

func udpFigures(players map[string]*player) (figures []figure.Figure) {
	kernel, user, memcached := players[inKernel], players[userSpace], players[peer.Memcached]
	figures = append(figures, figure.Figure{
		ID: "cache.peak_replies", Value: slices.Max(kernel.rates), Unit: "replies/s", Better: figure.Higher, Goal: 2.5e6, Floor: 1.5e6,
		Note: fmt.Sprintf("median %.3g M; %.3g M if nobody else used the %d processors, by their time for it; generator, server and sink on the same ones; lost: %d",
			median(kernel.rates)/1e6, median(kernel.possible)/1e6, runtime.NumCPU(), kernel.lost),
	})
	if memcached == nil {
		return figures
	}
	for _, f := range []struct {
		figure.Figure
		*player
	}{
		{figure.Figure{ID: "cache.udp_ratio", Goal: 12, Floor: 6}, kernel},
		{figure.Figure{ID: "cache.user_udp_ratio", Goal: 1.3, Floor: 0.8}, user},
	} {
		ratio, _ := ratios(memcached.costs, f.costs)
		f.Value, f.Unit, f.Better = median(ratio), "×", figure.Higher
		f.Note = compared(f.costs, memcached.costs) + fmt.Sprintf("; generator and sink alone, taken off: %.0f, %.0f; lost: %d, %d",
			median(f.overheads), median(memcached.overheads), f.lost, memcached.lost)
		figures = append(figures, f.Figure)
	}
	return figures
}
