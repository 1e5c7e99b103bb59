package location

import (
	"sync/atomic"

	"carillon/cuckoo"
)

// batchNames is how many names go through the caches together: enough that
// their cache misses overlap, few enough to stay in the first-level cache.
const batchNames = 64

// batch is the names in flight. All arrays are by position in the batch.
type batch struct {
	keys   [batchNames]cuckoo.Key
	values [batchNames]uint64
	found  [batchNames]bool
}

// start looks up to batchNames names up in the table of entries. Those that are
// not looked up as they stand are not found here.
func (d *Directory) start(b *batch, names []string, found []bool) {
	table := d.names.positive.table
	for i, name := range names {
		b.keys[i] = cuckoo.Key{}
		if isPlain(name) {
			b.keys[i] = table.KeyString(name)
		}
	}
	table.GetBatch(b.keys[:len(names)], b.values[:], found)
}

// ResolveIDs resolves many names: ids[i] are those of names[i], and zero if found[i]
// is false. Both must be as long as names. It stops at the first error of the disk;
// a name that cannot be is one that is not there.
func (d *Directory) ResolveIDs(names []string, ids []IDs, found []bool) error {
	var b batch
	for len(names) > 0 {
		n := min(len(names), batchNames)
		if err := d.resolveSome(&b, names[:n], ids[:n], found[:n]); err != nil {
			return err
		}
		names, ids, found = names[n:], ids[n:], found[n:]
	}
	return nil
}

func (d *Directory) resolveSome(b *batch, names []string, ids []IDs, found []bool) error {
	if d.names.positive == nil {
		for i, name := range names {
			if err := d.resolveInto(name, &ids[i], &found[i]); err != nil {
				return err
			}
		}
		return nil
	}
	spell := d.names.whole.Load()
	d.start(b, names, found)
	missed := d.names.misses(spell) && !d.blind.Load() // is absent
	open := 0                                          // names without an answer yet
	var at [batchNames]uint8
	for i, name := range names {
		v, there := value(b.values[i]), found[i] // 0 where nothing was found
		ids[i] = v.ids()
		if found[i] = v.answers(); !found[i] && (there || !missed || !isPlain(name)) {
			at[open] = uint8(i)
			open++
		}
	}
	if open == 0 {
		return nil
	}
	return d.resolveOpen(b, at[:open], names, ids, found)
}

// resolveOpen answers for what the table of entries did not: the absent from their
// cache together, the rest one by one.
func (d *Directory) resolveOpen(b *batch, at []uint8, names []string, ids []IDs, found []bool) error {
	if d.names.negative != nil && !d.blind.Load() {
		for j, i := range at {
			b.keys[j] = b.keys[i] // j <= i
		}
		d.names.negative.GetBatch(b.keys[:len(at)], b.values[:], b.found[:])
	} else {
		clear(b.found[:])
	}
	for j, i := range at {
		if ids[i] = (IDs{}); b.found[j] {
			continue
		}
		if err := d.resolveInto(names[i], &ids[i], &found[i]); err != nil {
			return err
		}
	}
	return nil
}

func (d *Directory) resolveInto(name string, ids *IDs, found *bool) (err error) {
	*ids, *found, err = d.ResolveID(name)
	return err
}

// LookupAll looks many names up. In order, it puts each entry into v and calls each
// with the name's position and the error that Lookup would return.
func (d *Directory) LookupAll(names []string, v *View, each func(i int, err error)) {
	var b batch
	for base := 0; base < len(names); base += batchNames {
		some := names[base:min(base+batchNames, len(names))]
		if d.names.positive != nil {
			// The answers are asked for again below, then from nearer memory.
			d.start(&b, some, b.found[:])
			d.names.positive.fetch(b.values[:len(some)], b.found[:])
		}
		for i, name := range some {
			each(base+i, d.Lookup(name, v))
		}
	}
}

// fetch loads the first lines of the slots that values name, all at once.
func (p *positive) fetch(values []uint64, found []bool) {
	for i, word := range values {
		if found[i] {
			atomic.LoadUint64(&p.slot(value(word))[0])
		}
	}
}
