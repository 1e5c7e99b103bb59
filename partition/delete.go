package partition

import (
	"context"

	"golang.org/x/sync/errgroup"

	"carillon/series"
	"carillon/store"
)

// forgetRequest tells the loop what the store has deleted.
type forgetRequest struct {
	store.Deletion
	done chan<- struct{} // closed when the quantizer has forgotten it
}

// Delete takes away what was acknowledged before the call of some series in [from,
// to], milliseconds, both included. When it returns without an error nothing of it
// is seen any more, and it stays so over a crash; what is acknowledged afterwards is
// kept, of whatever time. After an error some partitions may have deleted their
// share: it does no harm to call again.
func (s *Set) Delete(ctx context.Context, ids []series.ID, from, to int64) error {
	numbers := make([][]uint32, len(s.partitions))
	for _, id := range ids {
		numbers[id.Partition()] = append(numbers[id.Partition()], id.Number())
	}
	group, ctx := errgroup.WithContext(ctx)
	for i, p := range s.partitions {
		if len(numbers[i]) > 0 {
			group.Go(func() error { return p.delete(ctx, store.Deletion{Numbers: numbers[i], From: from, To: to}) })
		}
	}
	return group.Wait()
}

// delete seals, for a deletion is of what is in files; see store.Deletion.
func (p *Partition) delete(ctx context.Context, d store.Deletion) error {
	if err := p.Seal(ctx); err != nil {
		return err
	}
	if err := p.config.Store.Delete(d); err != nil {
		return err
	}
	done := make(chan struct{})
	select {
	case p.forgets <- forgetRequest{d, done}:
	case <-p.stopped:
		return p.errStopped()
	case <-ctx.Done():
		return ctx.Err()
	}
	return p.await(ctx, done)
}

func (p *Partition) forget(r forgetRequest) {
	for _, number := range r.Numbers {
		p.quantizer.Forget(number, r.From, r.To)
	}
	close(r.done)
}
