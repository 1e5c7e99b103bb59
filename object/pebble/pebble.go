// Package pebble keeps objects in a Pebble database: one record a version, and the
// content of large ones in chunks. In come object.Store's calls; out go committed batches, and
// contents compared with their checksums. It is the backend for stores whose names do
// not fit into memory, since nothing of it but caches is there.
package pebble

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"carillon/object"
	"carillon/object/backend"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Config is of a Store.
type Config struct {
	Dir    string
	Keep   int // versions of a name; 0 means 1, at most MaxKeep
	Sync   backend.Sync
	FS     vfs.FS // nil for the operating system's
	Logger *slog.Logger
}

const (
	MaxKeep = 64 // bounds Config.Keep

	nameLocks  = 64       // writes of names in different ones of these go on side by side
	inlineSize = 64 << 10 // contents up to it are in the record
	chunkSize  = 256 << 10
	formatFrom = pebble.FormatTableFormatV6
)

// Store is the backend.
type Store struct {
	config Config
	db     *pebble.DB
	naming [nameLocks]sync.Mutex // held while what is there of a name changes
	seed   maphash.Seed
	upload atomic.Uint64 // number of the last content in chunks

	mu      sync.RWMutex
	closed  bool
	running sync.WaitGroup // calls, and bodies that are open
	quit    chan struct{}
	syncer  sync.WaitGroup
}

var _ object.Store = (*Store)(nil)

// Open opens the database in a folder, and makes it if there is none.
func Open(config Config) (*Store, error) {
	if config.Keep == 0 {
		config.Keep = 1
	}
	if config.Keep < 1 || config.Keep > MaxKeep {
		return nil, fmt.Errorf("open %s: keep %d versions: want 1 to %d", config.Dir, config.Keep, MaxKeep)
	}
	if config.FS == nil {
		config.FS = vfs.Default
	}
	options := &pebble.Options{FS: ordered{config.FS}, FormatMajorVersion: formatFrom, Logger: logger{config.Logger}}
	db, err := pebble.Open(config.Dir, options)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", config.Dir, err)
	}
	s := &Store{config: config, db: db, seed: maphash.MakeSeed(), quit: make(chan struct{})}
	if err := s.recover(); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", config.Dir, err), db.Close())
	}
	if interval, enabled := config.Sync.Interval(); enabled {
		s.syncer.Go(func() { s.syncEvery(interval) })
	}
	return s, nil
}

// logger brings what the database says to the log.
type logger struct{ *slog.Logger }

func (l logger) Infof(format string, args ...any)  { l.Debug(fmt.Sprintf(format, args...)) }
func (l logger) Errorf(format string, args ...any) { l.Error(fmt.Sprintf(format, args...)) }

// Fatalf must not return: the database calls it when it cannot go on.
func (l logger) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (s *Store) syncEvery(interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-s.quit:
			return
		case <-ticker.C:
			if err := s.db.LogData(nil, pebble.Sync); err != nil {
				s.config.Logger.Error("sync objects", "dir", s.config.Dir, "error", err)
			}
		}
	}
}

// recover removes the chunks of contents that a crash has cut off.
func (s *Store) recover() error {
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{uploadKeys}, UpperBound: []byte{uploadKeys + 1}})
	if err != nil {
		return err
	}
	batch := s.db.NewBatch()
	for valid := iter.First(); valid && err == nil; valid = iter.Next() {
		if len(iter.Key()) != 9 {
			err = fmt.Errorf("%w: key %x", object.ErrDamaged, iter.Key())
			break
		}
		err = dropUpload(batch, binary.BigEndian.Uint64(iter.Key()[1:]))
	}
	if err = errors.Join(err, iter.Error(), iter.Close()); err == nil {
		err = batch.Commit(pebble.Sync)
	}
	last, lastErr := s.lastUpload()
	s.upload.Store(last)
	return errors.Join(err, lastErr, batch.Close())
}

func (s *Store) lastUpload() (uint64, error) {
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{chunkKeys}, UpperBound: []byte{chunkKeys + 1}})
	if err != nil {
		return 0, err
	}
	last := uint64(0)
	if iter.Last() && len(iter.Key()) == 13 {
		last = binary.BigEndian.Uint64(iter.Key()[1:])
	}
	return last, errors.Join(iter.Error(), iter.Close())
}

func (s *Store) writeOptions() *pebble.WriteOptions {
	if s.config.Sync == backend.SyncAlways {
		return pebble.Sync
	}
	return pebble.NoSync
}

// begin keeps Close waiting until the caller is done.
func (s *Store) begin() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return object.ErrClosed
	}
	s.running.Add(1)
	return nil
}

// Put implements object.Store.
func (s *Store) Put(ctx context.Context, name string, body io.Reader, o object.Put) (object.Info, error) {
	in, err := backend.NewIntake(ctx, name, body, o)
	if err != nil {
		return object.Info{}, err
	}
	if err := s.begin(); err != nil {
		return object.Info{}, err
	}
	defer s.running.Done()
	content, whole, err := in.Head(nil, inlineSize)
	if err != nil {
		return object.Info{}, err
	}
	v := value{content: content}
	if !whole {
		v = value{upload: s.upload.Add(1)}
		if err := s.writeChunks(name, in, v.upload); err != nil {
			return object.Info{}, errors.Join(err, s.abandon(v.upload))
		}
	}
	info := in.Info()
	written, err := s.commit(info, v, o.If, o.Repair)
	if !written && v.upload != 0 {
		err = errors.Join(err, s.abandon(v.upload))
	}
	return info, err
}

// writeChunks writes a content behind a mark that says that it is not yet complete.
// Nothing is synced before the record is: the log is in order.
func (s *Store) writeChunks(name string, in io.Reader, upload uint64) error {
	if err := s.db.Set(uploadKey(upload), nil, pebble.NoSync); err != nil {
		return fmt.Errorf("put %q: %w", name, err)
	}
	buffer := make([]byte, chunkHeader+chunkSize)
	for chunk := uint32(0); ; chunk++ {
		n, readErr := io.ReadFull(in, buffer[chunkHeader:])
		if n > 0 {
			sealChunk(buffer[:chunkHeader+n])
			if err := s.db.Set(chunkKey(upload, chunk), buffer[:chunkHeader+n], pebble.NoSync); err != nil {
				return fmt.Errorf("put %q: %w", name, err)
			}
		}
		switch {
		case readErr == io.EOF || readErr == io.ErrUnexpectedEOF: //nolint:errorlint // of ReadFull itself
			return nil
		case readErr != nil:
			return readErr
		}
	}
}

// abandon removes the chunks of a content that no record refers to.
func (s *Store) abandon(upload uint64) error {
	batch := s.db.NewBatch()
	err := dropUpload(batch, upload)
	if err == nil {
		err = batch.Commit(pebble.NoSync)
	}
	return errors.Join(err, batch.Close())
}

func dropUpload(batch *pebble.Batch, upload uint64) error {
	return errors.Join(
		batch.DeleteRange(chunkKey(upload, 0), chunkKey(upload+1, 0), nil),
		batch.Delete(uploadKey(upload), nil))
}

// Delete implements object.Store.
func (s *Store) Delete(_ context.Context, name string, o object.Delete) (object.Info, error) {
	if err := backend.CheckWrite(name, o.Version); err != nil {
		return object.Info{}, err
	}
	if err := s.begin(); err != nil {
		return object.Info{}, err
	}
	defer s.running.Done()
	info := object.Info{Name: name, Version: o.Version, Deleted: true}
	_, err := s.commit(info, value{}, o.If, false)
	return info, err
}

// commit adds a record, and removes what it displaces in the same batch. Written is false if nothing
// was, because of an error or because the version is there or too old.
func (s *Store) commit(info object.Info, v value, condition object.Condition, repair bool) (written bool, err error) {
	lock := s.nameLock(info.Name)
	lock.Lock()
	defer lock.Unlock()
	batch := s.db.NewBatch()
	written, err = s.decide(batch, info, v, condition, repair)
	if err == nil && written {
		err = batch.Commit(s.writeOptions())
	}
	if err = errors.Join(err, batch.Close()); err != nil {
		return false, fmt.Errorf("write %q: %w", info.Name, err)
	}
	return written, nil
}

// decide fills the batch with what a write changes.
func (s *Store) decide(batch *pebble.Batch, info object.Info, v value, condition object.Condition, repair bool) (bool, error) {
	versions, err := s.versions(info.Name)
	if err != nil {
		return false, err
	}
	newest := object.Info{}
	if len(versions) > 0 {
		newest = versions[0].info
	}
	newer, there := 0, -1
	for i, old := range versions {
		switch c := old.info.Version.Compare(info.Version); {
		case c > 0:
			newer++
		case c == 0:
			there = i
		}
	}
	switch {
	case there >= 0 && versions[there].info != info:
		return false, &object.ConflictError{Newest: newest}
	case there >= 0 && !repair:
		return false, nil // a write that is repeated has met its condition the first time
	case there < 0:
		if err := condition.Check(newest); err != nil || newer >= s.config.Keep {
			return false, err
		}
	}
	return true, s.change(batch, info, v, versions, there)
}

func (s *Store) change(batch *pebble.Batch, info object.Info, v value, versions []stored, there int) error {
	if there >= 0 {
		if err := dropContent(batch, versions[there]); err != nil {
			return err
		}
	} else if len(versions) >= s.config.Keep {
		for _, old := range versions[s.config.Keep-1:] {
			if err := drop(batch, old); err != nil {
				return err
			}
		}
	}
	if v.upload != 0 {
		if err := batch.Delete(uploadKey(v.upload), nil); err != nil {
			return err
		}
	}
	return batch.Set(recordKey(info.Name, info.Version), appendRecord(nil, info, v), nil)
}

func drop(batch *pebble.Batch, old stored) error {
	return errors.Join(batch.Delete(recordKey(old.info.Name, old.info.Version), nil), dropContent(batch, old))
}

func dropContent(batch *pebble.Batch, old stored) error {
	if old.upload == 0 {
		return nil
	}
	return dropUpload(batch, old.upload)
}

// Forget implements object.Store.
func (s *Store) Forget(ctx context.Context, before object.Version) (int, error) {
	if err := s.begin(); err != nil {
		return 0, err
	}
	defer s.running.Done()
	forgotten := 0
	for o := (object.List{Deleted: true}); ; {
		page, err := s.list(o)
		if err != nil {
			return forgotten, err
		}
		for _, info := range page.Objects {
			if err := ctx.Err(); err != nil {
				return forgotten, fmt.Errorf("forget deletes: %w", err)
			}
			done, err := s.forget(info.Name, before)
			if err != nil {
				return forgotten, fmt.Errorf("forget the delete of %q: %w", info.Name, err)
			}
			if done {
				forgotten++
			}
		}
		if o.After = page.Next; o.After == "" {
			return forgotten, nil
		}
	}
}

func (s *Store) forget(name string, before object.Version) (bool, error) {
	lock := s.nameLock(name)
	lock.Lock()
	defer lock.Unlock()
	versions, err := s.versions(name)
	if err != nil || len(versions) == 0 || !versions[0].info.Deleted || versions[0].info.Version.Compare(before) >= 0 {
		return false, err
	}
	err = s.remove(versions)
	return err == nil, err
}

// Drop implements object.Store.
func (s *Store) Drop(_ context.Context, name string, v object.Version) error {
	if err := object.CheckName(name); err != nil {
		return err
	}
	if err := s.begin(); err != nil {
		return err
	}
	defer s.running.Done()
	lock := s.nameLock(name)
	lock.Lock()
	defer lock.Unlock()
	versions, err := s.versions(name)
	switch {
	case err != nil || len(versions) == 0:
	case versions[0].info.Version.Compare(v) > 0:
		err = &object.ConflictError{Newest: versions[0].info}
	default:
		err = s.remove(versions)
	}
	if err != nil {
		return fmt.Errorf("drop %q: %w", name, err)
	}
	return nil
}

// remove drops all versions of a name, whose lock is held.
func (s *Store) remove(versions []stored) (err error) {
	batch := s.db.NewBatch()
	for _, old := range versions {
		err = errors.Join(err, drop(batch, old))
	}
	if err == nil {
		err = batch.Commit(s.writeOptions())
	}
	return errors.Join(err, batch.Close())
}

func (s *Store) nameLock(name string) *sync.Mutex {
	return &s.naming[maphash.String(s.seed, name)%nameLocks]
}

// Close implements object.Store. What was written is synced, whatever the policy. It waits for bodies that are open.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return object.ErrClosed
	}
	s.closed = true
	s.mu.Unlock()
	s.running.Wait()
	close(s.quit)
	s.syncer.Wait()
	return errors.Join(s.db.LogData(nil, pebble.Sync), s.db.Close())
}
