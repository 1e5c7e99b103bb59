package measure

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"carillon/directory/location"
)

const (
	// batchNames is how many names a caller brings at once.
	batchNames = 1000

	// mostFromDisk is the share of look-ups that may miss the caches and still be
	// called cached.
	mostFromDisk = 0.001

	fillEvery = 1 << 14 // look-ups between two signs of progress
)

type cachedCost struct {
	hit, miss, mixed, entry, batch, batchMixed cost

	missOfPart cost // while the cache of entries lacked one
	absences   int
	whole      bool // the cache of entries had every one in the end
	diskShare  float64
}

// measureCached asks for everything once, by which the caches fill, and then for
// everything again and again. The last entry comes late: without it absences are
// answered by their own cache, with it by the other, which then has every entry.
func measureCached(ctx context.Context, c Config, p *population) (m cachedCost, err error) {
	size := cacheBits(c.Scale.Entries)
	d, err := open(c, location.Caches{Names: size, AbsentNames: size}, 0)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	most, last := p.created[:len(p.created)-nameBytes], p.created[len(p.created)-nameBytes:]
	if err := errors.Join(
		fill(ctx, c, d, "fill cache of entries", most, true),
		fill(ctx, c, d, "fill cache of absences", p.absent.names, false)); err != nil {
		return m, err
	}
	before := d.Stats().Names
	m.absences = before.Negative.Entries
	runtime.GC() // what is behind us is not to be collected by the thread that is measured
	for range c.Scale.Rounds {
		if err := errors.Join(m.pass("absent", &m.missOfPart, d, p.absent, resolve), ctx.Err()); err != nil {
			return m, err
		}
	}
	if err := fill(ctx, c, d, "fill cache of entries", last, true); err != nil {
		return m, err
	}
	for round := range c.Scale.Rounds {
		if err := errors.Join(m.round(d, p), ctx.Err()); err != nil {
			return m, err
		}
		c.Progress("look up in caches", uint64(round+1), uint64(c.Scale.Rounds))
	}
	after := d.Stats().Names
	m.whole = after.Whole
	fromDisk := after.DiskFound + after.DiskAbsent - before.DiskFound - before.DiskAbsent
	m.diskShare = float64(fromDisk) / float64((1+kindsOfPass)*c.Scale.Rounds*c.Scale.Entries)
	if m.diskShare > mostFromDisk {
		return m, fmt.Errorf("%.2f %% of the look-ups went to disk; the figures would not be of the caches", m.diskShare*100)
	}
	return m, nil
}

func fill(ctx context.Context, c Config, d *location.Directory, stage string, all names, want bool) error {
	for i, name := range all.sorted() {
		if _, found, err := d.ResolveID(name); found != want || err != nil {
			return fmt.Errorf("look up %s: found %v, %v: %w", name, found, err, ErrWrongAnswer)
		}
		if done := i + 1; done%fillEvery == 0 || done == all.len() {
			c.Progress(stage, uint64(done), uint64(all.len()))
			if err := ctx.Err(); err != nil {
				return err
			}
		}
	}
	return nil
}

// kindsOfPass is how many times a round asks for as many names as there are.
const kindsOfPass = 6

func (m *cachedCost) round(d *location.Directory, p *population) error {
	for _, pass := range [kindsOfPass]struct {
		what string
		cost *cost
		of   questions
		ask  func(*location.Directory, questions) int
	}{
		{"present", &m.hit, p.present, resolve},
		{"absent", &m.miss, p.absent, resolve},
		{"mixed", &m.mixed, p.mixed, resolve},
		{"whole entries", &m.entry, p.present, lookUp},
		{"batches", &m.batch, p.present, resolveBatches},
		{"mixed batches", &m.batchMixed, p.mixed, resolveBatches},
	} {
		if err := m.pass(pass.what, pass.cost, d, pass.of, pass.ask); err != nil {
			return err
		}
	}
	return nil
}

// pass asks all of the questions once.
func (m *cachedCost) pass(what string, cost *cost, d *location.Directory, of questions, ask func(*location.Directory, questions) int) error {
	var wrong int
	cost.add(timed(&wrong, func() int { return ask(d, of) }), of.len())
	return expect(wrong, what)
}

// lookUp is resolve for whole entries, all of them present.
func lookUp(d *location.Directory, q questions) (wrong int) {
	var v location.View
	for i, want := range q.want {
		if err := d.Lookup(q.names.at(i), &v); err != nil || v.IDs().RW != want || v.Sites() != sitesEach {
			wrong++
		}
	}
	return wrong
}

// resolveBatches is resolve for many names at once.
func resolveBatches(d *location.Directory, q questions) (wrong int) {
	var (
		batch [batchNames]string
		ids   [batchNames]location.IDs
		found [batchNames]bool
	)
	for from := 0; from < q.len(); from += batchNames {
		n := min(batchNames, q.len()-from)
		for i := range n {
			batch[i] = q.names.at(from + i)
		}
		if err := d.ResolveIDs(batch[:n], ids[:n], found[:n]); err != nil {
			return wrong + n
		}
		for i, want := range q.want[from : from+n] {
			if ids[i].RW != want || found[i] != (want != 0) {
				wrong++
			}
		}
	}
	return wrong
}
