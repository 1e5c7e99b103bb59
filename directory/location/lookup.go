package location

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"carillon/cuckoo"
)

// Lookup puts the entry of that name into v. A name of digits only is an id; the
// suffixes .readonly and .backup are stripped. It returns ErrNotFound itself if
// there is none, wraps ErrBadName if there can be none, ErrStopped and ErrClosed;
// v is then undefined. A hit in a cache does not allocate.
func (d *Directory) Lookup(name string, v *View) error { return d.lookup(parseQuery(name), v) }

// LookupID puts the entry that has the id, of whichever kind, into v. Errors are
// those of Lookup.
func (d *Directory) LookupID(id uint64, v *View) error { return d.lookup(query{id: id}, v) }

// Get is Lookup into memory of its own.
func (d *Directory) Get(name string) (Entry, error) { return d.get(parseQuery(name)) }

// GetByID is LookupID into memory of its own.
func (d *Directory) GetByID(id uint64) (Entry, error) { return d.get(query{id: id}) }

func (d *Directory) get(q query) (Entry, error) {
	var v View
	if err := d.lookup(q, &v); err != nil {
		return Entry{}, err
	}
	return v.Entry(), nil
}

// space is where entries are found under such a query.
func (d *Directory) space(q query) *space {
	if q.byID() {
		return d.ids
	}
	return d.names
}

func (d *Directory) lookup(q query, v *View) error {
	s := d.space(q)
	if s.positive == nil {
		return d.readThrough(s, cuckoo.Key{}, q, v)
	}
	spell, key := s.whole.Load(), s.key(q)
	var words [largeWords]uint64
	switch s.positive.find(key, q, &words) {
	case hit:
		unpack(&words, &v.record)
		// After the record: every server that it can name is in this table.
		v.servers = d.servers.Load()
		return nil
	case outdated:
		s.dropStale(key)
	case miss:
		if d.knownAbsent(s, key) || s.misses(spell) && !d.blind.Load() && checkQuery(q.name) == nil {
			return ErrNotFound
		}
	}
	return d.readThrough(s, key, q, v)
}

// ResolveID is Lookup for the ids alone, which is faster. Without an entry it is
// false and no error, also if there can be none. What it does nearly always is
// written out: a look-up waits for memory, and how many of them wait at the same
// time is how few instructions each of them has.
func (d *Directory) ResolveID(name string) (ids IDs, found bool, err error) {
	s := d.names
	if s.positive == nil {
		return d.resolve(name)
	}
	spell := s.whole.Load()
	key := s.positive.table.KeyString(name)
	if word, ok := s.positive.table.Peek(key); ok {
		// No entry has a name that is not looked up as it stands.
		if v := value(word); v.answers() {
			return v.ids(), true, nil
		}
	} else if isPlain(name) && !d.blind.Load() {
		if s.misses(spell) {
			return IDs{}, false, nil
		}
		if s.negative != nil {
			if _, absent := s.negative.Peek(key); absent {
				return IDs{}, false, nil
			}
		}
	}
	return d.resolve(name)
}

func (d *Directory) resolve(name string) (ids IDs, found bool, err error) {
	var v View
	switch err := d.Lookup(name, &v); {
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrBadName):
		return IDs{}, false, nil
	case err != nil:
		return IDs{}, false, err
	}
	return v.IDs(), true, nil
}

func (d *Directory) knownAbsent(s *space, key cuckoo.Key) bool {
	if s.negative == nil || d.blind.Load() {
		return false
	}
	_, ok := s.negative.Get(key)
	return ok
}

// readThrough reads the entry from disk and caches what it found. A change that is
// just being committed may be seen already: the feed holds it, so that nothing can
// undo it.
func (d *Directory) readThrough(s *space, key cuckoo.Key, q query, v *View) error {
	count := &d.operations.names
	if q.byID() {
		count = &d.operations.ids
	} else if err := checkQuery(q.name); err != nil {
		count.bad.Add(1)
		return fmt.Errorf("%w: %w", ErrBadName, err)
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	if err := d.ready(); err != nil {
		count.failed.Add(1)
		return err
	}
	began := d.revision.Load() // before the read: see space
	err := readRecord(d.db, q, &v.record)
	if err != nil && !errors.Is(err, ErrNotFound) {
		count.failed.Add(1)
		return fmt.Errorf("look up %s: %w", q, err)
	}
	if d.beforeFill != nil {
		d.beforeFill()
	}
	found := &v.record
	if err != nil {
		found = nil
		count.absent.Add(1)
	} else {
		v.servers = d.servers.Load()
		count.found.Add(1)
	}
	if s.positive != nil {
		s.fill(key, began, found)
	}
	return err
}

// consistencyTries bounds how often an id is followed to an entry that a change
// took from under it.
const consistencyTries = 16

// readRecord finds a record in the database, or in a batch over it. The error is
// ErrNotFound itself where there is none.
func readRecord(db pebble.Reader, q query, r *record) error {
	if !q.byID() {
		return readName(db, []byte(q.name), r)
	}
	if q.id == 0 {
		return ErrNotFound
	}
	// Two reads, and a change may come between them. The entry itself decides: if
	// it has the id it is the answer, and if not the id has moved on.
	for range consistencyTries {
		name, err := readID(db, q.id)
		if err != nil {
			return err
		}
		err = readName(db, name, r)
		if err == nil && r.has(q.id) {
			return nil
		}
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return fmt.Errorf("the index says id %d is an entry's that does not have it", q.id)
}

func readName(db pebble.Reader, name []byte, r *record) error {
	key := nameKey(make([]byte, 0, 1+MaxName), name)
	value, closer, err := db.Get(key)
	if err != nil {
		return notFound(err)
	}
	if err := errors.Join(decodeEntry(key, value, r), closer.Close()); err != nil {
		return fmt.Errorf("record of %q: %w", name, err)
	}
	return nil
}

func readID(db pebble.Reader, id uint64) ([]byte, error) {
	key := idKey(make([]byte, 0, 9), id)
	value, closer, err := db.Get(key)
	if err != nil {
		return nil, notFound(err)
	}
	_, name, err := decodeID(key, value)
	name = append([]byte(nil), name...)
	if err := errors.Join(err, closer.Close()); err != nil {
		return nil, fmt.Errorf("record of id %d: %w", id, err)
	}
	return name, nil
}

func notFound(err error) error {
	if errors.Is(err, pebble.ErrNotFound) {
		return ErrNotFound
	}
	return err
}
