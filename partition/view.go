package partition

import (
	"context"
	"fmt"
	"slices"

	"carillon/bucket"
	"carillon/series"
	"carillon/store"
)

// viewRequest asks the loop for a view of some series.
type viewRequest struct {
	numbers []uint32
	reply   chan<- *store.View // capacity 1
}

// waiter waits until a journal sequence is applied.
type waiter struct {
	sequence uint64
	done     chan<- struct{} // closed then
}

// view is a consistent picture of some series. The caller closes it.
func (p *Partition) view(ctx context.Context, numbers []uint32) (*store.View, error) {
	reply := make(chan *store.View, 1)
	select {
	case p.views <- viewRequest{numbers, reply}:
	case <-p.stopped:
		return nil, p.errStopped()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case v := <-reply:
		return v, nil
	case <-p.stopped: // it may have answered before
		select {
		case v := <-reply:
			return v, nil
		default:
			return nil, p.errStopped()
		}
	}
}

// settle returns when everything this process had acknowledged before the call
// can be read.
func (p *Partition) settle(ctx context.Context) error {
	acknowledged := p.config.Journal.Acknowledged()
	if p.position.Load().sequence >= acknowledged {
		return nil
	}
	done := make(chan struct{})
	select {
	case p.waits <- waiter{acknowledged, done}:
	case <-p.stopped:
		return p.errStopped()
	case <-ctx.Done():
		return ctx.Err()
	}
	return p.await(ctx, done)
}

// await waits for the loop to close done.
func (p *Partition) await(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-p.stopped:
		return p.errStopped()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *Partition) errStopped() error { return fmt.Errorf("%s has stopped", p.id) }

func (p *Partition) answer(r viewRequest) {
	r.reply <- p.config.Store.View(r.numbers, p.quantizer.Open)
}

// wake tells those who wait for what is applied by now.
func (p *Partition) wake() {
	p.waiting = slices.DeleteFunc(p.waiting, func(w waiter) bool {
		if w.sequence > p.applied {
			return false
		}
		close(w.done)
		return true
	})
}

// viewSeries is how many series one view covers: it bounds what the loop copies
// between two journal messages.
const viewSeries = 1024

// reading is a way to read one series' buckets: store.View's Read, or ReadSums.
type reading func(v *store.View, number uint32, tier int, from, to int64, dst []bucket.Bucket) ([]bucket.Bucket, error)

// read calls visit for the series that have buckets at the tier in [from, to].
func (p *Partition) read(ctx context.Context, numbers []uint32, tier int, from, to int64, read reading, visit func(series.ID, []bucket.Bucket) error) error {
	m := p.memory()
	defer p.memories.Put(m)
	return p.each(ctx, numbers, func(v *store.View, number uint32) (err error) {
		if m.buckets, err = read(v, number, tier, from, to, m.buckets[:0]); err != nil || len(m.buckets) == 0 {
			return err
		}
		return visit(series.NewID(p.config.Number, number), m.buckets)
	})
}

// scan is read in pieces, where series that have nothing but samples are shown as these,
// unless samples is nil.
func (p *Partition) scan(ctx context.Context, numbers []uint32, tier int, from, to int64, samples func(id series.ID, times []int64, values []float64) error,
	visit func(series.ID, []bucket.Bucket) error) error {
	m := p.memory()
	defer p.memories.Put(m)
	return p.each(ctx, numbers, func(v *store.View, number uint32) (err error) {
		id := series.NewID(p.config.Number, number)
		if tier == 0 && samples != nil {
			var ok bool
			if m.times, m.values, ok, err = v.Samples(number, from, to, m.times[:0], m.values[:0]); err != nil || ok && len(m.times) == 0 {
				return err
			}
			if ok {
				return samples(id, m.times, m.values)
			}
		}
		return v.Scan(number, tier, from, to, func(buckets []bucket.Bucket) error { return visit(id, buckets) })
	})
}

// memory is for what is read of one series, kept from one query for the next.
type memory struct {
	times   []int64
	values  []float64
	buckets []bucket.Bucket
}

func (p *Partition) memory() *memory {
	if m, ok := p.memories.Get().(*memory); ok {
		return m
	}
	return &memory{}
}

// each calls visit for series, with a view that has them.
func (p *Partition) each(ctx context.Context, numbers []uint32, visit func(*store.View, uint32) error) error {
	for chunk := range slices.Chunk(numbers, viewSeries) {
		v, err := p.view(ctx, chunk)
		if err != nil {
			return err
		}
		for _, number := range chunk {
			if err = ctx.Err(); err != nil {
				break
			}
			if err = visit(v, number); err != nil {
				break
			}
		}
		v.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
