package measure

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"carillon/peer"
	"carillon/traffic"
	"carillon/usage"
)

// work is what a server is given to do.
type work struct {
	title      string // for the sign of progress
	population Population
	format     traffic.Format
	rough      traffic.Rough
	sequential bool
}

// learning is by how many steps a server gets to know the series: the first one
// brings them, and the second one finds them in no cache yet that only what is known
// gets into. What both take is the cost of new series.
const learning = 2

// trial is what a server needed for a work.
type trial struct {
	peer *peer.Peer
	work work

	newSeries time.Duration // CPU, for the first points of each series, see learning
	running   time.Duration // CPU, for the other points until it had settled
	whole     time.Duration // CPU, for the other points until it had ended, everything in its place
	sending   time.Duration // wall, for the other points until they were acknowledged
	peak      int64         // bytes of memory
	journal   int64         // bytes on disk when it had settled
	disk      int64         // bytes on disk when it had ended
	restart   time.Duration
}

// points are those of known series.
func (t *trial) points() float64 {
	return float64(t.work.population.Series) * float64(t.work.population.Steps)
}

func (t *trial) allPoints() float64 {
	return float64(t.work.population.Series) * float64(t.work.population.Steps+learning)
}

// perPoint and perNewSeries are nanoseconds of CPU time.
func (t *trial) perPoint() float64 { return float64(t.whole.Nanoseconds()) / t.points() }
func (t *trial) perNewSeries() float64 {
	return float64(t.newSeries.Nanoseconds()) / float64(t.work.population.Series)
}

func (t *trial) peakBytes() float64    { return float64(t.peak) }
func (t *trial) diskPerPoint() float64 { return float64(t.disk) / t.allPoints() }

type trialKey struct {
	peer string
	work work
}

// try gives a work to a server of its own, as fast as that takes it. The server is
// then asked to end, since what it only holds in memory is work still to do; and it
// is started again to see whether it has everything.
func (r *run) try(ctx context.Context, p *peer.Peer, w work) (t *trial, err error) {
	key := trialKey{p.Name, w}
	if t := r.trials[key]; t != nil {
		return t, nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", p.Name, err)
			return
		}
		r.trials[key] = t
	}()
	load, err := newLoad(traffic.Config{
		Series: w.population.Series, Seed: r.Seed, Step: step, Rough: w.rough, Sequential: w.sequential,
		Start: time.Now().Add(-time.Duration(w.population.Steps+learning+1) * step).Truncate(step),
	}, w.format)
	if err != nil {
		return nil, err
	}
	dir, done, err := peer.Scratch(r.Dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	s, err := p.Start(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer s.Kill()

	t = &trial{peer: p, work: w}
	sent, err := r.send(ctx, t, load, s)
	if err != nil {
		return nil, err
	}
	again, err := p.Start(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer again.Kill()
	t.restart = again.ReadyAfter
	return t, check(ctx, again, load, sent)
}

// send is a trial's life of the server from its start to its end.
func (r *run) send(ctx context.Context, t *trial, load *load, s *peer.Process) (sent traffic.Sum, err error) {
	target := func() *peer.Process { return s }
	stage := fmt.Sprintf("%s, %d series, %s", t.work.title, t.work.population.Series, s.Peer.Name)
	steps := uint64(t.work.population.Steps) + learning
	before, err := s.CPU()
	if err != nil {
		return sent, err
	}
	var began time.Time
	for i := range steps {
		if i > 0 && i <= learning {
			if err := s.Settle(ctx, r.Scale.Settle); err != nil {
				return sent, err
			}
		}
		if i == learning {
			now, err := s.CPU()
			if err != nil {
				return sent, err
			}
			t.newSeries, before, began = now-before, now, time.Now()
		}
		r.Progress(stage, i, steps)
		sum, err := load.step(ctx, target, time.Time{})
		if err != nil {
			return sent, err
		}
		sent.Add(sum)
	}
	r.Progress(stage, steps, steps)
	t.sending = time.Since(began)
	if err := s.Settle(ctx, r.Scale.Settle); err != nil {
		return sent, err
	}
	now, err := s.CPU()
	if err != nil {
		return sent, err
	}
	t.running = now - before
	if s.Peer.Journal != "" {
		if t.journal, err = usage.Disk(filepath.Join(s.Data, s.Peer.Journal)); err != nil {
			return sent, err
		}
	}
	total, peak, err := s.Stop()
	if err != nil {
		return sent, err
	}
	t.whole, t.peak = total-before, peak
	t.disk, err = usage.Disk(s.Data)
	return sent, err
}
