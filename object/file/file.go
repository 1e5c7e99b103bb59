// Package file keeps each version of an object in a file of its own, in one of 256 folders by
// the first byte of the name's hash. In come object.Store's calls; out go files, synced and renamed into
// place, and contents compared with their checksums; what is there is known from an
// index in memory, read from the headers of all files at the start. It is the backend for few or large
// objects; object/pack writes small ones many times faster.
package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"

	"carillon/object"
	"carillon/object/backend"
	"carillon/object/blob"
	"carillon/object/catalog"

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

const headSize = 64 << 10 // contents up to it are read before a file is made

// Store is the backend.
type Store struct {
	catalog.Reader[struct{}] // Stat, History and List

	config  Config
	fs      vfs.FS
	lock    io.Closer
	life    backend.Life
	names   *backend.Names // held while what is there of a name changes
	catalog *catalog.Catalog[struct{}]
	next    atomic.Uint64 // number of the next temporary file
	damaged atomic.Int64
	flusher flusher
}

var _ object.Store = (*Store)(nil)

// Open reads what is in a folder, and makes it if there is none.
func Open(config Config) (*Store, error) {
	keep, err := backend.Keep(config.Keep)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", config.Dir, err)
	}
	s := &Store{
		config:  config,
		fs:      config.FS,
		life:    backend.Life{Logger: config.Logger.With("dir", config.Dir)},
		names:   backend.NewNames(),
		catalog: catalog.New[struct{}](keep),
	}
	s.Reader = catalog.NewReader(&s.life, s.catalog)
	if s.fs == nil {
		s.fs = vfs.Default
	}
	if s.lock, err = backend.OpenFolder(s.fs, config.Dir, folders()...); err != nil {
		return nil, fmt.Errorf("open %s: %w", config.Dir, err)
	}
	if err := s.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", config.Dir, err), s.lock.Close())
	}
	s.flusher.start(s.fs, config.Sync, s.life.Stop)
	return s, nil
}

// Damaged is how many files could not be read at the start. They are left where they are.
func (s *Store) Damaged() int { return int(s.damaged.Load()) }

// Put implements object.Store.
func (s *Store) Put(ctx context.Context, name string, body io.Reader, o object.Put) (object.Info, error) {
	in, err := backend.NewIntake(ctx, name, body, o)
	if err != nil {
		return object.Info{}, err
	}
	if err := s.life.BeginWrite(); err != nil {
		return object.Info{}, err
	}
	defer s.life.Done()
	temporary := s.temporary()
	content, whole, err := in.Head(nil, headSize)
	if err != nil {
		return object.Info{}, err
	}
	var info object.Info
	if whole {
		info = in.Info()
		err = blob.WriteBytes(s.fs, temporary, info, content, s.config.Sync == backend.SyncAlways)
	} else {
		info, err = blob.Write(s.fs, temporary, name, in, s.config.Sync == backend.SyncAlways)
	}
	if err != nil {
		return object.Info{}, err
	}
	return info, s.place(temporary, info, o.If, o.Repair)
}

// Delete implements object.Store.
func (s *Store) Delete(_ context.Context, name string, o object.Delete) (object.Info, error) {
	if err := backend.CheckWrite(name, o.Version); err != nil {
		return object.Info{}, err
	}
	if err := s.life.BeginWrite(); err != nil {
		return object.Info{}, err
	}
	defer s.life.Done()
	info := object.Info{Name: name, Version: o.Version, Deleted: true}
	temporary := s.temporary()
	if err := blob.WriteBytes(s.fs, temporary, info, nil, s.config.Sync == backend.SyncAlways); err != nil {
		return object.Info{}, fmt.Errorf("delete %q: %w", name, err)
	}
	return info, s.place(temporary, info, o.If, false)
}

// place gives a written file its name, if its version is to be kept.
func (s *Store) place(temporary string, info object.Info, condition object.Condition, repair bool) error {
	defer s.names.Lock(info.Name)()
	write, err := s.catalog.Decide(info, condition, repair)
	if err == nil && write {
		err = s.rename(temporary, info)
	} else {
		err = errors.Join(err, s.fs.Remove(temporary))
	}
	if err != nil {
		return fmt.Errorf("write %q: %w", info.Name, err)
	}
	if !write {
		return nil
	}
	return s.unlink(info, s.catalog.Add(info.Name, catalog.EntryOf(info, struct{}{})))
}

// rename puts a file in place and makes that durable.
func (s *Store) rename(temporary string, info object.Info) error {
	folder, path := s.path(info.Name, info.Version)
	if err := s.fs.Rename(temporary, path); err != nil {
		return errors.Join(err, s.fs.Remove(temporary))
	}
	return s.settle(folder, path)
}

// settle makes durable that a file was put in place, or removed.
func (s *Store) settle(folder, path string) error {
	if s.config.Sync != backend.SyncAlways {
		s.flusher.dirty(folder, path)
		return nil
	}
	if err := backend.SyncFolder(s.fs, folder); err != nil {
		return s.life.Stop(err)
	}
	return nil
}

// unlink removes the files of versions that are no longer kept, not the one just put in place. A crash may bring
// them back; the next start removes them again.
func (s *Store) unlink(placed object.Info, displaced catalog.Versions[struct{}]) error {
	if _, interval := s.config.Sync.Interval(); interval && len(displaced) > 0 {
		folder, path := s.path(placed.Name, placed.Version)
		if err := syncFile(s.fs, folder, path); err != nil {
			return fmt.Errorf("write %q: %w", placed.Name, s.life.Stop(err))
		}
	}
	for _, e := range displaced {
		if e.Version == placed.Version {
			continue
		}
		_, path := s.path(placed.Name, e.Version)
		if err := s.fs.Remove(path); err != nil {
			return fmt.Errorf("write %q: remove version %s: %w", placed.Name, e.Version, s.life.Stop(err))
		}
	}
	return nil
}

// Get implements object.Store.
func (s *Store) Get(_ context.Context, name string, o object.Get) (object.Body, error) {
	if err := s.life.Begin(); err != nil {
		return nil, err
	}
	defer s.life.Done()
	for {
		e, err := s.catalog.Find(name, o.Version)
		if err != nil {
			return nil, err
		}
		_, path := s.path(name, e.Version)
		body, err := blob.Open(s.fs, path, e.Info(name), o)
		if errors.Is(err, object.ErrDamaged) {
			// Its file is missing, too, if a newer version has displaced it meanwhile.
			if _, gone := s.catalog.Find(name, e.Version); gone != nil {
				continue
			}
		}
		return body, err
	}
}

// Forget implements object.Store.
func (s *Store) Forget(ctx context.Context, before object.Version) (int, error) {
	if err := s.life.BeginWrite(); err != nil {
		return 0, err
	}
	defer s.life.Done()
	return backend.Forget(ctx, s.catalog.Deleted(before), s.drop)
}

// Drop implements object.Store.
func (s *Store) Drop(ctx context.Context, name string, v object.Version) error {
	if err := object.CheckName(name); err != nil {
		return err
	}
	if err := s.life.BeginWrite(); err != nil {
		return err
	}
	defer s.life.Done()
	known, err := s.drop(ctx, name, v)
	if err == nil && known {
		err = s.settle(s.path(name, v))
	}
	if err != nil {
		return fmt.Errorf("drop %q: %w", name, err)
	}
	return nil
}

// drop is a backend.Drop. A crash may bring the newest version back.
func (s *Store) drop(_ context.Context, name string, upTo object.Version) (known bool, err error) {
	defer s.names.Lock(name)()
	versions := s.catalog.Versions(name)
	if err := versions.CheckDrop(name, upTo); err != nil || len(versions) == 0 {
		return false, err
	}
	s.catalog.Remove(name)
	return true, s.remove(name, versions)
}

// remove removes the files of all versions of a name, older ones first: a crash between must not leave them
// without the newest, which may be the mark of their delete.
func (s *Store) remove(name string, versions catalog.Versions[struct{}]) error {
	for i := len(versions) - 1; i >= 0; i-- {
		folder, path := s.path(name, versions[i].Version)
		var err error
		if i == 0 { // also for versions that were displaced
			err = backend.SyncFolder(s.fs, folder)
		}
		if err == nil {
			err = s.fs.Remove(path)
		}
		if err != nil {
			return s.life.Stop(err)
		}
	}
	return nil
}

// Close implements object.Store.
func (s *Store) Close() error {
	if err := s.life.Close(); err != nil {
		return err
	}
	return errors.Join(s.flusher.stop(), s.lock.Close())
}
