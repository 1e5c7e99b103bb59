package pack

import (
	"errors"
	"fmt"
	"time"

	"carillon/object"
	"carillon/object/backend"
	"carillon/object/catalog"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// write is the writer: it appends one group after the other.
func (s *Store) write() {
	for g := s.log.take(); g != nil; g = s.log.take() {
		s.log.finish(g, s.commit(g))
	}
}

// commit makes a group what readers see and, if the policy is always, durable.
func (s *Store) commit(g *group) error {
	if err := s.life.Stopped(); err != nil {
		return err
	}
	if g.seg != s.current {
		if err := s.startSegment(g.seg); err != nil {
			return fmt.Errorf("start segment %d: %w", g.seg.header.number, err)
		}
	}
	begun := time.Now()
	if _, err := s.tail.WriteAt(g.buffer, g.start); err != nil {
		return errors.Join(fmt.Errorf("append to segment %d: %w", g.seg.header.number, err), s.retract(g))
	}
	if s.config.Sync == backend.SyncAlways {
		if err := s.tail.SyncData(); err != nil {
			return s.life.Stop(fmt.Errorf("sync segment %d: %w", g.seg.header.number, err))
		}
		s.log.synced(g, time.Since(begun))
	}
	s.publish(g)
	return nil
}

// tail is how the end of a segment is written.
type tail interface {
	WriteAt(b []byte, offset int64) (int, error)
	SyncData() error
	Close() error
}

// startSegment makes the file of a segment, for the groups to come.
func (s *Store) startSegment(seg *segment) error {
	path := s.segmentPath(seg.header.number)
	file, err := s.createSegment(path, seg.header)
	if err != nil {
		return err
	}
	if err := s.closeTail(); err != nil {
		return errors.Join(err, file.Close(), s.fs.Remove(path))
	}
	seg.file, s.tail = file, file
	if s.config.Sync == backend.SyncAlways && s.fs == vfs.Default {
		if direct, err := openDirect(path); err == nil {
			s.tail = direct
		}
	}
	s.mu.Lock()
	s.current, s.segments[seg.header.number] = seg, seg
	s.mu.Unlock()
	s.wakeKeeper()
	return nil
}

// closeTail closes what is open of the current segment for its end only.
func (s *Store) closeTail() error {
	if s.current == nil || s.tail == tail(s.current.file) {
		return nil
	}
	closing := s.tail
	s.tail = s.current.file
	return closing.Close()
}

// createSegment makes a file with a header, durably: what is behind a torn header could not be told from what was torn, too.
func (s *Store) createSegment(path string, header segmentHeader) (vfs.File, error) {
	file, err := s.fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	_, err = file.WriteAt(header.append(nil), 0)
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = backend.SyncFolder(s.fs, s.path(segmentsFolder))
	}
	if err != nil {
		return nil, errors.Join(err, file.Close(), s.fs.Remove(path))
	}
	return file, nil
}

// decide tells whether a record is needed.
func (s *Store) decide(w *write) (needed bool, err error) {
	if err := s.life.Stopped(); err != nil {
		return false, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case w.drop:
		versions := s.catalog.Versions(w.info.Name)
		return len(versions) > 0, versions.CheckDrop(w.info.Name, w.info.Version)
	case w.from != nil:
		e, there := s.catalog.Versions(w.info.Name).Find(w.info.Version)
		return there && e.Where == *w.from, nil
	}
	return s.catalog.Decide(w.info, w.condition, w.repair)
}

// retract makes that a start does not find the records of a group whose write failed: its writers are told that nothing
// was written.
func (s *Store) retract(g *group) error {
	file := g.seg.file
	stat, err := file.Stat()
	if err == nil {
		for _, w := range g.writes {
			if w.at < stat.Size() && err == nil {
				_, err = file.WriteAt(make([]byte, min(recordHeaderSize, stat.Size()-w.at)), w.at)
			}
		}
	}
	if err == nil {
		err = file.SyncData()
	}
	if err != nil {
		return s.life.Stop(fmt.Errorf("retract a write in segment %d: %w", g.seg.header.number, err))
	}
	return nil
}

// publish makes a group what readers see.
func (s *Store) publish(g *group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsaved += g.end() - g.seg.end
	g.seg.end = g.end()
	if s.config.Sync == backend.SyncAlways {
		g.seg.synced.Store(g.seg.end)
	}
	for _, w := range g.writes {
		if w.drop {
			g.seg.drops = true
			s.forget(w.info.Name, s.catalog.Versions(w.info.Name))
			continue
		}
		s.record(w.info, place{segment: g.seg.header.number, offset: w.at, blob: w.blob})
	}
	if len(s.garbage) > 0 {
		s.wakeKeeper()
	}
}

// record takes a record into the catalogue.
func (s *Store) record(info object.Info, at place) {
	e := catalog.EntryOf(info, at)
	s.account(info.Name, &e, 1)
	for _, old := range s.catalog.Add(info.Name, e) {
		s.account(info.Name, &old, -1)
		if old.Where.blob != at.blob { // else the record was moved and its blob stays
			s.discard(old.Where.blob)
		}
	}
}

// forget removes a name, with all its entries, from the catalogue.
func (s *Store) forget(name string, entries catalog.Versions[place]) {
	s.catalog.Remove(name)
	for i := range entries {
		s.account(name, &entries[i], -1)
		s.discard(entries[i].Where.blob)
	}
}

func (s *Store) discard(blob uint64) {
	if blob != 0 {
		s.garbage = append(s.garbage, blob)
	}
}

func (s *Store) account(name string, e *entry, sign int64) {
	if seg := s.segments[e.Where.segment]; seg != nil {
		r := record{info: e.Info(name), blob: e.Where.blob}
		seg.live += sign * r.size()
	}
}
