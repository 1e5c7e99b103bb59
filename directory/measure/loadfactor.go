package measure

import (
	"context"
	"errors"
	"math/rand/v2"

	"carillon/cuckoo"
)

type loadResult struct {
	lowest, mean float64 // of 1
	seeds, slots int
}

// loadFactor fills tables of four slots a bucket with random keys until the first
// one is refused.
func loadFactor(ctx context.Context, c Config) (loadResult, error) {
	r := loadResult{lowest: 1, seeds: c.Scale.LoadSeeds, slots: 1 << c.Scale.LoadBits}
	for i := range r.seeds {
		if err := ctx.Err(); err != nil {
			return r, err
		}
		load, err := fillUntilRefused(cuckoo.Config{Bits: c.Scale.LoadBits, Slots: 4, Seed: c.Seed + uint64(i)})
		if err != nil {
			return r, err
		}
		r.lowest = min(r.lowest, load)
		r.mean += load / float64(r.seeds)
		c.Progress("fill tables until they refuse", uint64(i+1), uint64(r.seeds))
	}
	return r, nil
}

func fillUntilRefused(config cuckoo.Config) (load float64, err error) {
	words, err := cuckoo.Words(config)
	if err != nil {
		return 0, err
	}
	table, err := cuckoo.New(make([]uint64, words), config)
	if err != nil {
		return 0, err
	}
	random := rand.New(rand.NewPCG(config.Seed, 2))
	for {
		err := table.Insert(table.KeyUint64(random.Uint64()), 1)
		if errors.Is(err, cuckoo.ErrFull) {
			return table.Stats().Load, nil
		}
		if err != nil {
			return 0, err
		}
	}
}
