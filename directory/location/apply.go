package location

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// MaxChanges bounds how many changes are committed together.
const MaxChanges = 4096

// Apply applies one change; see ApplyAll.
func (d *Directory) Apply(revision uint64, change Change) (Result, error) {
	results, err := d.ApplyAll([]Numbered{{Revision: revision, Change: change}})
	if err != nil {
		return Result{}, err
	}
	return results[0], nil
}

// ApplyAll applies up to MaxChanges changes in order, in one commit with one sync.
// When it returns without error all of them are on disk, each either done or
// refused as its Result says, and no look-up that begins afterwards answers as of
// before. What becomes of a change depends on nothing but the changes before it.
//
// An error is one of this node, not of a change: ErrApplied if a revision is not
// after the one before; ErrClosed; ErrStopped after a commit that failed; else one
// of reading the disk. Nothing was applied then, and no cache changed.
func (d *Directory) ApplyAll(changes []Numbered) ([]Result, error) {
	if len(changes) > MaxChanges {
		return nil, fmt.Errorf("%d changes at once, want at most %d", len(changes), MaxChanges)
	}
	d.applying.Lock()
	defer d.applying.Unlock()
	d.mu.RLock() // only against Close: Restore holds applying
	defer d.mu.RUnlock()
	if err := d.ready(); err != nil {
		return nil, err
	}
	t := &transaction{db: d.db, batch: d.db.NewIndexedBatch(), state: d.state, servers: d.servers.Load(), followed: d.config.Follower != nil}
	results, err := t.applyAll(changes)
	if err != nil {
		return nil, errors.Join(err, t.batch.Close())
	}
	whole := d.names.suspend()
	if err := t.commit(); err != nil {
		err = fmt.Errorf("%w: %w", ErrStopped, err)
		d.stopped.Store(&err)
		return nil, err
	}
	d.publish(t)
	if whole {
		d.reread(t.names)
	}
	if len(t.edits) > 0 {
		d.config.Follower.Edited(t.edits)
	}
	d.operations.count(changes, results)
	return results, nil
}

// publish makes a committed transaction what look-ups see. The revision comes last:
// whoever sees it finds nothing older in a cache.
func (d *Directory) publish(t *transaction) {
	d.servers.Store(t.servers)
	d.names.publish(t.names, t.state.entries)
	d.ids.publish(t.ids, unknown)
	d.state = t.state
	d.revision.Store(t.state.revision)
}

// reread brings what changed into a cache that had everything before, so that it
// has everything again, if there is room. What cannot be read is left to whoever
// asks for it, and gets the error.
func (d *Directory) reread(touches []touch) {
	var r record
	for _, t := range touches {
		if !t.gone && readRecord(d.db, t.query, &r) == nil {
			d.names.fill(d.names.key(t.query), d.state.revision, &r)
		}
	}
}

// transaction is changes decided but not committed. A change is decided in full
// before it writes, so a refused one leaves nothing behind.
type transaction struct {
	db         *pebble.DB
	batch      *pebble.Batch
	state      state
	servers    *servers
	names, ids []touch
	followed   bool
	edits      []Edit // if followed
	scratch    []byte
}

func (t *transaction) applyAll(changes []Numbered) ([]Result, error) {
	results := make([]Result, len(changes))
	for i := range changes {
		n := &changes[i]
		if n.Revision <= t.state.revision {
			return nil, fmt.Errorf("%w: got revision %d after %d", ErrApplied, n.Revision, t.state.revision)
		}
		t.state.revision = n.Revision
		result, err := t.apply(&n.Change)
		switch refusal := (*refusal)(nil); {
		case errors.As(err, &refusal):
			result = Result{Err: refusal.error}
		case err != nil:
			return nil, fmt.Errorf("apply revision %d: %s %.80q: %w", n.Revision, n.Change.Op, n.Change.Name, err)
		}
		result.Revision = n.Revision
		results[i] = result
	}
	return results, nil
}

// commit writes the batch and waits until it is on disk. (Batch.Commit would hand
// a failed sync to the logger as fatal, and not return it.)
func (t *transaction) commit() error {
	if err := t.batch.Set([]byte{stateSpace}, appendState(nil, t.state), nil); err != nil {
		return err
	}
	if err := t.db.ApplyNoSyncWait(t.batch, pebble.Sync); err != nil {
		return err
	}
	if err := t.batch.SyncWait(); err != nil {
		return err // the batch is not closed: Pebble may still hold it
	}
	return t.batch.Close()
}

// refusal is an error of the change, as against one of the disk.
type refusal struct{ error }

func (r *refusal) Unwrap() error { return r.error }

func refuse(reason error, format string, args ...any) error {
	return &refusal{fmt.Errorf("%w: %s", reason, fmt.Sprintf(format, args...))}
}

// put writes what differs between the entry before (nil: none) and after (nil:
// none), and notes what look-ups must forget.
func (t *transaction) put(before, after *record) error {
	var err error
	if before != nil {
		err = errors.Join(err, t.unindex(before))
		t.touch(before, after == nil || after.name != before.name)
	}
	if after != nil {
		err = errors.Join(err, t.index(after))
		t.touch(after, false)
	}
	if t.followed {
		t.edits = append(t.edits, Edit{Before: t.entryOf(before), After: t.entryOf(after)})
	}
	switch {
	case before == nil:
		t.state.entries++
	case after == nil:
		t.state.entries--
	}
	return err
}

// touch notes the name and the ids of an entry, and whether the name is nobody's now.
func (t *transaction) touch(r *record, gone bool) {
	t.names = append(t.names, touch{query{name: r.name.String()}, t.state.revision, gone})
	for _, id := range r.ids {
		if id != 0 {
			t.ids = append(t.ids, touch{query{id: id}, t.state.revision, false})
		}
	}
}

// unindex deletes an entry and what points to it.
func (t *transaction) unindex(r *record) error {
	err := t.batch.Delete(nameKey(t.scratch[:0], r.name.view()), nil)
	for _, id := range r.ids {
		if id != 0 {
			err = errors.Join(err, t.batch.Delete(idKey(t.scratch[:0], id), nil))
		}
	}
	for _, p := range r.places() {
		err = errors.Join(err, t.batch.Delete(siteKey(t.scratch[:0], p, r.name.view()), nil))
	}
	return err
}

// index writes an entry and what points to it.
func (t *transaction) index(r *record) error {
	key := nameKey(nil, r.name.view())
	err := t.batch.Set(key, appendEntry(t.scratch[:0], key, r), nil)
	for kind, id := range r.ids {
		if id != 0 {
			key := idKey(nil, id)
			err = errors.Join(err, t.batch.Set(key, appendID(t.scratch[:0], key, kind, r.name.view()), nil))
		}
	}
	for _, p := range r.places() {
		err = errors.Join(err, t.batch.Set(siteKey(t.scratch[:0], p, r.name.view()), nil, nil))
	}
	return err
}
