package location

import (
	"fmt"
	"sync"

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
type space struct {
	positive *positive     // nil: no caches at all
	negative *cuckoo.Table // nil: absences are not cached

	mu      sync.Mutex
	touched []uint64 // by stripe, the last revision that touched it; guarded by mu
	refused uint64   // fills that lost a race; guarded by mu
	dropped uint64   // absences dropped by changes; guarded by mu
	absent  uint64   // absences filled in; guarded by mu
}

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
	s.mu.Lock()
	defer s.mu.Unlock()
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
	s.mu.Lock()
	defer s.mu.Unlock()
	s.positive.dropStale(key)
}

// touch is one key that a change touched.
type touch struct {
	query    query
	revision uint64
}

// publish makes the caches forget what the changes touched.
func (s *space) publish(touches []touch) {
	if s.positive == nil || len(touches) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range touches {
		key := s.key(t.query)
		s.touched[stripe(key)] = t.revision
		s.positive.touch(key)
		if s.negative != nil {
			if _, ok := s.negative.Delete(key); ok {
				s.dropped++
			}
		}
	}
}

// clear empties everything, revisions included: those of another database mean
// nothing here. No reader may be between disk and fill.
func (s *space) clear() {
	if s.positive == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.positive.clear()
	clear(s.touched)
	if s.negative != nil {
		s.negative.Clear()
	}
}
