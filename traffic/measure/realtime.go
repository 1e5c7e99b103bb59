package measure

import (
	"context"
	"errors"
	"fmt"
	"time"

	"carillon/figure"
	"carillon/pause"
	"carillon/peer"
	"carillon/traffic"
)

// Pace is a number of series whose points come as they would from a fleet: a step every
// so often, its requests spread over that time.
type Pace struct {
	Series int
	Every  time.Duration
	Steps  int
}

func (p Pace) String() string {
	return fmt.Sprintf("%d series every %s for %s", p.Series, p.Every, p.Every*time.Duration(p.Steps))
}

// paced is what a server needed.
type paced struct {
	share float64 // CPU time of the server for each second, until it had ended and everything was in files
	steps float64 // the same until the last step was over
	peak  int64   // bytes of memory
}

func (r *run) halfMillion(ctx context.Context) ([]figure.Figure, error) {
	p := r.Scale.HalfMillion
	got, err := r.keepPace(ctx, p)
	if err != nil {
		return nil, err
	}
	return []figure.Figure{
		{
			ID: "ingest.half_million_core_share", Value: got.share * 100, Unit: percent, Better: figure.Lower, Goal: 3, Floor: 8,
			Note: fmt.Sprintf("of one core; %s, none lost; %.3g %% before the end, which seals all at once", p, got.steps*100),
		},
		{ID: "ingest.half_million_bytes", Value: float64(got.peak), Unit: bytesUnit, Note: p.String()},
	}, nil
}

// fiveMillion is about memory, which smaller scales say little about: so theirs are not
// held against the goal.
func (r *run) fiveMillion(ctx context.Context) ([]figure.Figure, error) {
	p := r.Scale.FiveMillion
	got, err := r.keepPace(ctx, p)
	if err != nil {
		return nil, err
	}
	f := figure.Figure{ID: "ingest.five_million_bytes", Value: float64(got.peak), Unit: bytesUnit, Note: p.String() + ", none lost"}
	if p == Full().FiveMillion {
		f.Better, f.Goal, f.Floor = figure.Lower, 1.6e9, 3e9
	} else {
		f.Note += "; not five million"
	}
	return []figure.Figure{f, {ID: "ingest.five_million_core_share", Value: got.share * 100, Unit: percent, Note: "of one core; " + p.String()}}, nil
}

// keepPace tells a server of its series as fast as it takes them, and then sends a
// step after the other at its time. It fails if the server cannot keep up or
// has not everything in the end.
func (r *run) keepPace(ctx context.Context, p Pace) (got paced, err error) {
	if got, known := r.paces[p]; known {
		return got, nil
	}
	dir, done, err := peer.Scratch(r.Dir)
	if err != nil {
		return got, err
	}
	defer func() { err = errors.Join(err, done()) }()
	us := peer.Own(r.Command)
	s, err := us.Start(ctx, dir)
	if err != nil {
		return got, err
	}
	defer s.Kill()

	sent, err := r.introduce(ctx, p, s)
	if err != nil {
		return got, err
	}
	start := time.Now().Truncate(p.Every).Add(p.Every)
	load, err := newLoad(traffic.Config{Series: p.Series, Seed: r.Seed + 1, Start: start, Step: p.Every}, traffic.RemoteWrite)
	if err != nil {
		return got, err
	}
	if err := pause.For(ctx, time.Until(start)); err != nil {
		return got, err
	}
	before, err := s.CPU()
	if err != nil {
		return got, err
	}
	more, err := r.sendSteps(ctx, p, load, s, start)
	if err != nil {
		return got, err
	}
	sent.Add(more)
	wall := time.Since(start)
	steps, err := s.CPU()
	if err != nil {
		return got, err
	}
	total, peak, err := s.Stop()
	if err != nil {
		return got, err
	}
	again, err := us.Start(ctx, dir)
	if err != nil {
		return got, err
	}
	defer again.Kill()
	got = paced{share: (total - before).Seconds() / wall.Seconds(), steps: (steps - before).Seconds() / wall.Seconds(), peak: peak}
	if err := expect(ctx, again, load, sent); err != nil {
		return got, err
	}
	r.paces[p] = got
	return got, nil
}

// introduce sends the first point of each series, at full speed.
func (r *run) introduce(ctx context.Context, p Pace, s *peer.Process) (traffic.Sum, error) {
	load, err := newLoad(traffic.Config{Series: p.Series, Seed: r.Seed, Start: time.Now(), Step: p.Every}, traffic.RemoteWrite)
	if err != nil {
		return traffic.Sum{}, err
	}
	sent, err := load.step(ctx, func() *peer.Process { return s }, time.Time{})
	if err != nil {
		return traffic.Sum{}, err
	}
	return sent, s.Settle(ctx, r.Scale.Settle)
}

// sendSteps sends each step at its time. A server that is a whole step behind does not
// keep up.
func (r *run) sendSteps(ctx context.Context, p Pace, l *load, s *peer.Process, start time.Time) (sent traffic.Sum, err error) {
	stage := "in real time: " + p.String()
	for i := range p.Steps {
		r.Progress(stage, uint64(i), uint64(p.Steps))
		next := start.Add(p.Every * time.Duration(i+1))
		sum, err := l.step(ctx, func() *peer.Process { return s }, next)
		if err != nil {
			return sent, err
		}
		sent.Add(sum)
		if behind := time.Since(next); behind > p.Every {
			return sent, fmt.Errorf("the server is %s behind after %d steps of %s", behind, i+1, p.Every)
		}
		if err := pause.For(ctx, time.Until(next)); err != nil {
			return sent, err
		}
	}
	r.Progress(stage, uint64(p.Steps), uint64(p.Steps))
	return sent, nil
}
