package measure

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"carillon/figure"
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
	for _, p := range append([]*peer{ours(r.Command)}, r.peers(victoria(), prometheus())...) {
		cpu, err := r.play(ctx, p, c)
		if err != nil {
			return figures, fmt.Errorf("%s: %w", p.name, err)
		}
		f := figure.Figure{
			ID: "ingest.cpu_per_point_recorded", Value: float64(cpu.Nanoseconds()) / float64(c.sent), Unit: nanos,
			Note: fmt.Sprintf("%d points of %d metrics, new series included", c.sent, len(c.names)),
		}
		if p.name != Ours {
			f.ID += "." + p.name
		}
		figures = append(figures, f)
	}
	return figures, nil
}

// play is the CPU time that a server needs for a recording until it has ended.
func (r *run) play(ctx context.Context, p *peer, c *census) (cpu time.Duration, err error) {
	dir, done, err := scratch(r.Dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, done()) }()
	s, err := p.start(ctx, dir)
	if err != nil {
		return 0, err
	}
	defer s.kill()
	before, err := s.cpu()
	if err != nil {
		return 0, err
	}
	if err := r.playTo(ctx, s, c); err != nil {
		return 0, err
	}
	if err := s.settle(ctx, r.Scale.Settle); err != nil {
		return 0, err
	}
	total, _, err := s.stop()
	if err != nil {
		return 0, err
	}
	again, err := p.start(ctx, dir)
	if err != nil {
		return 0, err
	}
	defer again.kill()
	return total - before, c.check(ctx, again)
}

func (r *run) playTo(ctx context.Context, s *process, c *census) error {
	file, err := os.Open(r.Recording)
	if err != nil {
		return err
	}
	defer file.Close()
	player := &recording.Player{To: s.url(""), Progress: func(at time.Duration) {
		r.Progress("play to "+s.peer.name+", in milliseconds", uint64(at.Milliseconds()), uint64(c.lasts.Milliseconds()))
	}}
	played, err := player.Play(ctx, file)
	if err == nil && played.Refused > 0 {
		err = fmt.Errorf("%d requests were refused, the first with %s", played.Refused, played.FirstRefusal)
	}
	return err
}
