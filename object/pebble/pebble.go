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
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"carillon/object"
	"carillon/object/backend"
	"carillon/object/catalog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Config is of a Store.
type Config struct {
	Dir    string
	Keep   int // versions of a name; 0 means 1, at most backend.MaxKeep
	Sync   backend.Sync
	FS     vfs.FS // nil for the operating system's
	Logger *slog.Logger
}

const (
	inlineSize = 64 << 10 // contents up to it are in the record
	chunkSize  = 256 << 10
	formatFrom = pebble.FormatTableFormatV6
)

// Store is the backend.
type Store struct {
	config Config
	keep   int
	db     *pebble.DB
	life   backend.Life   // also of bodies that are open
	names  *backend.Names // held while what is there of a name changes
	upload atomic.Uint64  // number of the last content in chunks
	quit   chan struct{}
	syncer sync.WaitGroup
}

var _ object.Store = (*Store)(nil)

// Open opens the database in a folder, and makes it if there is none.
func Open(config Config) (*Store, error) {
	keep, err := backend.Keep(config.Keep)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", config.Dir, err)
	}
	if config.FS == nil {
		config.FS = vfs.Default
	}
	options := &pebble.Options{FS: ordered{config.FS}, FormatMajorVersion: formatFrom, Logger: logger{config.Logger}}
	db, err := pebble.Open(config.Dir, options)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", config.Dir, err)
	}
	s := &Store{config: config, keep: keep, db: db, names: backend.NewNames(), quit: make(chan struct{})}
	if err := s.recover(); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", config.Dir, err), db.Close())
	}
	s.syncer.Go(func() { config.Sync.Run(s.quit, s.sync) })
	return s, nil
}

// logger brings what the database says to the log.
type logger struct{ *slog.Logger }

func (l logger) Infof(format string, args ...any)  { l.Debug(fmt.Sprintf(format, args...)) }
func (l logger) Errorf(format string, args ...any) { l.Error(fmt.Sprintf(format, args...)) }

// Fatalf must not return: the database calls it when it cannot go on.
func (l logger) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (s *Store) sync() {
	if err := s.db.LogData(nil, pebble.Sync); err != nil {
		s.config.Logger.Error("sync objects", "dir", s.config.Dir, "error", err)
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

// Put implements object.Store.
func (s *Store) Put(ctx context.Context, name string, body io.Reader, o object.Put) (object.Info, error) {
	in, err := backend.NewIntake(ctx, name, body, o)
	if err != nil {
		return object.Info{}, err
	}
	if err := s.life.Begin(); err != nil {
		return object.Info{}, err
	}
	defer s.life.Done()
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
	if err := s.life.Begin(); err != nil {
		return object.Info{}, err
	}
	defer s.life.Done()
	info := object.Info{Name: name, Version: o.Version, Deleted: true}
	_, err := s.commit(info, value{}, o.If, false)
	return info, err
}

// commit adds a record, and removes what it displaces in the same batch. Written is false if nothing
// was, because of an error or because the version is there or too old.
func (s *Store) commit(info object.Info, v value, condition object.Condition, repair bool) (written bool, err error) {
	defer s.names.Lock(info.Name)()
	versions, err := s.versions(info.Name)
	if err == nil {
		written, err = versions.Decide(s.keep, info, condition, repair)
	}
	if err == nil && written {
		_, displaced := versions.Add(s.keep, catalog.EntryOf(info, v.upload))
		err = s.change(func(batch *pebble.Batch) error { return replace(batch, info, v, displaced) })
	}
	if err != nil {
		return false, fmt.Errorf("write %q: %w", info.Name, err)
	}
	return written, nil
}

// change commits what do puts into a batch.
func (s *Store) change(do func(*pebble.Batch) error) error {
	batch := s.db.NewBatch()
	err := do(batch)
	if err == nil {
		err = batch.Commit(s.writeOptions())
	}
	return errors.Join(err, batch.Close())
}

// replace sets a record in the place of those that it displaces, one of which may be under its key.
func replace(batch *pebble.Batch, info object.Info, v value, displaced versions) error {
	err := drop(batch, info.Name, displaced)
	if v.upload != 0 {
		err = errors.Join(err, batch.Delete(uploadKey(v.upload), nil))
	}
	return errors.Join(err, batch.Set(recordKey(info.Name, info.Version), appendRecord(nil, info, v), nil))
}

// drop removes versions of a name.
func drop(batch *pebble.Batch, name string, dropped versions) (err error) {
	for _, e := range dropped {
		err = errors.Join(err, batch.Delete(recordKey(name, e.Version), nil))
		if e.Where != 0 {
			err = errors.Join(err, dropUpload(batch, e.Where))
		}
	}
	return err
}

// Forget implements object.Store.
func (s *Store) Forget(ctx context.Context, before object.Version) (forgotten int, err error) {
	if err := s.life.Begin(); err != nil {
		return 0, err
	}
	defer s.life.Done()
	for o := (object.List{Deleted: true}); ; {
		page, err := s.list(o)
		if err != nil {
			return forgotten, err
		}
		marks := slices.DeleteFunc(page.Objects, func(newest object.Info) bool {
			return !newest.Deleted || newest.Version.Compare(before) >= 0
		})
		n, err := backend.Forget(ctx, marks, s.drop)
		forgotten += n
		if o.After = page.Next; err != nil || o.After == "" {
			return forgotten, err
		}
	}
}

// Drop implements object.Store.
func (s *Store) Drop(ctx context.Context, name string, v object.Version) error {
	if err := object.CheckName(name); err != nil {
		return err
	}
	if err := s.life.Begin(); err != nil {
		return err
	}
	defer s.life.Done()
	if _, err := s.drop(ctx, name, v); err != nil {
		return fmt.Errorf("drop %q: %w", name, err)
	}
	return nil
}

// drop is a backend.Drop.
func (s *Store) drop(_ context.Context, name string, upTo object.Version) (known bool, err error) {
	defer s.names.Lock(name)()
	versions, err := s.versions(name)
	if err == nil {
		err = versions.CheckDrop(name, upTo)
	}
	if err != nil || len(versions) == 0 {
		return false, err
	}
	return true, s.change(func(batch *pebble.Batch) error { return drop(batch, name, versions) })
}

// Close implements object.Store. What was written is synced, whatever the policy. It waits for bodies that are open.
func (s *Store) Close() error {
	if err := s.life.Close(); err != nil {
		return err
	}
	close(s.quit)
	s.syncer.Wait()
	return errors.Join(s.db.LogData(nil, pebble.Sync), s.db.Close())
}
