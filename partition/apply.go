package partition

import (
	"time"

	"carillon/journal"
	"carillon/quantize"
	"carillon/rejects"
	"carillon/series"
)

// applyPart numbers the series that a part defines and aligns its points.
func (p *Partition) applyPart(now int64, part *journal.Part) error {
	if err := p.define(part); err != nil {
		return err
	}
	for i, ref := range part.Refs {
		point := quantize.Point{Series: p.resolve(ref), Time: part.Times[i], Value: part.Values[i]}
		if verdict := p.quantizer.Add(now, point, &p.out); verdict.Refused() {
			p.reject(verdict, point.Series, point.Time)
		}
	}
	for i, ref := range part.AggregateRefs {
		b := &part.Aggregates[i]
		if verdict := p.quantizer.AddAggregate(now, p.resolve(ref), b, &p.out); verdict.Refused() {
			p.reject(verdict, p.resolve(ref), b.LastTime)
		}
	}
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

func (p *Partition) resolve(ref journal.Ref) uint32 {
	if ref >= journal.FirstDefinition {
		return p.numbers[ref-journal.FirstDefinition]
	}
	return uint32(ref)
}

func (p *Partition) reject(verdict quantize.Verdict, number uint32, at int64) {
	key, _ := p.config.Directory.Key(series.NewID(p.config.Number, number))
	p.config.Rejects.Add("quantize", verdict.String(), 1, rejects.Sample{
		Input:  key.Format(),
		Detail: "time " + time.UnixMilli(at).UTC().Format(time.RFC3339Nano),
	})
}

// advance completes segments, once a second of the time it is given: the
// journal's while it is being read, so that a long replay does not pile them up.
func (p *Partition) advance(now int64) {
	if since := now - p.advanced; since >= tickEvery.Milliseconds() || since < 0 { // < 0: a clock was set back
		p.advanced = now
		p.quantizer.Advance(now, &p.out)
	}
	p.keep()
}

// keep empties the quantizer's output into the store and to the subscribers.
func (p *Partition) keep() {
	if len(p.out.Kept) > 0 && p.headSince.IsZero() {
		p.headSince = p.config.Now()
	}
	for i := range p.out.Kept {
		p.config.Store.Add(p.out.Kept[i].Series, &p.out.Kept[i].Bucket)
	}
	if len(p.out.Completed) > 0 {
		p.config.Publish(p.out.Completed)
	}
	p.out.Reset()
}
