package measure

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"carillon/figure"
	"carillon/pause"
	"carillon/peer"
	"carillon/traffic"
)

// Kills is how often a server is killed while it is sent as much as it takes.
type Kills struct {
	Series int
	Times  int
	Alive  time.Duration // at most, between its start and its end; at least a quarter of it
}

const (
	// sealWhileKilled makes it likely that some kills hit the writing of files.
	sealWhileKilled = "2s"

	// killedSince is how far back the traffic begins. It comes faster than in real
	// time, and may not overtake it.
	killedSince = 20 * time.Hour
)

// Lost is the id of the figure of acknowledged points that are lost.
const Lost = "ingest.lost"

// ErrLost is wrapped by the error of a run that lost what was acknowledged.
var ErrLost = errors.New("acknowledged points are lost")

// kills kills a server again and again. What was not acknowledged is sent again, as
// any sender would, so that in the end everything has been; and all of it must be there
// once.
func (r *run) kills(ctx context.Context) (figures []figure.Figure, err error) {
	k := r.Scale.Kills
	dir, done, err := peer.Scratch(r.Dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	load, err := newLoad(traffic.Config{Series: k.Series, Seed: r.Seed, Start: time.Now().Add(-killedSince).Truncate(step), Step: step}, traffic.RemoteWrite)
	if err != nil {
		return nil, err
	}
	us := peer.Own(r.Command, "--seal-every", sealWhileKilled)
	first, err := us.Start(ctx, dir)
	if err != nil {
		return nil, err
	}
	var (
		current atomic.Pointer[peer.Process]
		enough  atomic.Bool
		sent    traffic.Sum
		slowest time.Duration
	)
	current.Store(first)
	defer func() { current.Load().Kill() }()
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		for range int(killedSince / step) {
			if enough.Load() {
				return nil
			}
			sum, err := load.step(groupCtx, current.Load, time.Time{})
			if err != nil {
				return err
			}
			sent.Add(sum)
		}
		return errors.New("the traffic has reached the present")
	})
	group.Go(func() error {
		defer enough.Store(true)
		random := rand.New(rand.NewPCG(r.Seed, 2))
		for i := range k.Times {
			r.Progress("kill", uint64(i), uint64(k.Times))
			if err := pause.For(groupCtx, k.Alive/4+time.Duration(random.Int64N(int64(k.Alive*3/4)))); err != nil {
				return err
			}
			current.Load().Kill()
			next, err := us.Start(groupCtx, dir)
			if err != nil {
				return err
			}
			current.Store(next)
			slowest = max(slowest, next.ReadyAfter)
		}
		r.Progress("kill", uint64(k.Times), uint64(k.Times))
		return nil
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return r.missing(ctx, current.Load(), load, sent, slowest)
}

// missing compares what a server has with what it acknowledged.
func (r *run) missing(ctx context.Context, s *peer.Process, l *load, sent traffic.Sum, slowest time.Duration) ([]figure.Figure, error) {
	points, _, err := stored(ctx, s, l)
	if err != nil {
		return nil, err
	}
	lost := sent.Points - points
	figures := []figure.Figure{
		{
			ID: Lost, Value: float64(max(lost, 0)), Unit: pointUnit, Better: figure.Lower,
			Note: fmt.Sprintf("%d SIGKILLs, %d points acknowledged, %d requests sent again", r.Scale.Kills.Times, sent.Points, l.again.Load()),
		},
		{ID: "ingest.slowest_restart", Value: slowest.Seconds(), Unit: seconds, Note: "after a SIGKILL, until it answered"},
	}
	if lost > 0 {
		return figures, fmt.Errorf("%d of %d: %w", lost, sent.Points, ErrLost)
	}
	return figures, expect(ctx, s, l, sent)
}
