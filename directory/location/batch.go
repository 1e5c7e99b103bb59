package location

import (
	"errors"
	"sync/atomic"

	"carillon/cuckoo"
)

// batchNames is how many names go through the caches together: enough that
// their cache misses overlap, few enough to stay in the first-level cache.
const batchNames = 64

// batch is the names in flight. All arrays are by position in the batch.
type batch struct {
	queries [batchNames]query
	keys    [batchNames]cuckoo.Key
	values  [batchNames]uint64
	found   [batchNames]bool
	touched uint64 // sum of what touch loaded, so that it does load
}

// start looks up to batchNames names up in the table. Queries by id have another
// table, are looked up one by one, and are not found here.
func (d *Directory) start(b *batch, names []string) {
	table := d.names.positive.table
	for i, name := range names {
		q := parseQuery(name)
		b.queries[i] = q
		b.keys[i] = cuckoo.Key{}
		if !q.byID() {
			b.keys[i] = table.KeyString(q.name)
		}
	}
	n := len(names)
	table.GetBatch(b.keys[:n], b.values[:n], b.found[:n])
}

// touch loads the first line of the first n names' slots, all at once. If only ids
// are wanted that is of those whose ids are not in the value.
func (b *batch) touch(p *positive, n int, idsOnly bool) {
	for i := range n {
		v := value(b.values[i])
		if _, known := v.ids(); b.found[i] && !(idsOnly && known) {
			b.touched += atomic.LoadUint64(&p.slot(v)[0])
		}
	}
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
			if err := resolveInto(d, parseQuery(name), &ids[i], &found[i]); err != nil {
				return err
			}
		}
		return nil
	}
	d.start(b, names)
	b.touch(d.names.positive, len(names), true)
	missing := 0
	for i := range names {
		found[i] = false
		if b.found[i] {
			if kinds, verdict := d.names.positive.idsOf(value(b.values[i]), b.queries[i]); verdict == hit {
				ids[i], found[i] = idsOf(kinds), true
				continue
			}
		}
		missing++
	}
	if missing == 0 {
		return nil
	}
	return d.resolveMissing(b, ids, found)
}

// resolveMissing answers for what the batch did not find: the absent from their
// cache together, the rest one by one.
func (d *Directory) resolveMissing(b *batch, ids []IDs, found []bool) error {
	var (
		at     [batchNames]uint8
		keys   [batchNames]cuckoo.Key
		values [batchNames]uint64
		absent [batchNames]bool
		n      int
	)
	for i := range found {
		if !found[i] {
			at[n], keys[n] = uint8(i), b.keys[i]
			n++
		}
	}
	if d.names.negative != nil && !d.blind.Load() {
		d.names.negative.GetBatch(keys[:n], values[:n], absent[:n])
	}
	for j := range n {
		i := at[j]
		if q := b.queries[i]; absent[j] && !q.byID() {
			ids[i] = IDs{}
		} else if err := resolveInto(d, q, &ids[i], &found[i]); err != nil {
			return err
		}
	}
	return nil
}

func resolveInto(d *Directory, q query, ids *IDs, found *bool) (err error) {
	*ids, err = d.resolve(q)
	*found = err == nil
	return ignoreAbsence(err)
}

func ignoreAbsence(err error) error {
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrBadName) {
		return nil
	}
	return err
}

// LookupAll looks many names up. In order, it puts each entry into v and calls each
// with the name's position and the error that Lookup would return.
func (d *Directory) LookupAll(names []string, v *View, each func(i int, err error)) {
	var (
		b    batch
		base int
	)
	for base < len(names) {
		n := min(len(names)-base, batchNames)
		if d.names.positive != nil {
			d.start(&b, names[base:base+n])
			b.touch(d.names.positive, n, false)
		}
		for i := range n {
			each(base+i, d.finish(&b, i, names[base+i], v))
		}
		base += n
	}
}

// finish completes the look-up of one name of a started batch.
func (d *Directory) finish(b *batch, i int, name string, view *View) error {
	if b.found[i] {
		var words [largeWords]uint64
		v := value(b.values[i])
		if v&isStale == 0 && read(d.names.positive.slot(v), b.queries[i], &words) {
			unpack(&words, &view.record)
			view.servers = d.servers.Load()
			return nil
		}
	}
	return d.Lookup(name, view)
}
