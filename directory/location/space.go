package location

import (
	"fmt"
	"sync"
	"sync/atomic"

	"carillon/cuckoo"
)

// touchStripes is in how many stripes the last revisions are remembered. A fill is
// refused if any key of its stripe was touched while it read the disk, which takes
// some ten microseconds: more stripes would save no fill worth counting.
const touchStripes = 1 << 14

// space is what one namespace, names or ids, has in memory: what is there, what is
// known not to be, and when keys were last touched.
//
// The rules, all of which publish and the fills keep under mu:
//
//   - A fill carries the revision that was published when its reader began. If a
//     later one touched the key's stripe the fill is refused: what it read may be
//     older than that change. This holds for absences and entries alike.
//   - A change drops absences and marks entries before it counts as applied. What a
//     reader fills in between commit and publish is dropped or marked with the rest.
//   - A marked entry is never returned; the reader that finds it drops it.
//
// Where the number of entries is known, a space may be whole: every entry there is
// has its key in the positive table, and what is not there is nowhere. That takes no
// scan, only counting: but for the time between a commit and its publication, each
// key in the table is an entry's, because publish drops those of deleted entries at
// once. As many keys as entries are therefore all of them.
//
// A reader that misses believes it if the space was in one and the same spell of
// wholeness before it looked and after. Whoever takes an entry out of the table, or
// brings one into the database, ends the spell before.
type space struct {
	positive *positive     // nil: no caches at all
	negative *cuckoo.Table // nil: absences are not cached
	whole    atomic.Uint64 // number of the spell of wholeness; 0: something may be missing

	mu        sync.Mutex
	touched   []uint64 // by stripe, the last revision that touched it; guarded by mu
	entries   uint64   // in the database, as published, or unknown; guarded by mu
	suspended bool     // the database may be ahead of what is published; guarded by mu
	spells    uint64   // of wholeness so far; guarded by mu
	refused   uint64   // fills that lost a race; guarded by mu
	dropped   uint64   // absences dropped by changes; guarded by mu
	absent    uint64   // absences filled in; guarded by mu
}

// unknown is a number of entries that no cache holds: its space is never whole.
const unknown = ^uint64(0)

// lock is for whoever may change the tables; it ends the spell of wholeness.
func (s *space) lock() {
	s.mu.Lock()
	s.whole.Store(0)
}

func (s *space) unlock() {
	if !s.suspended && uint64(s.positive.table.Len()) == s.entries {
		s.spells++
		s.whole.Store(s.spells)
	}
	s.mu.Unlock()
}

// misses tells that a key which was not found during the spell was not there.
func (s *space) misses(spell uint64) bool { return spell != 0 && s.whole.Load() == spell }

// newSpace makes the caches of a namespace; 0 bits is off. Both tables have one
// seed, so that a key is hashed once for both.
func newSpace(what string, positiveBits, negativeBits int, config cuckoo.Config) (*space, error) {
	s := &space{}
	if positiveBits == 0 {
		if negativeBits != 0 {
			return nil, fmt.Errorf("%s: the cache of the absent needs the one of the present", what)
		}
		return s, nil
	}
	var err error
	config.Bits = positiveBits
	if s.positive, err = newPositive(config); err != nil {
		return nil, fmt.Errorf("cache of %s: %w", what, err)
	}
	s.touched = make([]uint64, touchStripes)
	if negativeBits != 0 {
		config.Bits = negativeBits
		if s.negative, err = newTable(config); err != nil {
			return nil, fmt.Errorf("cache of absent %s: %w", what, err)
		}
	}
	return s, nil
}

func (s *space) key(q query) cuckoo.Key {
	if q.byID() {
		return s.positive.table.KeyUint64(q.id)
	}
	return s.positive.table.KeyString(q.name)
}

func stripe(key cuckoo.Key) int { return int(key.Hi % touchStripes) }

// fill caches what a reader found on disk that began when revision began was the
// last published; a nil record is an absence.
func (s *space) fill(key cuckoo.Key, began uint64, r *record) {
	s.lock()
	defer s.unlock()
	switch {
	case s.touched[stripe(key)] > began:
		s.refused++
	case r != nil:
		s.positive.fill(key, r)
	case s.negative != nil:
		s.negative.Put(key, began)
		s.absent++
	}
}

// dropStale is the lazy half of invalidation.
func (s *space) dropStale(key cuckoo.Key) {
	s.lock()
	defer s.unlock()
	s.positive.dropStale(key)
}

// touch is one key that a change touched.
type touch struct {
	query    query
	revision uint64
	gone     bool // no entry has the key any more
}

// suspend announces that the database is about to change, or to be closed, and tells
// whether the space was whole; it is not until something is published.
func (s *space) suspend() (whole bool) {
	if s.positive == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.suspended = true
	return s.whole.Swap(0) != 0
}

// publish makes the caches forget what the changes touched, and counts the entries
// that there are now.
func (s *space) publish(touches []touch, entries uint64) {
	if s.positive == nil {
		return
	}
	s.lock()
	defer s.unlock()
	s.suspended, s.entries = false, entries
	for _, t := range touches {
		key := s.key(t.query)
		s.touched[stripe(key)] = t.revision
		if t.gone {
			s.positive.drop(key)
		} else {
			s.positive.touch(key)
		}
		if s.negative != nil {
			if _, ok := s.negative.Delete(key); ok {
				s.dropped++
			}
		}
	}
}

// reset empties everything, revisions included: those of another database, the one
// with so many entries, mean nothing here. No reader may be between disk and fill.
func (s *space) reset(entries uint64) {
	if s.positive == nil {
		return
	}
	s.lock()
	defer s.unlock()
	s.suspended, s.entries = false, entries
	s.positive.clear()
	clear(s.touched)
	if s.negative != nil {
		s.negative.Clear()
	}
}
