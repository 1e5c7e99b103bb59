package measure

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"path/filepath"

	"carillon/directory/location"
)

const (
	servers   = 8
	sitesEach = 2 // of an entry

	// created is the time of all changes, in milliseconds; none depends on it.
	created = 1_700_000_000_000

	// fullest is how full the caches may get. A little more is possible, but then
	// some of what is put in pushes other entries out.
	fullest = 0.96

	// createCacheBytes is Pebble's cache an entry while it is created: room for all
	// filters of the database, or each random name would read some from disk.
	createCacheBytes = 64
)

func open(c Config, caches location.Caches, blockCacheBytes int64) (*location.Directory, error) {
	return location.Open(location.Config{
		Dir:             filepath.Join(c.Dir, "directory"),
		Logger:          c.Logger,
		Caches:          caches,
		BlockCacheBytes: blockCacheBytes,
	})
}

// cacheBits is the size of a cache in which so many entries have a place.
func cacheBits(entries int) int {
	n := max(bits.Len(uint(entries-1)), 6)
	if float64(entries) > fullest*float64(uint64(1)<<n) {
		n++
	}
	return n
}

// create makes the directory, of all names in the population.
func create(ctx context.Context, c Config, p *population) (err error) {
	d, err := open(c, location.Caches{}, int64(createCacheBytes*p.created.len()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	changes := make([]location.Numbered, 0, location.MaxChanges)
	for i := range servers {
		changes = append(changes, numbered(d, i, location.Change{Op: location.RegisterServer, Name: serverName(i)}))
	}
	if err := apply(d, changes); err != nil {
		return err
	}
	for from := 0; from < p.created.len(); from += location.MaxChanges {
		if err := ctx.Err(); err != nil {
			return err
		}
		changes = changes[:0]
		for i := from; i < min(from+location.MaxChanges, p.created.len()); i++ {
			changes = append(changes, numbered(d, i-from, location.Change{Op: location.Create, Entry: entry(p, i)}))
		}
		if err := apply(d, changes); err != nil {
			return err
		}
		c.Progress("create entries", uint64(from+len(changes)), uint64(p.created.len()))
	}
	return nil
}

func entry(p *population, i int) location.Entry {
	e := location.Entry{Name: p.created.at(i), IDs: location.IDs{RW: idOf(i)}}
	for j := range sitesEach {
		e.Sites = append(e.Sites, location.Site{Server: serverName((i + j) % servers), Partition: uint32(i % 26)})
	}
	return e
}

func serverName(i int) string { return fmt.Sprintf("server%d", i) }

// numbered is the change at offset i after the last revision applied.
func numbered(d *location.Directory, i int, change location.Change) location.Numbered {
	change.Time = created
	return location.Numbered{Revision: d.Revision() + uint64(i) + 1, Change: change}
}

func apply(d *location.Directory, changes []location.Numbered) error {
	results, err := d.ApplyAll(changes)
	if err != nil {
		return err
	}
	for _, r := range results {
		if r.Err != nil {
			return fmt.Errorf("revision %d: %w", r.Revision, r.Err)
		}
	}
	return nil
}

// expect makes an error of wrong answers.
func expect(wrong int, what string) error {
	if wrong == 0 {
		return nil
	}
	return fmt.Errorf("%s: %d look-ups: %w", what, wrong, ErrWrongAnswer)
}
