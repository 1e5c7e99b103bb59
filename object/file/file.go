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
	"hash/maphash"
	"io"
	"log/slog"
	"sync"
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
	Keep   int // versions of a name; 0 means 1, at most catalog.MaxKeep
	Sync   backend.Sync
	FS     vfs.FS // nil for the operating system's
	Logger *slog.Logger
}

const (
	nameLocks = 64       // writes of names in different ones of these go on side by side
	headSize  = 64 << 10 // contents up to it are read before a file is made
)

// Store is the backend.
type Store struct {
	config Config
	fs     vfs.FS
	lock   io.Closer

	naming  [nameLocks]sync.Mutex // held while what is there of a name changes; before mu
	seed    maphash.Seed
	next    atomic.Uint64 // number of the next temporary file
	flusher flusher

	mu      sync.RWMutex
	catalog *catalog.Catalog[struct{}]
	closed  bool
	stopped error // after a failed sync or removal; then nothing is written any more
	damaged int   // files that could not be read at the start
	running sync.WaitGroup
}

var _ object.Store = (*Store)(nil)

// Open reads what is in a folder, and makes it if there is none.
func Open(config Config) (*Store, error) {
	if config.Keep == 0 {
		config.Keep = 1
	}
	if config.Keep < 1 || config.Keep > catalog.MaxKeep {
		return nil, fmt.Errorf("open %s: keep %d versions: want 1 to %d", config.Dir, config.Keep, catalog.MaxKeep)
	}
	s := &Store{config: config, fs: config.FS, seed: maphash.MakeSeed(), catalog: catalog.New[struct{}](config.Keep)}
	if s.fs == nil {
		s.fs = vfs.Default
	}
	if err := s.prepare(); err != nil {
		return nil, fmt.Errorf("open %s: %w", config.Dir, err)
	}
	if err := s.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", config.Dir, err), s.lock.Close())
	}
	s.flusher.start(s.fs, config.Sync, s.stop)
	return s, nil
}

// Damaged is how many files could not be read at the start. They are left where they are.
func (s *Store) Damaged() int { return s.damaged }

// begin keeps Close waiting until the caller is done.
func (s *Store) begin() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return object.ErrClosed
	}
	if s.stopped != nil {
		return s.stopped
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
	if err := s.begin(); err != nil {
		return object.Info{}, err
	}
	defer s.running.Done()
	info := object.Info{Name: name, Version: o.Version, Deleted: true}
	temporary := s.temporary()
	if err := blob.WriteBytes(s.fs, temporary, info, nil, s.config.Sync == backend.SyncAlways); err != nil {
		return object.Info{}, fmt.Errorf("delete %q: %w", name, err)
	}
	return info, s.place(temporary, info, o.If, false)
}

// place gives a written file its name, if its version is to be kept.
func (s *Store) place(temporary string, info object.Info, condition object.Condition, repair bool) error {
	lock := s.nameLock(info.Name)
	lock.Lock()
	defer lock.Unlock()
	s.mu.RLock()
	write, err := s.catalog.Decide(info, condition, repair)
	s.mu.RUnlock()
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
	entry := catalog.Entry[struct{}]{Version: info.Version, Size: info.Size, Sum: info.Sum, Deleted: info.Deleted}
	s.mu.Lock()
	displaced := s.catalog.Add(info.Name, entry)
	s.mu.Unlock()
	return s.unlink(info, displaced)
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
	if err := syncDir(s.fs, folder); err != nil {
		return s.stop(err)
	}
	return nil
}

// unlink removes the files of versions that are no longer kept, not the one just put in place. A crash may bring
// them back; the next start removes them again.
func (s *Store) unlink(placed object.Info, displaced []catalog.Entry[struct{}]) error {
	if _, interval := s.config.Sync.Interval(); interval && len(displaced) > 0 {
		folder, path := s.path(placed.Name, placed.Version)
		if err := syncFile(s.fs, folder, path); err != nil {
			return fmt.Errorf("write %q: %w", placed.Name, s.stop(err))
		}
	}
	for _, e := range displaced {
		if e.Version == placed.Version {
			continue
		}
		_, path := s.path(placed.Name, e.Version)
		if err := s.fs.Remove(path); err != nil {
			return fmt.Errorf("write %q: remove version %s: %w", placed.Name, e.Version, s.stop(err))
		}
	}
	return nil
}

// Get implements object.Store.
func (s *Store) Get(_ context.Context, name string, o object.Get) (object.Body, error) {
	for {
		info, err := s.find(name, o.Version)
		if err != nil {
			return nil, err
		}
		_, path := s.path(name, info.Version)
		body, err := blob.Open(s.fs, path, info, o)
		if errors.Is(err, object.ErrDamaged) {
			// Its file is missing, too, if a newer version has displaced it meanwhile.
			if _, gone := s.find(name, info.Version); gone != nil {
				continue
			}
		}
		return body, err
	}
}

func (s *Store) find(name string, version object.Version) (object.Info, error) {
	if err := object.CheckName(name); err != nil {
		return object.Info{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return object.Info{}, object.ErrClosed
	}
	e, there := s.catalog.Find(name, version)
	if !there {
		return object.Info{}, fmt.Errorf("%q: %w", name, object.ErrNotFound)
	}
	if e.Deleted {
		return e.Info(name), fmt.Errorf("%q: %w", name, object.ErrNotFound)
	}
	return e.Info(name), nil
}

// Stat implements object.Store.
func (s *Store) Stat(_ context.Context, name string) (object.Info, error) {
	return s.find(name, object.Version{})
}

// History implements object.Store.
func (s *Store) History(_ context.Context, name string) ([]object.Info, error) {
	if err := object.CheckName(name); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, object.ErrClosed
	}
	return s.catalog.History(name), nil
}

// List implements object.Store.
func (s *Store) List(_ context.Context, o object.List) (object.Page, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return object.Page{}, object.ErrClosed
	}
	return s.catalog.List(o), nil
}

// Forget implements object.Store.
func (s *Store) Forget(ctx context.Context, before object.Version) (int, error) {
	if err := s.begin(); err != nil {
		return 0, err
	}
	defer s.running.Done()
	s.mu.Lock() // a clone marks the original
	found := s.catalog.Clone().Forgettable(before)
	s.mu.Unlock()
	forgotten := 0
	for _, named := range found {
		if err := ctx.Err(); err != nil {
			return forgotten, fmt.Errorf("forget deletes: %w", err)
		}
		done, err := s.forget(named.Name, before)
		if err != nil {
			return forgotten, fmt.Errorf("forget the delete of %q: %w", named.Name, err)
		}
		if done {
			forgotten++
		}
	}
	return forgotten, nil
}

func (s *Store) forget(name string, before object.Version) (bool, error) {
	lock := s.nameLock(name)
	lock.Lock()
	defer lock.Unlock()
	s.mu.RLock()
	versions := s.catalog.Versions(name)
	s.mu.RUnlock()
	if len(versions) == 0 || !versions[0].Deleted || versions[0].Version.Compare(before) >= 0 {
		return false, nil
	}
	return true, s.remove(name, versions)
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
	s.mu.RLock()
	versions, err := s.catalog.Droppable(name, v)
	s.mu.RUnlock()
	if err == nil && len(versions) > 0 {
		if err = s.remove(name, versions); err == nil {
			err = s.settle(s.path(name, versions[0].Version))
		}
	}
	if err != nil {
		return fmt.Errorf("drop %q: %w", name, err)
	}
	return nil
}

// remove drops all versions of a name, whose lock is held, older ones first: a crash between must not leave them
// without the newest, which may be the mark of their delete.
func (s *Store) remove(name string, versions []catalog.Entry[struct{}]) error {
	s.mu.Lock()
	s.catalog.Remove(name)
	s.mu.Unlock()
	for i := len(versions) - 1; i >= 0; i-- {
		folder, path := s.path(name, versions[i].Version)
		var err error
		if i == 0 { // also for versions that were displaced
			err = syncDir(s.fs, folder)
		}
		if err == nil {
			err = s.fs.Remove(path)
		}
		if err != nil {
			return s.stop(err)
		}
	}
	return nil
}

// stop is the end of all writing: after a failed sync or removal nobody knows which versions the next start will find.
func (s *Store) stop(cause error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped == nil {
		s.stopped = fmt.Errorf("%w: %w", object.ErrStopped, cause)
		s.config.Logger.Error("objects take no more writes", "dir", s.config.Dir, "error", cause)
	}
	return s.stopped
}

func (s *Store) nameLock(name string) *sync.Mutex {
	return &s.naming[maphash.String(s.seed, name)%nameLocks]
}

// Close implements object.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return object.ErrClosed
	}
	s.closed = true
	s.mu.Unlock()
	s.running.Wait()
	return errors.Join(s.flusher.stop(), s.lock.Close())
}
