package measure

import (
	"context"
	"errors"
	"fmt"
	"time"

	"carillon/directory/location"
	"carillon/usage"
)

// turn is how many look-ups of present and of absent names take turns, so that
// both find Pebble's cache as the other left it.
const turn = 50

type uncachedCost struct {
	hit, miss       cost
	diskBytes       float64
	blockCacheBytes float64
}

// measureUncached reads through to Pebble each time.
func measureUncached(ctx context.Context, c Config, p *population) (u uncachedCost, err error) {
	d, err := open(c, location.Caches{}, c.Scale.BlockCacheBytes)
	if err != nil {
		return u, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	u.diskBytes, u.blockCacheBytes = float64(d.Stats().DiskBytes), float64(c.Scale.BlockCacheBytes)
	if u.diskBytes < 4*u.blockCacheBytes {
		return u, fmt.Errorf("%.0f bytes of files and %.0f of block cache: most reads would be of memory; take more entries", u.diskBytes, u.blockCacheBytes)
	}
	turns := c.Scale.Uncached / turn
	at := 0
	for round := range c.Scale.Rounds + 1 { // the first one only fills the block cache
		var hit, miss time.Duration
		var wrong int
		for range turns {
			hit += timed(&wrong, func() int { return resolve(d, p.present.part(at, turn)) })
			miss += timed(&wrong, func() int { return resolve(d, p.absent.part(at, turn)) })
			at += turn
		}
		if err := errors.Join(expect(wrong, "without caches"), ctx.Err()); err != nil {
			return u, err
		}
		if round > 0 {
			u.hit.add(hit, turns*turn)
			u.miss.add(miss, turns*turn)
		}
		c.Progress("look up without caches", uint64(round), uint64(c.Scale.Rounds))
	}
	return u, nil
}

// timed adds what ask finds wrong, and tells how long it took.
func timed(wrong *int, ask func() int) time.Duration {
	began := usage.Thread()
	*wrong += ask()
	return usage.Thread() - began
}

// resolve asks one by one and counts wrong answers. Whether the directory answers
// from its caches is nothing it knows of.
func resolve(d *location.Directory, q questions) (wrong int) {
	rest := string(q.names)
	for _, want := range q.want {
		ids, found, err := d.ResolveID(rest[:nameBytes])
		rest = rest[nameBytes:]
		if ids.RW != want || found != (want != 0) || err != nil {
			wrong++
		}
	}
	return wrong
}
