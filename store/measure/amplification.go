package measure

import (
	"context"
	"fmt"

	"carillon/figure"
)

// amplification is how often a byte is written, with all tiers, from its seal until nothing is
// due to be merged, over the bytes that there are then. Nothing of it is out of retention.
func (r *run) amplification(ctx context.Context) (_ []figure.Figure, err error) {
	p := r.Scale.Amplification
	s, closeStore, err := r.openOne("amplification", unsynced{})
	if err != nil {
		return nil, err
	}
	defer closeStore(&err)
	if err := r.fill(ctx, s, mix{seed: r.Seed, start: beginning}, p, "days into a store"); err != nil {
		return nil, err
	}
	w, bytes := s.Written(), s.Bytes()
	share := func(n int64) float64 { return float64(n) / float64(bytes) }
	return []figure.Figure{{
		ID: "store.write_amplification", Value: share(w.Sealed + w.Rolled + w.Merged), Unit: ratio, Better: figure.Lower, Goal: 3, Floor: 5,
		Note: fmt.Sprintf("%.2f sealed, %.2f rolled up, %.2f merged; %s, a seal every %d of them", share(w.Sealed), share(w.Rolled), share(w.Merged), p, sealPoints),
	}}, nil
}
