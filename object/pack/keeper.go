package pack

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"carillon/object"
	"carillon/object/backend"
)

const (
	checkpointEvery = 64 << 20 // bytes appended, at least
	checkpointCost  = 4        // and so many times the bytes of the checkpoint
	maxVictims      = 8        // segments compacted in a round
	moveAtOnce      = 1 << 20  // bytes of victims' records that are appended at once, plus one record
	shortSpace      = 4        // segments' worth of waste beyond the live bytes, from which compaction does not pause
)

func (s *Store) wakeKeeper() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// keep is the keeper.
func (s *Store) keep() {
	var tick <-chan time.Time
	if interval, enabled := s.config.Sync.Interval(); enabled {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		tick = ticker.C
	}
	for {
		select {
		case <-s.quit:
			return
		case <-tick:
			_ = s.syncAll() // a failure stops the store
		case <-s.wake:
			if err := s.round(); err != nil && !errors.Is(err, errQuit) {
				s.config.Logger.Warn("compact objects", "dir", s.config.Dir, "error", err)
			}
		}
	}
}

var errQuit = errors.New("the store is being closed")

// round checkpoints if enough was appended, compacts what is worth it, and removes what nothing refers to.
func (s *Store) round() error {
	s.keeping.Lock()
	defer s.keeping.Unlock()
	if s.life.Stopped() != nil {
		return nil
	}
	s.mu.RLock()
	due := s.unsaved >= max(checkpointEvery, checkpointCost*s.checkpoint)
	s.mu.RUnlock()
	if due {
		if err := s.writeCheckpoint(s.snapshot()); err != nil {
			return err
		}
	}
	for {
		again, err := s.compact()
		if err != nil {
			return err
		}
		if err := s.removeBlobs(); err != nil || !again {
			return err
		}
	}
}

// syncAll makes everything durable that readers see by now. The policy always has nothing left to do here.
func (s *Store) syncAll() error {
	type todo struct {
		seg *segment
		end int64
	}
	var all []todo
	s.mu.RLock()
	for _, seg := range s.segments {
		if seg.synced.Load() < seg.end {
			seg.acquire()
			all = append(all, todo{seg, seg.end})
		}
	}
	s.mu.RUnlock()
	var err error
	if len(all) > 0 {
		err = s.syncBlobs()
	}
	for _, one := range all {
		if err == nil {
			if err = one.seg.file.SyncData(); err == nil {
				s.mu.Lock()
				one.seg.synced.Store(max(one.seg.synced.Load(), one.end))
				s.mu.Unlock()
			} else {
				err = fmt.Errorf("sync segment %d: %w", one.seg.header.number, err)
			}
		}
		err = errors.Join(err, one.seg.release())
	}
	if err != nil {
		return s.life.Stop(err)
	}
	return nil
}

// syncBlobs makes the names of blobs durable; their contents are already, unless the policy is none.
func (s *Store) syncBlobs() error {
	if s.config.Sync == backend.SyncAlways {
		return nil
	}
	return backend.SyncFolder(s.fs, s.path(blobsFolder))
}

// removeBlobs removes the blobs of dropped versions. What dropped them is made durable first.
func (s *Store) removeBlobs() error {
	s.mu.Lock()
	garbage := s.garbage
	s.garbage = nil
	s.mu.Unlock()
	if len(garbage) == 0 {
		return nil
	}
	if err := s.syncAll(); err != nil {
		return err
	}
	for _, number := range garbage {
		if err := s.fs.Remove(s.blobPath(number)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove blob %d: %w", number, err)
		}
	}
	return nil
}

// wasteful tells whether less than half of a full segment's bytes count in a segment that is not appended to.
// So the store takes at most twice the live bytes, and what compaction has not come to yet.
func (s *Store) wasteful(seg *segment) bool {
	return seg != s.current && seg.live < s.config.SegmentBytes/2 && (seg.live == 0 || seg.live != seg.held)
}

// victims are segments to compact, the emptiest first.
func (s *Store) victims() (victims map[uint64]*segment, hurry bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var wasteful []*segment
	waste, live := int64(0), int64(0)
	for _, seg := range s.segments {
		waste += seg.end - seg.live
		live += seg.live
		if s.wasteful(seg) {
			wasteful = append(wasteful, seg)
		}
	}
	slices.SortFunc(wasteful, func(a, b *segment) int { return cmp.Compare(a.live, b.live) })
	victims = map[uint64]*segment{}
	for _, seg := range wasteful[:min(len(wasteful), maxVictims)] {
		victims[seg.header.number] = seg
	}
	return victims, waste > live+shortSpace*s.config.SegmentBytes
}

// compact moves what counts in the emptiest segments to the end of the log, and removes them.
func (s *Store) compact() (again bool, err error) {
	victims, hurry := s.victims()
	if len(victims) == 0 {
		return false, nil
	}
	m := mover{store: s, pace: pace{rate: s.config.CompactRate, quit: s.quit, hurry: hurry}}
	for name, versions := range s.snapshot().catalog.All() {
		for i := range versions {
			seg := victims[versions[i].Where.segment]
			if seg == nil {
				continue
			}
			if err := m.move(seg, name, &versions[i]); err != nil {
				return false, err
			}
		}
	}
	if err := m.flush(); err != nil {
		return false, err
	}
	return s.removeSegments(victims)
}

// mover appends records again, many at once, and waits for them.
type mover struct {
	store  *Store
	pace   pace
	moving []*write
	bytes  int64 // of their records
}

func (m *mover) move(seg *segment, name string, e *entry) error {
	w, err := m.store.moved(seg, name, e)
	if err != nil || w == nil {
		return err
	}
	r := w.record()
	m.moving, m.bytes = append(m.moving, w), m.bytes+r.size()
	if m.bytes < moveAtOnce {
		return nil
	}
	return m.flush()
}

func (m *mover) flush() (err error) {
	m.store.add(m.moving...)
	for _, w := range m.moving {
		err = errors.Join(err, w.wait())
	}
	bytes := m.bytes
	m.moving, m.bytes = m.moving[:0], 0
	return errors.Join(err, m.pace.spend(bytes))
}

// moved reads an entry of a victim. It is nil if the content is damaged: it stays where it is, to be
// found by whoever scrubs.
func (s *Store) moved(seg *segment, name string, e *entry) (*write, error) {
	at := e.Where
	w := &write{info: e.Info(name), blob: at.blob, from: &at}
	if e.Deleted || at.blob != 0 {
		return w, nil
	}
	content, err := seg.content(w.info, at)
	if err == nil && object.SumOf(content) != e.Sum {
		err = object.ErrDamaged
	}
	if errors.Is(err, object.ErrDamaged) {
		s.config.Logger.Warn("leave a damaged object where it is", "name", name, "version", e.Version, "segment", at.segment)
		return nil, nil
	}
	w.content = content
	return w, err
}

// removeSegments removes victims in which nothing counts any more, once what was moved is durable, and what
// they say is to be dropped is in a checkpoint.
func (s *Store) removeSegments(victims map[uint64]*segment) (removed bool, err error) {
	settle := s.syncAll
	if s.anyDrops(victims) {
		settle = func() error { return s.writeCheckpoint(s.snapshot()) }
	}
	if err := settle(); err != nil {
		return false, err
	}
	for number, seg := range victims {
		s.mu.Lock()
		empty := seg.live == 0
		if empty {
			delete(s.segments, number)
		} else {
			seg.held = seg.live
		}
		s.mu.Unlock()
		if !empty {
			continue
		}
		removed = true
		if err := errors.Join(seg.release(), s.fs.Remove(s.segmentPath(number))); err != nil {
			return false, fmt.Errorf("remove segment %d: %w", number, err)
		}
	}
	return removed, nil
}

func (s *Store) anyDrops(segments map[uint64]*segment) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, seg := range segments {
		if seg.drops {
			return true
		}
	}
	return false
}

// pace keeps compaction from taking the disk from everybody else.
type pace struct {
	rate  int64
	quit  chan struct{}
	hurry bool
}

func (p *pace) spend(bytes int64) error {
	pause := time.Duration(float64(bytes) / float64(p.rate) * float64(time.Second))
	if p.hurry {
		pause = 0
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-p.quit:
		return errQuit
	case <-timer.C:
		return nil
	}
}
