package newest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"carillon/cache"
	"carillon/directory/location"
)

// pageEntries is how many entries are read from the directory at a time, during which no
// change is acknowledged.
const pageEntries = 256

// Entries publishes the entries of the location directory, by name and by id. It is the
// directory's follower, and Run brings what was there before.
//
// mu is what keeps the cache true. Whoever stores entries holds it from before he reads
// them until they are stored. The directory calls a follower after a change can be looked
// up: so an entry that was read before the change is stored before the change is, and what
// is read later has the change. A change is acknowledged after its follower returns.
type Entries struct {
	cache *cache.Cache
	again chan struct{} // capacity 1: all entries are others now

	mu      sync.Mutex
	cursor  string // of List, behind what Run has stored
	whole   bool   // Run has stored all
	counts  EntryStats
	scratch []byte // a key
}

// EntryStats is what became of entries since the start.
type EntryStats struct {
	Stored  uint64 `json:"stored"`  // items: an entry has one for its name and one for each id
	Deleted uint64 `json:"deleted"` // items of entries that are no more, or have another name or id
	Refused uint64 `json:"refused"` // the cache had no memory for them, or they are too large
	Whole   bool   `json:"whole"`   // all that were there at the start have been stored
}

// NewEntries makes a publisher that stores into a cache.
func NewEntries(c *cache.Cache) *Entries {
	return &Entries{cache: c, again: make(chan struct{}, 1)}
}

// Edited implements location.Follower.
func (e *Entries) Edited(edits []location.Edit) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, edit := range edits {
		if edit.Before != nil {
			e.remove(edit.Before, edit.After)
		}
		if edit.After != nil {
			e.store(edit.After)
		}
	}
}

// Replaced implements location.Follower.
func (e *Entries) Replaced() {
	e.mu.Lock()
	e.counts.Deleted += uint64(e.cache.DeletePrefix([]byte(DirectoryPrefix)))
	e.cursor, e.whole = "", false
	e.mu.Unlock()
	select {
	case e.again <- struct{}{}:
	default:
	}
}

// Run stores the entries that are there, and again when they are replaced, until ctx ends
// or the directory is closed.
func (e *Entries) Run(ctx context.Context, directory *location.Directory) error {
	for {
		for more := true; more; {
			if ctx.Err() != nil {
				return nil
			}
			var err error
			if more, err = e.page(directory); errors.Is(err, location.ErrClosed) {
				return nil
			} else if err != nil {
				return fmt.Errorf("publishing the directory's entries: %w", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-e.again:
		}
	}
}

// page stores some more of the entries that are there.
func (e *Entries) page(directory *location.Directory) (more bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	page, err := directory.List(location.Filter{}, e.cursor, pageEntries)
	if err != nil {
		return false, err
	}
	for i := range page.Entries {
		e.store(&page.Entries[i])
	}
	e.cursor = page.Next
	e.whole = page.Next == ""
	return !e.whole, nil
}

// store stores an entry under its name and its ids. The caller holds mu.
func (e *Entries) store(entry *location.Entry) {
	value, err := json.Marshal(entry)
	if err != nil {
		panic(fmt.Sprintf("newest: an entry that cannot be written: %v", err)) // it has nothing but strings and numbers
	}
	e.eachKey(entry, func(key []byte) {
		if outcome, _ := e.cache.Store(cache.Write{Key: key, Value: value}); outcome == cache.Stored {
			e.counts.Stored++
		} else {
			e.counts.Refused++
		}
	})
}

// remove deletes what an entry had and another one, nil for none, has not. The caller holds
// mu.
func (e *Entries) remove(before, after *location.Entry) {
	if after == nil {
		after = &location.Entry{}
	}
	gone := *before
	if gone.Name == after.Name {
		gone.Name = ""
	}
	for _, id := range []*uint64{&gone.IDs.RW, &gone.IDs.RO, &gone.IDs.BK} {
		if *id == after.IDs.RW || *id == after.IDs.RO || *id == after.IDs.BK {
			*id = 0
		}
	}
	e.eachKey(&gone, func(key []byte) {
		if e.cache.Delete(cache.Removal{Key: key}) == cache.Stored {
			e.counts.Deleted++
		}
	})
}

// eachKey calls f with the keys of an entry: of its name and its ids, where it has them.
func (e *Entries) eachKey(entry *location.Entry, f func(key []byte)) {
	prefix := append(e.scratch[:0], DirectoryPrefix...)
	if entry.Name != "" {
		f(append(prefix, entry.Name...))
	}
	for _, id := range []uint64{entry.IDs.RW, entry.IDs.RO, entry.IDs.BK} {
		if id != 0 {
			f(strconv.AppendUint(prefix, id, 10))
		}
	}
	e.scratch = prefix
}

// Stats may be called at any time.
func (e *Entries) Stats() EntryStats {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.counts
	s.Whole = e.whole
	return s
}
