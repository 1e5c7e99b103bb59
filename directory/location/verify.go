package location

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Verify reads every record, each of which has a checksum, and holds them against
// each other: each id and site of an entry has its record, there are no others, and
// there are as many entries as the state says. It calls wrong with each thing that is
// not so, and returns how many entries there are. An error means that the disk could
// not be read.
func (d *Directory) Verify(wrong func(error)) (entries uint64, err error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if err := d.ready(); err != nil {
		return 0, err
	}
	snapshot := d.db.NewSnapshot()
	v := verifier{snapshot: snapshot, wrong: wrong, servers: d.servers.Load()}
	if err := errors.Join(v.run(), snapshot.Close()); err != nil {
		return v.entries, fmt.Errorf("verify the location directory: %w", err)
	}
	return v.entries, nil
}

type verifier struct {
	snapshot *pebble.Snapshot
	wrong    func(error)
	servers  *servers

	record              record
	entries, ids, sites uint64 // of entries
}

func (v *verifier) run() error {
	if err := v.scan(nameSpace, v.entry); err != nil {
		return err
	}
	var ids, sites uint64
	err := v.scan(idSpace, func(key, value []byte) error {
		ids++
		if _, _, err := decodeID(key, value); err != nil {
			v.wrong(fmt.Errorf("record of id %d: %w", idOfKey(key), err))
		}
		return nil
	})
	if err == nil {
		err = v.scan(siteSpace, func([]byte, []byte) error { sites++; return nil })
	}
	if err != nil {
		return err
	}
	if ids != v.ids {
		v.wrong(fmt.Errorf("%d records of ids, but entries have %d", ids, v.ids))
	}
	if sites != v.sites {
		v.wrong(fmt.Errorf("%d records of sites, but entries have %d", sites, v.sites))
	}
	return v.state()
}

func (v *verifier) state() error {
	value, closer, err := v.snapshot.Get([]byte{stateSpace})
	if err != nil {
		return err
	}
	defer closer.Close()
	s, err := decodeState(value)
	if err != nil {
		v.wrong(fmt.Errorf("state record: %w", err))
	} else if s.entries != v.entries {
		v.wrong(fmt.Errorf("%d entries, but the state record says %d", v.entries, s.entries))
	}
	return nil
}

func (v *verifier) scan(space byte, visit func(key, value []byte) error) error {
	iter, err := v.snapshot.NewIter(spaceBounds(space))
	if err != nil {
		return err
	}
	for valid := iter.First(); valid && err == nil; valid = iter.Next() {
		var value []byte
		if value, err = iter.ValueAndErr(); err == nil {
			err = visit(iter.Key(), value)
		}
	}
	return errors.Join(err, iter.Error(), iter.Close())
}

// entry checks an entry, and that its ids and sites lead back to it.
func (v *verifier) entry(key, value []byte) error {
	v.entries++
	r := &v.record
	if err := decodeEntry(key, value, r); err != nil {
		v.wrong(fmt.Errorf("entry %.80q: %w", key[1:], err))
		return nil
	}
	for kind, id := range r.ids {
		if id == 0 {
			continue
		}
		v.ids++
		found, closer, err := v.snapshot.Get(idKey(nil, id))
		if errors.Is(err, pebble.ErrNotFound) {
			v.wrong(fmt.Errorf("entry %s: id %d has no record", r.name.view(), id))
			continue
		}
		if err != nil {
			return err
		}
		of, name, err := decodeID(idKey(nil, id), found)
		if err == nil && (of != kind || string(name) != r.name.String()) {
			v.wrong(fmt.Errorf("entry %s: id %d is of %.80q", r.name.view(), id, name))
		}
		if err := closer.Close(); err != nil {
			return err
		}
	}
	return v.places()
}

func (v *verifier) places() error {
	r := &v.record
	for i, p := range r.places() {
		if int(p.server) >= len(v.servers.list) {
			v.wrong(fmt.Errorf("entry %s: there is no server %d", r.name.view(), p.server))
		}
		if repeated(r.places()[:i], p) {
			continue
		}
		v.sites++
		_, closer, err := v.snapshot.Get(siteKey(nil, p, r.name.view()))
		if errors.Is(err, pebble.ErrNotFound) {
			v.wrong(fmt.Errorf("entry %s: its site on server %d, partition %d has no record", r.name.view(), p.server, p.partition))
			continue
		}
		if err != nil {
			return err
		}
		if err := closer.Close(); err != nil {
			return err
		}
	}
	return nil
}

// repeated tells whether one of the places is the same partition of the same server:
// two sites of an entry there share a record.
func repeated(places []place, p place) bool {
	for _, other := range places {
		if other.server == p.server && other.partition == p.partition {
			return true
		}
	}
	return false
}
