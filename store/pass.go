package store

import (
	"fmt"
	"math"

	"carillon/bucket"
	"carillon/series"
)

// pass goes once over all series that a commit concerns, in ascending order and
// with one series in memory at a time. For each it writes what the head has to
// the finest tier, and to the coarser tiers
//
//   - in place of what is there: everything between the old and the new
//     watermark, and every older segment for which the head brought late data,
//     recomputed from the finest tier;
//   - to be merged with what is there: data too old for the finest tier.
//
// The two do not meet: what is recomputed starts at the finest tier's horizon or
// later, what is merged starts before it, and horizons only go forward.
//
// Nearly always a series has nothing but samples, in order and one a segment, none
// of them late. These go as columns from the head to a file, and from files to the
// first coarser tier, and never become buckets of the finest one.
type pass struct {
	config  Config
	out     *output
	head    *head // nil: nothing is sealed
	reader  *reader
	settled int64 // the old watermark
	next    *version

	fresh   columns // of the series: what the head has, if it is nothing but samples
	span    columns
	loose   []bucket.Bucket // what the head has if it is something else
	grouped fold
	ladder  *ladder
	spans   []span
	tooOld  int // buckets that no tier keeps any more
}

func newPass(config Config, current, next *version, h *head, out *output) *pass {
	return &pass{
		config: config, out: out, head: h, next: next, ladder: newLadder(config.Tiers),
		reader: newReader(current.files), settled: current.watermark,
	}
}

func (p *pass) run() error {
	for number := uint32(0); ; number++ {
		n, ok, err := p.following(number)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if err := p.series(n); err != nil {
			return fmt.Errorf("series %d: %w", n, err)
		}
		if number = n; number == math.MaxUint32 {
			break
		}
	}
	if p.tooOld > 0 {
		p.config.Logger.Warn("data are older than any tier keeps", "dir", p.config.Dir, "buckets", p.tooOld)
	}
	return nil
}

// following is the first series from number on that there is something to do for.
func (p *pass) following(number uint32) (uint32, bool, error) {
	n, ok := p.head.next(number)
	if !p.rolls() {
		return n, ok, nil
	}
	stored, found, err := p.reader.next(0, number, p.settled, p.next.watermark)
	if found && (!ok || stored < n) {
		return stored, true, err
	}
	return n, ok, err
}

// rolls tells whether the watermark moves.
func (p *pass) rolls() bool { return p.next.watermark > p.settled && len(p.config.Tiers) > 1 }

func (p *pass) series(number uint32) error {
	c := p.head.chain(number)
	if !p.plain(c) {
		return p.anySeries(number, c)
	}
	if err := p.out.addSamples(0, false, number, p.fresh); err != nil || !p.rolls() {
		return err
	}
	return p.rollSpan(number)
}

// plain tells whether the head has nothing of a series but samples in order, one a
// segment, none of them late for the coarser tiers; then they are in fresh.
func (p *pass) plain(c chain) bool {
	p.fresh = p.fresh.slice(0, 0)
	if c.count == 0 {
		return true
	}
	var ok bool
	p.fresh.times, p.fresh.values, ok = p.head.samples(c, p.fresh.times, p.fresh.values)
	if !ok || !p.fresh.oneEach(p.resolution()) {
		return false
	}
	earliest := p.next.horizons[0]
	if len(p.config.Tiers) > 1 {
		earliest = max(earliest, p.settled)
	}
	return p.fresh.times[0] >= earliest
}

func (p *pass) resolution() int64 { return p.config.Tiers[0].Resolution.Milliseconds() }

// rollSpan makes the coarser buckets of all between the old and the new watermark.
func (p *pass) rollSpan(number uint32) error {
	s := span{p.settled, p.next.watermark}
	kind := p.config.Kind(number)
	var ok bool
	var err error
	if p.span, ok, err = p.reader.samples(0, number, s.from, s.to, p.span.slice(0, 0)); err != nil {
		return err
	}
	if ok {
		stored := p.span.len()
		p.span = p.span.append(p.fresh.within(s.from, s.to))
		if stored == 0 || stored == p.span.len() || p.span.slice(stored-1, stored+1).oneEach(p.resolution()) {
			p.ladder.samples(kind, p.span)
			return p.roll(number, true)
		}
	}
	p.loose = p.loose[:0]
	for i, t := range p.fresh.times {
		p.loose = append(p.loose, bucket.Of(t, p.fresh.values[i]))
	}
	return p.recompute(kind, number, s, p.loose)
}

// anySeries is series for whatever the head has.
func (p *pass) anySeries(number uint32, c chain) error {
	kind, resolution := p.config.Kind(number), p.resolution()
	p.loose = p.head.read(c, p.loose[:0])
	bySegment(p.loose, resolution)
	p.grouped.reset(kind, resolution)
	p.grouped.add(p.loose, false)

	horizon := p.next.horizons[0]
	split := from(p.grouped.acc, horizon)
	old, kept := p.grouped.acc[:split], p.grouped.acc[split:]
	if err := p.out.addBuckets(0, false, number, kept); err != nil {
		return err
	}
	p.ladder.buckets(kind, old, len(p.config.Tiers)-1)
	if err := p.roll(number, false); err != nil {
		return err
	}
	p.tooOld += from(old, p.next.horizons[len(p.next.horizons)-1])

	for _, s := range p.changed(kept) {
		if err := p.recompute(kind, number, s, kept); err != nil {
			return err
		}
	}
	return nil
}

// recompute makes the coarser buckets of a span from the finest tier with loose
// buckets merged in.
func (p *pass) recompute(kind series.Kind, number uint32, s span, loose []bucket.Bucket) error {
	fine, err := p.reader.fine(number, kind, p.resolution(), s, loose)
	if err != nil {
		return err
	}
	p.ladder.buckets(kind, fine, len(p.config.Tiers)-1)
	return p.roll(number, true)
}

// changed lists the times for which the coarser tiers are to be recomputed.
func (p *pass) changed(kept []bucket.Bucket) []span {
	tiers := p.config.Tiers
	if len(tiers) == 1 {
		return nil
	}
	coarsest := tiers[len(tiers)-1].Resolution.Milliseconds()
	p.spans = touched(kept, coarsest, p.next.horizons[0], p.settled, p.spans[:0])
	if p.rolls() {
		p.spans = append(p.spans, span{p.settled, p.next.watermark})
	}
	return p.spans
}

// roll writes what is on the ladder to the coarser tiers that keep it.
func (p *pass) roll(number uint32, replaces bool) error {
	for tier := 1; tier < len(p.config.Tiers); tier++ {
		made := p.ladder.rungs[tier].acc
		kept := made[from(made, p.next.horizons[tier]):]
		if err := p.out.addBuckets(tier, replaces, number, kept); err != nil {
			return err
		}
	}
	return nil
}
