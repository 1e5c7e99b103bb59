package measure

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"carillon/figure"
	"carillon/peer"
	"carillon/traffic/recording"
)

// recorded plays a recording to this build and to others, as fast as they take it.
func (r *run) recorded(ctx context.Context) (figures []figure.Figure, err error) {
	if r.Recording == "" {
		return nil, nil
	}
	c, err := takeCensus(r.Recording)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", r.Recording, err)
	}
	for _, p := range r.servers(peer.Victoria, peer.Prometheus) {
		cpu, err := r.play(ctx, p, c)
		if err != nil {
			return figures, fmt.Errorf("%s: %w", p.Name, err)
		}
		f := figure.Figure{
			ID: "ingest.cpu_per_point_recorded", Value: float64(cpu.Nanoseconds()) / float64(c.sent), Unit: nanos,
			Note: fmt.Sprintf("%d points of %d metrics, new series included", c.sent, len(c.names)),
		}
		if p.Name != peer.Ours {
			f.ID += "." + p.Name
		}
		figures = append(figures, f)
	}
	return figures, nil
}

// play is the CPU time that a server needs for a recording until it has ended.
func (r *run) play(ctx context.Context, p *peer.Peer, c *census) (cpu time.Duration, err error) {
	dir, done, err := peer.Scratch(r.Dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, done()) }()
	s, err := p.Start(ctx, dir)
	if err != nil {
		return 0, err
	}
	defer s.Kill()
	before, err := s.CPU()
	if err != nil {
		return 0, err
	}
	if err := r.playTo(ctx, s, c); err != nil {
		return 0, err
	}
	if err := s.Settle(ctx, r.Scale.Settle); err != nil {
		return 0, err
	}
	total, _, err := s.Stop()
	if err != nil {
		return 0, err
	}
	again, err := p.Start(ctx, dir)
	if err != nil {
		return 0, err
	}
	defer again.Kill()
	return total - before, c.check(ctx, again)
}

func (r *run) playTo(ctx context.Context, s *peer.Process, c *census) error {
	file, err := os.Open(r.Recording)
	if err != nil {
		return err
	}
	defer file.Close()
	player := &recording.Player{To: s.URL(""), Progress: func(at time.Duration) {
		r.Progress("play to "+s.Peer.Name+", in milliseconds", uint64(at.Milliseconds()), uint64(c.lasts.Milliseconds()))
	}}
	played, err := player.Play(ctx, file)
	if err == nil && played.Refused > 0 {
		err = fmt.Errorf("%d requests were refused, the first with %s", played.Refused, played.FirstRefusal)
	}
	return err
}
