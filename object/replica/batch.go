package replica

import (
	"bytes"
	"context"
	"sync"

	"carillon/object"
	"carillon/object/clock"
)

// ContentPut is a Put on a node of a content in memory, that the node is not to forward.
type ContentPut struct {
	Name    string
	Content []byte
	Write   Write
}

// PutResult is what Put returns.
type PutResult struct {
	Receipt Receipt
	Err     error
}

// PutBatch is Put of each. Plain writes go to the store at once, if it takes many.
func (m *Member) PutBatch(ctx context.Context, puts []ContentPut) []PutResult {
	results := make([]PutResult, len(puts))
	store, batches := m.config.Store.(object.Batcher)
	var together []object.ContentPut
	var at []int // where in puts they are
	var alone sync.WaitGroup
	for i := range puts {
		put := &puts[i]
		if !batches || clock.Guarded(put.Write.Version) {
			alone.Go(func() {
				results[i].Receipt, results[i].Err = m.Put(ctx, put.Name, bytes.NewReader(put.Content), put.Write)
			})
			continue
		}
		if err := m.admits(ctx, put.Name, put.Write); err != nil {
			results[i].Err = err
			continue
		}
		w := &put.Write
		together = append(together, object.ContentPut{Name: put.Name, Content: put.Content, Put: object.Put{
			Version: w.Version, Size: w.Size, Sum: w.Sum, If: w.If, Repair: w.Repair,
		}})
		at = append(at, i)
	}
	if len(together) > 0 {
		for i, r := range store.PutBatch(ctx, together) {
			results[at[i]] = m.acknowledge(r, puts[at[i]].Write.Epoch)
		}
	}
	alone.Wait()
	return results
}

// acknowledge answers a plain write that was made, unless the epoch has risen meanwhile.
func (m *Member) acknowledge(r object.PutResult, epoch uint64) PutResult {
	if r.Err != nil {
		return PutResult{Err: r.Err}
	}
	if err := m.still(epoch, func() error { return nil }); err != nil {
		return PutResult{Err: err}
	}
	return PutResult{Receipt: Receipt{Info: r.Info, Acked: []string{m.config.Name}}}
}
