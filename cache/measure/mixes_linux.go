//go:build linux && (amd64 || arm64 || riscv64)

package measure

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"carillon/figure"
	"carillon/peer"
	"carillon/usage"
)

// mix is one of the workloads that Hippos was measured with, of Facebook's pools of memcached.
type mix struct {
	name             string
	gets, sets, dels float64 // per cent
	items            items
	hits             float64 // which share of the GETs finds something
	goal, floor      float64
}

// The shares of hits are those published for the same pools (Atikoglu et al., Workload analysis of a
// large-scale key-value store, 2012). Values are below the length given in 99 of 100 cases.
func mixes() []mix {
	return []mix{
		{"usr", 99.7, 0.2, 0.1, items{19, 2, false}, 0.982, 4, 3},
		{"etc", 73.4, 2.3, 24.0, items{45, 450, true}, 0.814, 2, 1.3},
		{"app", 83.4, 5.2, 11.4, items{80, 512, true}, 0.929, 2, 1.3},
		{"var", 18, 82, 0, items{30, 200, true}, 0.937, 1, 0.8},
		{"sys", 67.5, 32.5, 0, items{45, 640, true}, 0.987, 1, 0.8},
	}
}

const (
	mixItems   = 50_000
	churnFrom  = 10_000_000 // items that are stored and deleted, and not read
	nobodyFrom = 20_000_000 // items that are deleted and never there
	pipelined  = 50         // commands by TCP that are under way at once
)

// mixes is GETs of datagrams, and SET and DELETE by TCP in between.
func (r *run) mixes(ctx context.Context) (figures []figure.Figure, err error) {
	if !r.memcached {
		return nil, nil
	}
	s, err := r.newSite()
	if err != nil {
		return nil, err
	}
	defer s.close()
	if err := s.pair.Cut(); err != nil {
		return nil, err
	}
	contestants, err := s.startAll(ctx, r, serverMiB, inKernel, peer.Memcached)
	if err != nil {
		return nil, err
	}
	for _, m := range mixes() {
		f, err := r.mix(ctx, s, m, contestants)
		if err != nil {
			return figures, fmt.Errorf("%s: %w", m.name, err)
		}
		figures = append(figures, f)
	}
	return figures, nil
}

func (r *run) mix(ctx context.Context, s *site, m mix, contestants []contestant) (f figure.Figure, err error) {
	var mixers []*mixer
	for _, c := range contestants {
		x, err := s.newMixer(c, m, r.Seed)
		if err != nil {
			return f, err
		}
		defer func() { err = errors.Join(err, x.close()) }()
		mixers = append(mixers, x)
	}
	title := "the mix " + m.name
	for round := range r.Scale.Rounds {
		r.Progress(title, uint64(round), uint64(r.Scale.Rounds))
		for _, x := range mixers {
			if err := x.play(ctx, r.Scale); err != nil {
				return f, err
			}
		}
	}
	r.Progress(title, uint64(r.Scale.Rounds), uint64(r.Scale.Rounds))
	ours, theirs := mixers[0], mixers[1]
	ratio, _ := ratios(theirs.costs, ours.costs)
	return figure.Figure{
		ID: "cache.mix_" + m.name + "_ratio", Value: median(ratio), Unit: "×", Better: figure.Higher, Goal: m.goal, Floor: m.floor,
		Note: compared(ours.costs, theirs.costs) + fmt.Sprintf("; %g/%g/%g %% GET/SET/DELETE", m.gets, m.sets, m.dels),
	}, nil
}

// mixer is a contestant with the requests of a mix.
type mixer struct {
	player
	mix     mix
	changes *stream // nil before the first round; used on the client's thread only

	owed         float64 // changes that go with the GETs sent so far, and are not sent
	sets, dels   float64 // of them, by error diffusion
	stored       uint32  // changes of items that stay
	born, buried uint32  // items that were stored to be deleted, and those deleted
	missing      uint32  // items deleted that were not there
	own          time.Duration
}

func (s *site) newMixer(c contestant, m mix, seed uint64) (*mixer, error) {
	if err := s.fill(c, m.items, mixItems); err != nil {
		return nil, err
	}
	g, err := s.newGenerator(c, m.items, uint32(mixItems/m.hits), mixItems, seed)
	if err != nil {
		return nil, err
	}
	x := &mixer{player: player{generator: g}, mix: m}
	err = s.pair.Client.Do(func() (err error) {
		x.changes, err = dial(c.at, m.items)
		return err
	})
	if err != nil {
		return nil, errors.Join(err, g.lab.Close())
	}
	return x, nil
}

func (x *mixer) close() error {
	x.changes.close()
	return x.lab.Close()
}

// play is one round. Changes are made by the thread that makes the GETs, whose time for them is
// taken off: what the server's half of TCP does meanwhile, in interrupts, is taken off with it, from both.
func (x *mixer) play(ctx context.Context, scale Scale) error {
	if err := x.attach(); err != nil {
		return err
	}
	send := func() (trial, error) {
		x.own = 0
		return x.requests(ctx, x.site.client(), scale, x.change)
	}
	sendAlone := func(from end) (trial, error) {
		return x.requests(ctx, from, scale, func(uint32) error { return nil })
	}
	answered, err := send()
	for err == nil && x.slower(answered) {
		answered, err = send()
	}
	if err := errors.Join(err, x.check(answered)); err != nil {
		return err
	}
	own := x.own
	alone, err := x.alone(sendAlone)
	x.take(answered, alone, own)
	return err
}

// requests sends GETs, at a pace or a number of them, with changes after each burst.
func (x *mixer) requests(ctx context.Context, from end, scale Scale, change func(gets uint32) error) (trial, error) {
	burst, pause, lasts := uint32(floodBurst), time.Duration(0), time.Duration(0)
	if x.name != inKernel {
		burst, pause, lasts = pacedBurst, time.Second*pacedBurst/time.Duration(x.pace), scale.Mix
	}
	return x.try(func() error {
		return from.namespace.Do(func() error {
			began := time.Now()
			for sent := uint32(0); (lasts > 0 && time.Since(began) < lasts || lasts == 0 && sent < scale.MixFlood) && ctx.Err() == nil; sent += burst {
				time.Sleep(time.Until(began.Add(time.Duration(sent/burst) * pause)))
				if err := x.lab.Generate(from.device, burst); err != nil {
					return err
				}
				if err := change(burst); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	})
}

// change makes the changes that belong to so many GETs.
func (x *mixer) change(gets uint32) error {
	runtime.LockOSThread() // for the thread's time; it is the namespace's, and locked already
	defer runtime.UnlockOSThread()
	began := usage.Thread()
	defer func() { x.own += usage.Thread() - began }()
	x.owed += float64(gets) * (x.mix.sets + x.mix.dels) / x.mix.gets
	for x.owed >= 1 {
		for n := 0; n < pipelined && x.owed >= 1; n++ {
			x.owed--
			x.one()
		}
		if err := x.changes.exchange(); err != nil {
			return err
		}
	}
	return nil
}

// one appends a SET or a DELETE. Two of three SETs are of items that are read, the others of ones
// that DELETEs will find, where there are any. The other DELETEs find nothing, as most do in pools
// that are told to forget what they never had.
func (x *mixer) one() {
	x.sets += x.mix.sets
	x.dels += x.mix.dels
	if x.sets < x.dels {
		x.dels -= x.mix.sets + x.mix.dels
		if x.buried < x.born {
			x.changes.remove(churnFrom+x.buried, true)
			x.buried++
		} else {
			x.changes.remove(nobodyFrom+x.missing, false)
			x.missing++
		}
		return
	}
	x.sets -= x.mix.sets + x.mix.dels
	if 2*x.born < x.stored && x.mix.dels > 0 {
		x.changes.set(churnFrom+x.born, 0, false)
		x.born++
		return
	}
	x.changes.set(x.stored*7919%mixItems, byte(x.stored), false)
	x.stored++
}
