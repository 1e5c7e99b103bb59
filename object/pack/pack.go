// Package pack keeps small objects in large append-only files, segments, and syncs many writes
// at once. In come object.Store's calls; out go records that one goroutine appends, a group
// of them with one sync, and contents compared with their checksums. It is the backend
// for many objects: every write is durable before it returns, and costs a part of a sync.
//
// The segments are a log. The index in memory is what the log says, read in order; a checkpoint of it only saves
// reading the log from its beginning. Which of two records counts is decided by their
// versions and not by their order, so compaction may append a record again that is still needed and then remove the segment
// that it was in. docs/format/object-pack.md describes the bytes, and what a crash can leave.
package pack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"carillon/object"
	"carillon/object/backend"
	"carillon/object/blob"
	"carillon/object/catalog"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/semaphore"
)

// Config is of a Store.
type Config struct {
	Dir          string
	Keep         int // versions of a name; 0 means 1, at most backend.MaxKeep
	Sync         backend.Sync
	SegmentBytes int64  // after which a segment is full; 0 means 64 MiB
	CompactRate  int64  // bytes a second that compaction moves, unless space is short; 0 means 32 MiB
	FS           vfs.FS // nil for the operating system's
	Logger       *slog.Logger
}

const (
	maxInline      = 1 << 20 // bytes of content in a segment; larger ones have a file of their own
	maxGroupBytes  = 4 << 20 // written at once, plus one record
	maxIntakeBytes = 64 << 20

	minSegmentBytes = 4 * pageSize // so that compaction, which fills the pages, gains something
)

// place says where a version is.
type place struct {
	segment uint64
	offset  int64
	blob    uint64
}

type entry = catalog.Entry[place]

// Store is the backend. Who puts encodes a record; a goroutine, the writer, appends groups of them and, if the policy is always, syncs
// each; another one, the keeper, compacts, checkpoints and, if the policy is an interval, syncs.
type Store struct {
	catalog.Reader[place] // Stat, History and List

	config  Config
	fs      vfs.FS
	lock    io.Closer
	intake  *semaphore.Weighted // of bytes that bodies being put take in memory
	bodies  sync.Pool           // of *[]byte, for these and for contents being read
	log     log
	blobs   atomic.Uint64 // number of the last one
	life    backend.Life
	damaged int // records and segments that could not be read at the start

	mu       sync.RWMutex
	catalog  *catalog.Catalog[place] // changed only under mu, so that it agrees with the segments
	segments map[uint64]*segment
	current  *segment // the one that is appended to; nil until there is something to append
	garbage  []uint64

	wake       chan struct{} // has one element when there is work for the keeper
	quit       chan struct{} // closed for the keeper to end, which the writer outlives
	keeper     sync.WaitGroup
	writer     sync.WaitGroup
	keeping    sync.Mutex // one checkpoint or compaction at a time; before mu
	unsaved    int64      // bytes appended since the last checkpoint; under mu
	checkpoint int64      // bytes of it; the keeper's
	tail       tail       // of the current segment; the writer's
}

var _ object.Store = (*Store)(nil)

// Open reads what is in a folder, and makes it if there is none.
func Open(config Config) (*Store, error) {
	keep, err := backend.Keep(config.Keep)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", config.Dir, err)
	}
	if config.SegmentBytes == 0 {
		config.SegmentBytes = 64 << 20
	}
	if config.CompactRate == 0 {
		config.CompactRate = 32 << 20
	}
	if config.SegmentBytes < minSegmentBytes || config.SegmentBytes > math.MaxInt64/4 || config.CompactRate < 0 {
		return nil, fmt.Errorf("open %s: segments of %d bytes, compaction of %d bytes a second", config.Dir, config.SegmentBytes, config.CompactRate)
	}
	s := &Store{
		config:   config,
		fs:       config.FS,
		intake:   semaphore.NewWeighted(maxIntakeBytes),
		life:     backend.Life{Logger: config.Logger.With("dir", config.Dir)},
		catalog:  catalog.New[place](keep),
		segments: map[uint64]*segment{},
		wake:     make(chan struct{}, 1),
		quit:     make(chan struct{}),
	}
	if s.fs == nil {
		s.fs = vfs.Default
	}
	if err := errors.Join(s.log.init(config), s.load()); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", config.Dir, err), s.release())
	}
	s.Reader = catalog.NewReader(&s.life, s.catalog)
	s.writer.Go(s.write)
	s.keeper.Go(s.keep)
	s.wakeKeeper()
	return s, nil
}

// Put implements object.Store.
func (s *Store) Put(ctx context.Context, name string, body io.Reader, o object.Put) (object.Info, error) {
	in, err := backend.NewIntake(ctx, name, body, o)
	if err != nil {
		return object.Info{}, err
	}
	if err := s.life.BeginWrite(); err != nil {
		return object.Info{}, fmt.Errorf("put %q: %w", name, err)
	}
	defer s.life.Done()
	weight := int64(maxInline)
	if o.Size >= 0 {
		weight = min(weight, o.Size)
	}
	if err := s.intake.Acquire(ctx, weight); err != nil {
		return object.Info{}, fmt.Errorf("put %q: %w", name, err)
	}
	defer s.intake.Release(weight)
	buffer := s.body()
	defer s.bodies.Put(buffer)
	content, whole, err := in.Head(*buffer, maxInline)
	if err != nil {
		return object.Info{}, err
	}
	*buffer = content
	w := &write{condition: o.If, repair: o.Repair}
	if whole {
		w.info, w.content = in.Info(), content
	} else if w.info, w.blob, err = s.putBlob(name, in); err != nil {
		return object.Info{}, err
	}
	return s.submit(w)
}

func (s *Store) body() *[]byte {
	if buffer, ok := s.bodies.Get().(*[]byte); ok {
		return buffer
	}
	return new([]byte)
}

// putBlob writes a large content to a file of its own, which a record will refer to.
func (s *Store) putBlob(name string, in *backend.Intake) (object.Info, uint64, error) {
	number := s.blobs.Add(1)
	info, err := blob.Write(s.fs, s.blobPath(number), name, in, s.config.Sync != backend.SyncNone)
	if err == nil && s.config.Sync == backend.SyncAlways {
		err = backend.SyncFolder(s.fs, s.path(blobsFolder))
	}
	return info, number, err
}

// Delete implements object.Store.
func (s *Store) Delete(_ context.Context, name string, o object.Delete) (object.Info, error) {
	if err := backend.CheckWrite(name, o.Version); err != nil {
		return object.Info{}, err
	}
	if err := s.life.BeginWrite(); err != nil {
		return object.Info{}, fmt.Errorf("delete %q: %w", name, err)
	}
	defer s.life.Done()
	return s.submit(&write{info: object.Info{Name: name, Version: o.Version, Deleted: true}, condition: o.If})
}

// Drop implements object.Store. Its record has no effect on what is appended later.
func (s *Store) Drop(_ context.Context, name string, v object.Version) error {
	if err := object.CheckName(name); err != nil {
		return err
	}
	if err := s.life.BeginWrite(); err != nil {
		return fmt.Errorf("drop %q: %w", name, err)
	}
	defer s.life.Done()
	_, err := s.submit(&write{info: object.Info{Name: name, Version: v}, drop: true})
	return err
}

// submit waits until a write is done.
func (s *Store) submit(w *write) (object.Info, error) {
	s.add(w)
	err := w.wait()
	if w.blob != 0 && !w.written() {
		err = errors.Join(err, s.fs.Remove(s.blobPath(w.blob)))
	}
	if err != nil {
		return object.Info{}, fmt.Errorf("write %q: %w", w.info.Name, err)
	}
	return w.info, nil
}

// Get implements object.Store.
func (s *Store) Get(_ context.Context, name string, o object.Get) (object.Body, error) {
	if err := s.life.Begin(); err != nil {
		return nil, err
	}
	defer s.life.Done()
	for {
		e, seg, err := s.find(name, o.Version)
		if err != nil {
			return nil, err
		}
		info := e.Info(name)
		if seg != nil {
			return s.read(seg, info, e.Where, o)
		}
		body, err := blob.Open(s.fs, s.blobPath(e.Where.blob), info, o)
		if errors.Is(err, object.ErrDamaged) {
			// Its file is missing, too, if a newer version has displaced it meanwhile.
			if now, gone := s.catalog.Find(name, e.Version); gone != nil || now.Where.blob != e.Where.blob {
				continue
			}
		}
		return body, err
	}
}

// find returns a version that has a content; if that is in a segment, with a reference to the segment.
func (s *Store) find(name string, version object.Version) (entry, *segment, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e, err := s.catalog.Find(name, version)
	if err != nil || e.Where.blob != 0 {
		return e, nil, err
	}
	seg := s.segments[e.Where.segment]
	if seg == nil {
		return e, nil, backend.Damaged(e.Info(name), fmt.Sprintf("segment %d is missing", e.Where.segment))
	}
	seg.acquire()
	return e, seg, nil
}

// read reads a content from its segment and gives the reference back.
func (s *Store) read(seg *segment, info object.Info, at place, o object.Get) (object.Body, error) {
	defer seg.release()
	offset, length, err := backend.Range(info.Name, o, info.Size)
	if err != nil {
		return nil, err
	}
	buffer := s.body()
	*buffer = slices.Grow((*buffer)[:0], int(info.Size))[:info.Size]
	if err := seg.read(*buffer, info, at); err != nil {
		s.bodies.Put(buffer)
		return nil, err
	}
	return backend.NewLentBody(info, *buffer, offset, length, func() { s.bodies.Put(buffer) })
}

// Forget implements object.Store. It begins with a checkpoint that has forgotten already, because the log
// still has what was deleted, and nothing else will say any more that it was.
func (s *Store) Forget(_ context.Context, before object.Version) (int, error) {
	if err := s.life.BeginWrite(); err != nil {
		return 0, fmt.Errorf("forget deletes: %w", err)
	}
	defer s.life.Done()
	s.keeping.Lock()
	defer s.keeping.Unlock()
	snap := s.snapshot()
	marks := snap.catalog.Deleted(before)
	if len(marks) == 0 {
		return 0, nil
	}
	for _, mark := range marks {
		snap.catalog.Remove(mark.Name)
	}
	if err := s.writeCheckpoint(snap); err != nil {
		return 0, fmt.Errorf("forget deletes: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	forgotten := 0
	for _, mark := range marks {
		// What was written since is behind the checkpoint, and stands.
		if versions := s.catalog.Versions(mark.Name); len(versions) > 0 && versions[0].Version == mark.Version {
			s.forget(mark.Name, versions)
			forgotten++
		}
	}
	return forgotten, nil
}

// Close implements object.Store. What was written is synced, whatever the policy.
func (s *Store) Close() error {
	if err := s.life.Close(); err != nil {
		return err
	}
	close(s.quit)
	s.keeper.Wait()
	close(s.log.ended)
	s.writer.Wait()
	err := s.closeTail()
	if s.life.Stopped() == nil && s.unsaved > 0 {
		err = errors.Join(err, s.writeCheckpoint(s.snapshot()))
	}
	return errors.Join(err, s.release())
}

// release closes the files and gives the folder free.
func (s *Store) release() (err error) {
	for _, seg := range s.segments {
		err = errors.Join(err, seg.release())
	}
	err = errors.Join(err, s.log.release())
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}

// Stats is what a Store holds.
type Stats struct {
	Names      int
	Segments   int
	DiskBytes  int64 // in segments; large contents have files of their own
	LiveBytes  int64 // of those, in records that count
	Damaged    int   // records and segments that could not be read at the start
	Stopped    error
	IndexStale int64 // bytes that the next start reads beyond the checkpoint
}

// Stats counts.
func (s *Store) Stats() Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	stats := Stats{Names: s.catalog.Len(), Segments: len(s.segments), Damaged: s.damaged, Stopped: s.life.Stopped(), IndexStale: s.unsaved}
	for _, seg := range s.segments {
		stats.DiskBytes += seg.end
		stats.LiveBytes += seg.live
	}
	return stats
}
