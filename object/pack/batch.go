package pack

import (
	"bytes"
	"context"
	"fmt"

	"carillon/object"
	"carillon/object/backend"
)

var _ object.Batcher = (*Store)(nil)

// PutBatch implements object.Batcher. What comes together is appended and synced together.
func (s *Store) PutBatch(ctx context.Context, puts []object.ContentPut) []object.PutResult {
	results := make([]object.PutResult, len(puts))
	if err := s.life.BeginWrite(); err != nil {
		for i := range results {
			results[i].Err = fmt.Errorf("put %q: %w", puts[i].Name, err)
		}
		return results
	}
	defer s.life.Done()
	var writes []*write
	var at []int // where in puts they are
	for i := range puts {
		put := &puts[i]
		if len(put.Content) > maxInline {
			put.Size = int64(len(put.Content))
			results[i].Info, results[i].Err = s.Put(ctx, put.Name, bytes.NewReader(put.Content), put.Put)
			continue
		}
		info, err := backend.Weigh(put)
		if err != nil {
			results[i].Err = err
			continue
		}
		writes = append(writes, &write{info: info, content: put.Content, condition: put.If, repair: put.Repair})
		at = append(at, i)
	}
	s.add(writes...)
	for i, w := range writes {
		if err := w.wait(); err != nil {
			results[at[i]].Err = fmt.Errorf("write %q: %w", w.info.Name, err)
			continue
		}
		results[at[i]].Info = w.info
	}
	return results
}
