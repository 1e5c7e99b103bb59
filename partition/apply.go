package partition

import (
	"time"

	"carillon/journal"
	"carillon/quantize"
	"carillon/rejects"
	"carillon/series"
)

// batchPoints is how many points are aligned before what leaves the quantizer is
// passed on: few enough to be in the processor's cache still.
const batchPoints = 4096

// applyPart numbers the series that a part defines and aligns its points. It keeps
// nothing of the part.
func (p *Partition) applyPart(now int64, part *journal.Part) error {
	if err := p.define(part); err != nil {
		return err
	}
	p.out.Want(p.config.Watched())
	for from := 0; from < len(part.Refs); from += batchPoints {
		to := min(from+batchPoints, len(part.Refs))
		p.batch = p.resolve(p.batch[:0], part.Refs[from:to])
		p.quantizer.AddPoints(now, p.batch, part.Times[from:to], part.Values[from:to], &p.out)
		p.keep()
	}
	p.batch = p.resolve(p.batch[:0], part.AggregateRefs)
	for i, number := range p.batch {
		p.quantizer.AddAggregate(now, number, &part.Aggregates[i], &p.out)
	}
	p.keep()
	return nil
}

func (p *Partition) define(part *journal.Part) (err error) {
	p.numbers = p.numbers[:0]
	if len(part.Definitions) > 0 {
		if p.numbers, err = p.config.Directory.Define(p.config.Number, part.Definitions); err != nil {
			return err
		}
		p.defineNew()
	}
	if len(part.Metadata) > 0 {
		changed, err := p.config.Directory.Describe(p.config.Number, part.Metadata)
		if err != nil {
			return err
		}
		for _, number := range changed {
			p.quantizer.SetKind(number, p.config.Directory.Kind(series.NewID(p.config.Number, number)))
		}
	}
	return nil
}

// defineNew makes the quantizer know every series that the directory knows.
func (p *Partition) defineNew() {
	for n := p.quantizer.Series(); n < p.config.Directory.Count(p.config.Number); n++ {
		p.quantizer.Define(p.config.Directory.Kind(series.NewID(p.config.Number, uint32(n))))
	}
}

// resolve appends the numbers of the series that the part at hand refers to.
func (p *Partition) resolve(numbers []uint32, refs []journal.Ref) []uint32 {
	for _, ref := range refs {
		number := uint32(ref)
		if ref >= journal.FirstDefinition {
			number = p.numbers[ref-journal.FirstDefinition]
		}
		numbers = append(numbers, number)
	}
	return numbers
}

func (p *Partition) reject(r quantize.Refusal) {
	key, _ := p.config.Directory.Key(series.NewID(p.config.Number, r.Series))
	detail := "time " + time.UnixMilli(r.Time).UTC().Format(time.RFC3339Nano)
	if r.Verdict == quantize.TooMany {
		detail += ": the segment has the max_points of the retention rule"
	}
	p.config.Rejects.Add("quantize", r.Verdict.String(), 1, rejects.Sample{Input: key.Format(), Detail: detail})
}

// advance completes segments, once a second of the time it is given: the
// journal's while it is being read, so that a long replay does not pile them up.
func (p *Partition) advance(now int64) {
	if since := now - p.advanced; since >= tickEvery.Milliseconds() || since < 0 { // < 0: a clock was set back
		p.advanced = now
		p.out.Want(p.config.Watched())
		for p.quantizer.Advance(now, &p.out) {
			p.keep()
		}
	}
	p.keep()
}

// keep empties the quantizer's output: into the store, where the order in which the
// journal has them matters, to the subscribers and into the ledger of what was
// refused.
func (p *Partition) keep() {
	p.out.Kept.Deliver(p.config.Store)
	if p.out.Completed.Len() > 0 {
		p.config.Publish(&p.out.Completed)
	}
	for _, r := range p.out.Refused {
		p.reject(r)
	}
	p.out.Reset()
}
