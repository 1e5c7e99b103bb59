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
type pass struct {
	config  Config
	out     *output
	head    *head // nil: nothing is sealed
	reader  *reader
	settled int64 // the old watermark
	next    *version

	loose   []bucket.Bucket
	grouped fold
	coarse  fold
	spans   []span
	tooOld  int // buckets that no tier keeps any more
}

func newPass(config Config, current, next *version, h *head, out *output) *pass {
	return &pass{
		config: config, out: out, head: h, next: next,
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
func (p *pass) rolls() bool { return p.next.watermark > p.settled }

func (p *pass) series(number uint32) error {
	kind, resolution := p.config.Kind(number), p.config.Tiers[0].Resolution.Milliseconds()
	p.loose = p.loose[:0]
	if c := p.head.chain(number); c.count > 0 {
		p.loose = p.head.read(c, p.loose)
	}
	bySegment(p.loose, resolution)
	p.grouped.reset(kind, resolution)
	p.grouped.add(p.loose, false)

	horizon := p.next.horizons[0]
	split := from(p.grouped.acc, horizon)
	old, kept := p.grouped.acc[:split], p.grouped.acc[split:]
	if err := p.out.add(0, false, number, kept); err != nil {
		return err
	}
	if err := p.roll(kind, number, old, false); err != nil {
		return err
	}
	p.tooOld += from(old, p.next.horizons[len(p.next.horizons)-1])

	for _, s := range p.changed(kept) {
		fine, err := p.reader.fine(number, kind, resolution, s, kept)
		if err != nil {
			return err
		}
		if err := p.roll(kind, number, fine, true); err != nil {
			return err
		}
	}
	return nil
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

// roll writes finest-tier buckets to the coarser tiers that keep them.
func (p *pass) roll(kind series.Kind, number uint32, fine []bucket.Bucket, replaces bool) error {
	for tier := 1; tier < len(p.config.Tiers); tier++ {
		p.coarse.reset(kind, p.config.Tiers[tier].Resolution.Milliseconds())
		p.coarse.add(fine, false)
		kept := p.coarse.acc[from(p.coarse.acc, p.next.horizons[tier]):]
		if err := p.out.add(tier, replaces, number, kept); err != nil {
			return err
		}
	}
	return nil
}
