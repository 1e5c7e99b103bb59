package partition

import (
	"context"
	"fmt"

	"carillon/bucket"
	"carillon/series"
	"carillon/store"
)

// viewRequest asks the loop for a view of some series.
type viewRequest struct {
	numbers []uint32
	atLeast uint64 // journal sequence that must be applied first
	reply   chan<- *store.View
	ctx     context.Context // of the asker: nobody waits for the reply after its end
}

// view is a consistent picture of some series that holds everything this process
// had acknowledged when it was called. The caller closes it.
func (p *Partition) view(ctx context.Context, numbers []uint32) (*store.View, error) {
	reply := make(chan *store.View)
	request := viewRequest{
		numbers: numbers,
		atLeast: p.config.Journal.Acknowledged(p.config.Number),
		reply:   reply,
		ctx:     ctx,
	}
	select {
	case p.views <- request:
	case <-p.stopped:
		return nil, p.errStopped()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case v := <-reply:
		return v, nil
	case <-p.stopped:
		return nil, p.errStopped()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *Partition) errStopped() error { return fmt.Errorf("%s has stopped", p.id) }

// answerViews serves the requests that need wait for nothing more.
func (p *Partition) answerViews() {
	later := p.waiting[:0]
	for _, r := range p.waiting {
		if r.atLeast > p.applied && r.ctx.Err() == nil {
			later = append(later, r)
			continue
		}
		v := p.config.Store.View(r.numbers, func(number uint32) (bucket.Bucket, bool) {
			return p.quantizer.Open(number)
		})
		select {
		case r.reply <- v:
		case <-r.ctx.Done():
			v.Close()
		}
	}
	clear(p.waiting[len(later):])
	p.waiting = later
}

// viewSeries is how many series one view covers: it bounds what the loop copies
// between two journal messages.
const viewSeries = 1024

// read calls visit for the series that have buckets at the tier in [from, to].
func (p *Partition) read(ctx context.Context, numbers []uint32, tier int, from, to int64, visit func(series.ID, []bucket.Bucket) error) error {
	var buckets []bucket.Bucket
	for len(numbers) > 0 {
		chunk := numbers[:min(len(numbers), viewSeries)]
		numbers = numbers[len(chunk):]
		v, err := p.view(ctx, chunk)
		if err != nil {
			return err
		}
		for _, number := range chunk {
			if err = ctx.Err(); err != nil {
				break
			}
			if buckets, err = v.Read(number, tier, from, to, buckets[:0]); err != nil {
				break
			}
			if len(buckets) == 0 {
				continue
			}
			if err = visit(series.NewID(p.config.Number, number), buckets); err != nil {
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
