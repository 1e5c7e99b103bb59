package location

import (
	"errors"
	"math"

	"github.com/cockroachdb/pebble/v2"
)

// apply decides one change and writes it into the batch. The error is a refusal, or
// one of reading the disk.
func (t *transaction) apply(c *Change) (Result, error) {
	if c.Time < 0 {
		return Result{}, refuse(ErrBadChange, "time %d is before 1970", c.Time)
	}
	switch c.Op {
	case Create:
		return t.create(c)
	case Replace, Update:
		return t.change(c)
	case Delete:
		return t.delete(c)
	case NewID:
		return t.newID(c)
	case TakeLock, ReleaseLock:
		return t.lock(c)
	case RegisterServer:
		return t.register(c)
	case UnregisterServer:
		return t.unregister(c)
	}
	return Result{}, refuse(ErrBadChange, "operation %d does not exist", uint8(c.Op))
}

// done writes the entry and answers with it.
func (t *transaction) done(c *Change, before, after *record) (Result, error) {
	after.version, after.modified = t.state.revision, c.Time
	if err := t.put(before, after); err != nil {
		return Result{}, err
	}
	return t.answer(after), nil
}

func (t *transaction) answer(r *record) Result {
	v := View{record: *r, servers: t.servers}
	return Result{Entry: v.Entry()}
}

func (t *transaction) create(c *Change) (Result, error) {
	after, err := t.recordOf(&c.Entry)
	if err != nil {
		return Result{}, err
	}
	if err := t.checkFree(&after); err != nil {
		return Result{}, err
	}
	if err := t.checkIDs(&after, &record{}); err != nil {
		return Result{}, err
	}
	return t.done(c, nil, &after)
}

// change is replace and update.
func (t *transaction) change(c *Change) (Result, error) {
	before, err := t.find(c)
	if err != nil {
		return Result{}, err
	}
	if c.Op == Replace && c.Version == 0 {
		return Result{}, refuse(ErrWrongVersion, "a replacement must name the version it replaces")
	}
	entry := c.Entry
	if c.Op == Update {
		if entry, err = t.patched(&before, &c.Patch); err != nil {
			return Result{}, err
		}
	}
	after, err := t.recordOf(&entry)
	if err != nil {
		return Result{}, err
	}
	if after.name != before.name {
		if err := t.checkFree(&after); err != nil {
			return Result{}, err
		}
	}
	if err := t.checkIDs(&after, &before); err != nil {
		return Result{}, err
	}
	after.owner, after.lockKind, after.expires = before.owner, before.lockKind, before.expires
	return t.done(c, &before, &after)
}

func (t *transaction) delete(c *Change) (Result, error) {
	before, err := t.find(c)
	if err != nil {
		return Result{}, err
	}
	if err := t.put(&before, nil); err != nil {
		return Result{}, err
	}
	return t.answer(&before), nil
}

// find reads the entry that a change is about, and checks that the change may
// have it.
func (t *transaction) find(c *Change) (record, error) {
	var r record
	q := parseQuery(c.Name)
	err := readRecord(t.batch, q, &r)
	switch {
	case errors.Is(err, ErrNotFound):
		return r, refuse(ErrNotFound, "%.80s", q)
	case err != nil:
		return r, err
	case r.lock().Held(c.Time) && r.owner.String() != c.Owner:
		return r, refuse(ErrLocked, "%s holds %s until %d", &r.owner, &r.name, r.expires)
	case c.Version != 0 && c.Version != r.version:
		return r, refuse(ErrWrongVersion, "%s has version %d, not %d", &r.name, r.version, c.Version)
	}
	return r, nil
}

// recordOf checks an entry that came in, all but whether name and ids are free.
func (t *transaction) recordOf(e *Entry) (record, error) {
	if err := checkName(e.Name); err != nil {
		return record{}, refuse(ErrBadEntry, "%v", err)
	}
	if len(e.Sites) > MaxSites {
		return record{}, refuse(ErrBadEntry, "%s has %d sites, want at most %d", e.Name, len(e.Sites), MaxSites)
	}
	r := record{
		name:      newText(e.Name),
		ids:       [idKinds]uint64{e.IDs.RW, e.IDs.RO, e.IDs.BK},
		flags:     e.Flags,
		siteCount: uint8(len(e.Sites)),
	}
	for i, s := range e.Sites {
		number, err := t.servers.find(s.Server)
		if err != nil {
			return record{}, &refusal{err}
		}
		r.sites[i] = place{server: number, partition: s.Partition, flags: s.Flags}
	}
	return r, nil
}

// patched is the entry with the patch's changes.
func (t *transaction) patched(r *record, p *Patch) (Entry, error) {
	e := t.answer(r).Entry
	for _, f := range []struct {
		from *uint64
		to   *uint64
	}{{p.RW, &e.IDs.RW}, {p.RO, &e.IDs.RO}, {p.BK, &e.IDs.BK}} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	if p.Name != nil {
		e.Name = *p.Name
	}
	e.Flags = e.Flags&^p.ClearFlags | p.SetFlags
	for _, gone := range p.RemoveSites {
		var left []Site
		for _, s := range e.Sites {
			if s.Server != gone.Server || s.Partition != gone.Partition {
				left = append(left, s)
			}
		}
		if len(left) == len(e.Sites) {
			return e, refuse(ErrBadChange, "%s has no site on %.80q, partition %d", e.Name, gone.Server, gone.Partition)
		}
		e.Sites = left
	}
	e.Sites = append(e.Sites, p.AddSites...)
	return e, nil
}

// checkFree refuses a name that an entry has.
func (t *transaction) checkFree(r *record) error {
	_, closer, err := t.batch.Get(nameKey(t.scratch[:0], r.name.view()))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := closer.Close(); err != nil {
		return err
	}
	return refuse(ErrExists, "%s", &r.name)
}

// checkIDs refuses ids that are named twice, or are another entry's than before.
func (t *transaction) checkIDs(after, before *record) error {
	for kind, id := range after.ids {
		if id == 0 {
			continue
		}
		for _, other := range after.ids[:kind] {
			if other == id {
				return refuse(ErrBadEntry, "%s has id %d twice", &after.name, id)
			}
		}
		if before.has(id) {
			continue
		}
		owner, err := readID(t.batch, id)
		if err == nil {
			return refuse(ErrIDTaken, "%d is %s's", id, owner)
		}
		if !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return nil
}

// newID hands out the next ids in a row that no entry has. An id is handed out
// once; that entries may also come with ids of their own choice cannot use the
// counter up.
func (t *transaction) newID(c *Change) (Result, error) {
	if c.Count < 1 || c.Count > MaxNewIDs {
		return Result{}, refuse(ErrBadChange, "%d ids at once, want 1 to %d", c.Count, MaxNewIDs)
	}
	first, count := t.state.nextID, uint64(c.Count)
	iter, err := t.batch.NewIter(&pebble.IterOptions{LowerBound: idKey(nil, first), UpperBound: []byte{idSpace + 1}})
	if err != nil {
		return Result{}, err
	}
	for valid := iter.First(); valid && first != 0; valid = iter.Next() {
		taken := idOfKey(iter.Key())
		if taken-first >= count {
			break
		}
		first = taken + 1 // 0 once the last one is taken
	}
	if err := errors.Join(iter.Error(), iter.Close()); err != nil {
		return Result{}, err
	}
	if first == 0 || math.MaxUint64-first < count {
		return Result{}, refuse(ErrNoIDs, "%d in a row from %d", count, t.state.nextID)
	}
	t.state.nextID = first + count
	return Result{FirstID: first}, nil
}

// lock takes, renews or releases the lock of an entry.
func (t *transaction) lock(c *Change) (Result, error) {
	if err := checkPlain("owner", c.Owner, MaxOwner); err != nil {
		return Result{}, refuse(ErrBadChange, "%v", err)
	}
	before, err := t.find(c)
	if err != nil {
		return Result{}, err
	}
	after := before
	after.owner, after.lockKind, after.expires = text{}, 0, 0
	if c.Op == TakeLock {
		if c.Expires <= c.Time || c.Expires-c.Time > MaxLockMillis {
			return Result{}, refuse(ErrBadChange, "lock expires at %d, want up to %d ms after %d", c.Expires, MaxLockMillis, c.Time)
		}
		after.owner, after.lockKind, after.expires = newText(c.Owner), c.LockKind, c.Expires
	}
	return t.done(c, &before, &after)
}

func (t *transaction) register(c *Change) (Result, error) {
	if err := checkPlain("server", c.Name, MaxServer); err != nil {
		return Result{}, refuse(ErrBadChange, "%v", err)
	}
	if _, err := t.servers.find(c.Name); err == nil {
		return Result{}, refuse(ErrExists, "server %s", c.Name)
	}
	if _, known := t.servers.numbers[c.Name]; !known && len(t.servers.list) >= maxServers {
		return Result{}, refuse(ErrBadChange, "%d servers were registered so far, and more cannot be", maxServers)
	}
	return Result{}, t.setServer(c.Name, true)
}

func (t *transaction) unregister(c *Change) (Result, error) {
	number, err := t.servers.find(c.Name)
	if err != nil {
		return Result{}, &refusal{err}
	}
	from := siteKey(nil, place{server: number}, nil)
	to := siteKey(nil, place{server: number, partition: math.MaxUint32}, []byte{math.MaxUint8})
	iter, err := t.batch.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return Result{}, err
	}
	var user string
	if iter.First() {
		user = string(iter.Key()[sitePrefixBytes:])
	}
	if err := errors.Join(iter.Error(), iter.Close()); err != nil {
		return Result{}, err
	}
	if user != "" {
		return Result{}, refuse(ErrServerInUse, "%s has a site on %s", user, c.Name)
	}
	return Result{}, t.setServer(c.Name, false)
}

func (t *transaction) setServer(name string, registered bool) error {
	next, number := t.servers.with(name, registered)
	key := serverKey(nil, number)
	if err := t.batch.Set(key, appendServer(nil, key, next.list[number]), nil); err != nil {
		return err
	}
	t.servers = next
	return nil
}
