package store

import (
	"fmt"
	"math"
	"slices"

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
//   - to be merged with what is there: data from before the time since when the
//     finest tier has all of the series (version.whole).
//
// The two do not meet: what is recomputed starts at that time or later, what is
// merged starts before it, and it only goes forward.
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
	since   []int64 // by tier: what starts before is not written; nil but for an import
	pause   func()  // called between two series

	fetched uint32  // trails of series before it were fetched
	fresh   columns // of the series: what the head has, if it is nothing but samples
	span    columns
	loose   []bucket.Bucket // what the head has if it is something else
	grouped fold
	ladder  *ladder
	spans   []span
	tooOld  int    // buckets that no tier keeps any more
	lost    []loss // what is not rolled up, because what it is made of is damaged
}

func newPass(config Config, current, next *version, h *head, out *output) *pass {
	return &pass{
		config: config, out: out, head: h, next: next, ladder: newLadder(config.Tiers),
		reader: newReader(current), settled: current.watermark, pause: func() {},
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
		p.pause()
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
	if corrupted(err) {
		// What cannot be read may hold this very series: reading that will tell.
		stored, found, err = number, true, nil
	}
	if found && (!ok || stored < n) {
		return stored, true, err
	}
	return n, ok, err
}

// rolls tells whether the watermark moves.
func (p *pass) rolls() bool { return p.next.watermark > p.settled && len(p.config.Tiers) > 1 }

func (p *pass) series(number uint32) error {
	c := p.head.chain(number)
	if !p.plain(number, c) {
		return p.anySeries(number, c)
	}
	if err := p.out.addSamples(0, false, number, p.fresh); err != nil || !p.rolls() {
		return err
	}
	return p.rollSpan(number)
}

// plain tells whether the head has nothing of a series but samples in order, one a
// segment, none of them late for the coarser tiers; then they are in fresh.
func (p *pass) plain(number uint32, c chain) bool {
	p.fresh = p.fresh.slice(0, 0)
	if c.count == 0 {
		return true
	}
	if number >= p.fetched {
		p.fetched = p.head.fetch(number)
	}
	var ok bool
	p.fresh.times, p.fresh.values, ok = p.head.samples(c, p.fresh.times, p.fresh.values)
	if !ok || !p.fresh.oneEach(p.resolution()) {
		return false
	}
	earliest := p.next.whole(&p.config, number)
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
		return p.lose(s, err)
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
	p.loose = p.head.read(c, p.loose[:0])
	bySegment(p.loose, p.resolution())
	return p.looseBuckets(number)
}

// looseBuckets writes the loose buckets of a series, sorted by segment, and what
// follows from them.
func (p *pass) looseBuckets(number uint32) error {
	kind := p.config.Kind(number)
	p.grouped.reset(kind, p.resolution())
	p.grouped.add(p.loose, false)

	p.next.shorten(&p.config, number)
	kept := p.grouped.acc[from(p.grouped.acc, p.begins(number, 0)):]
	if err := p.out.addBuckets(0, false, number, kept); err != nil {
		return err
	}
	split := from(p.grouped.acc, p.next.whole(&p.config, number))
	old, recent := p.grouped.acc[:split], p.grouped.acc[split:]
	p.ladder.buckets(kind, old, len(p.config.Tiers)-1)
	if err := p.roll(number, false); err != nil {
		return err
	}
	p.tooOld += from(old, p.next.horizon(&p.config, number, len(p.next.horizons)-1))

	for _, s := range p.changed(number, recent) {
		if err := p.recompute(kind, number, s, recent); err != nil {
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
		return p.lose(s, err)
	}
	p.ladder.buckets(kind, fine, len(p.config.Tiers)-1)
	return p.roll(number, true)
}

// lose goes on without the coarser buckets of a series in a span if what they are made
// of is damaged. Made of what is left of it they would be wrong; and the watermark has
// to move on for the others.
func (p *pass) lose(s span, err error) error {
	if !corrupted(err) {
		return err
	}
	if l := newLoss(s, err); len(p.lost) < maxDamages && !slices.Contains(p.lost, l) {
		p.lost = append(p.lost, l)
	}
	return nil
}

// changed lists the times for which the coarser tiers are to be recomputed.
func (p *pass) changed(number uint32, recent []bucket.Bucket) []span {
	tiers := p.config.Tiers
	if len(tiers) == 1 {
		return nil
	}
	p.spans = touched(recent, p.config.beat(), p.next.whole(&p.config, number), p.settled, p.spans[:0])
	if p.rolls() {
		p.spans = append(p.spans, span{p.settled, p.next.watermark})
	}
	return p.spans
}

// roll writes what is on the ladder to the coarser tiers that keep it.
func (p *pass) roll(number uint32, replaces bool) error {
	for tier := 1; tier < len(p.config.Tiers); tier++ {
		made := p.ladder.rungs[tier].acc
		kept := made[from(made, p.begins(number, tier)):]
		if err := p.out.addBuckets(tier, replaces, number, kept); err != nil {
			return err
		}
	}
	return nil
}

// begins is the time from which on a series is written to a tier.
func (p *pass) begins(number uint32, tier int) int64 {
	begins := p.next.horizon(&p.config, number, tier)
	if p.since != nil {
		begins = max(begins, p.since[tier])
	}
	return begins
}
