package pack

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"carillon/object"
	"carillon/object/backend"
	"carillon/object/catalog"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// write is a record to be appended.
type write struct {
	info      object.Info
	content   []byte
	blob      uint64
	condition object.Condition
	repair    bool
	from      *place // not nil if compaction moves the record from there
	drop      bool   // forget the name, if info's version is not older than its newest
	done      chan error
	written   bool  // set before done: a record was appended
	at        int64 // in the current segment
}

func (w *write) record() record { return record{info: w.info, blob: w.blob, drop: w.drop} }

// write is the writer: it decides what comes, in order, and appends it, also while what came before is being synced.
func (s *Store) write() {
	defer close(s.flights.ended)
	for {
		select {
		case <-s.queue.ready:
		case <-s.queue.ended:
			return
		}
		for waiting := s.queue.take(); len(waiting) > 0; {
			waiting = waiting[s.commit(waiting):]
		}
	}
}

// commit decides and appends as many of the writes as make a group, in order, and
// returns how many these were. The group is answered when it is durable.
func (s *Store) commit(waiting []*write) int {
	if err := s.ready(); err != nil {
		for _, w := range waiting {
			w.done <- err
		}
		return len(waiting)
	}
	group, taken := s.gather(waiting)
	switch {
	case taken == 0: // what came before of the name decides about this, and is on its way
		s.flights.land()
		return 0
	case len(group) == 0:
		return taken
	}
	if err := s.append(group); err != nil {
		for _, w := range group {
			w.done <- err
		}
		return taken
	}
	if s.config.Sync == backend.SyncAlways {
		s.flights.push(batch{group, s.at})
		return taken
	}
	s.publish(batch{group, s.at})
	return taken
}

// ready makes a segment to append to, if there is none or it is full.
func (s *Store) ready() error {
	if err := s.life.Stopped(); err != nil {
		return err
	}
	if s.current != nil && s.at < s.config.SegmentBytes {
		return nil
	}
	s.flights.land()
	return s.startSegment()
}

func (s *Store) startSegment() error {
	header := segmentHeader{number: s.next, salt: randomSalt()}
	path := s.segmentPath(header.number)
	file, err := s.createSegment(path, header)
	if err != nil {
		return fmt.Errorf("start segment %d: %w", header.number, err)
	}
	seg := newSegment(header, file)
	seg.synced = segmentHeaderSize
	s.next++
	s.at = segmentHeaderSize
	s.mu.Lock()
	s.current, s.segments[header.number] = seg, seg
	s.mu.Unlock()
	s.wakeKeeper()
	return nil
}

// createSegment makes a file with a header, of the spare one if there is one.
func (s *Store) createSegment(path string, header segmentHeader) (vfs.File, error) {
	if s.spare.move(spareReady, spareTaken) {
		err := s.fs.Rename(s.path(spareName), path)
		s.spare.move(spareTaken, noSpare)
		if err != nil {
			return nil, err
		}
	}
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

func randomSalt() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

// gather answers the writes that need no record and returns the others, up to the first of a name that is in
// flight, whose outcome it depends on.
func (s *Store) gather(waiting []*write) (group []*write, taken int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	bytes := int64(0)
	for _, w := range waiting {
		if bytes >= maxGroupBytes || s.flights.has(w.info.Name) {
			break
		}
		taken++
		if needed, err := s.decide(w); err != nil || !needed {
			w.done <- err
			continue
		}
		s.flights.add(w.info.Name)
		r := w.record()
		bytes += r.size()
		group = append(group, w)
	}
	return group, taken
}

func (s *Store) decide(w *write) (needed bool, err error) {
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

// pageSize is that of most page caches.
const pageSize = 4096

// append writes a group behind the end, and zeros up to the end of the page: of a page that is written in part the kernel would
// read the rest from the disk first, where it would wait for the sync that is under way.
func (s *Store) append(group []*write) error {
	seg := s.current
	s.group++
	s.buffer = s.buffer[:0]
	synced := s.syncedTo(seg)
	for _, w := range group {
		r := w.record()
		w.at = s.at + int64(len(s.buffer))
		r.offset, r.group, r.synced = w.at, s.group, synced
		s.buffer = r.append(s.buffer, seg.header.salt, w.content)
	}
	end := s.at + int64(len(s.buffer))
	s.buffer = append(s.buffer, make([]byte, -end&(pageSize-1))...)
	if _, err := seg.file.WriteAt(s.buffer, s.at); err != nil {
		s.flights.remove(group)
		err = fmt.Errorf("append to segment %d: %w", seg.header.number, err)
		return errors.Join(err, s.retract(group))
	}
	s.at = end
	return nil
}

// retract makes that a start does not find the records of a group whose write failed: its writers are told that nothing
// was written.
func (s *Store) retract(group []*write) error {
	file := s.current.file
	stat, err := file.Stat()
	if err == nil {
		for _, w := range group {
			if w.at < stat.Size() && err == nil {
				_, err = file.WriteAt(make([]byte, min(recordHeaderSize, stat.Size()-w.at)), w.at)
			}
		}
	}
	if err == nil {
		err = file.SyncData()
	}
	if err != nil {
		return s.life.Stop(fmt.Errorf("retract a write in segment %d: %w", s.current.header.number, err))
	}
	return nil
}

func (s *Store) syncedTo(seg *segment) int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return seg.synced
}

// publish makes a group what readers see, and answers it.
func (s *Store) publish(b batch) {
	s.mu.Lock()
	seg := s.current
	before := seg.end
	s.tail += b.end - before
	seg.end = b.end
	if s.config.Sync == backend.SyncAlways {
		seg.synced = b.end
	}
	for _, w := range b.group {
		w.written = true
		if w.drop {
			seg.drops = true
			s.forget(w.info.Name, s.catalog.Versions(w.info.Name))
			continue
		}
		s.add(w.info, place{segment: seg.header.number, offset: w.at, blob: w.blob})
	}
	if prepareAt := s.config.SegmentBytes / spareFrom; len(s.garbage) > 0 || before <= prepareAt && seg.end > prepareAt {
		s.wakeKeeper()
	}
	s.mu.Unlock()
	s.flights.remove(b.group)
	for _, w := range b.group {
		w.done <- nil
	}
}

// add takes a record into the catalogue.
func (s *Store) add(info object.Info, at place) {
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
