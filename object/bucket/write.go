package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"carillon/object"
	"carillon/object/backend"
	"carillon/object/blob"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// spool holds the files of puts until they are sent: only then size and checksum are known, which are in the key, and only
// what is whole is sent.
type spool struct {
	fs  vfs.FS
	dir string
}

// spooled is a file ready to be sent.
type spooled struct {
	io.ReadSeeker
	size  int64
	close func() error
}

func (f *spooled) Close() error { return f.close() }

func inMemory(info object.Info, content []byte) *spooled {
	whole := blob.Append(make([]byte, 0, blob.Overhead(info.Name, info.Size)+info.Size), info, content)
	return &spooled{bytes.NewReader(whole), int64(len(whole)), func() error { return nil }}
}

// fill reads a body to its end.
func (p *spool) fill(name string, in *backend.Intake) (object.Info, *spooled, error) {
	content, whole, err := in.Head(nil, headSize)
	if err != nil {
		return object.Info{}, nil, err
	}
	if whole {
		return in.Info(), inMemory(in.Info(), content), nil
	}
	temporary, err := os.CreateTemp(p.dir, "carillon-object-*")
	if err != nil {
		return object.Info{}, nil, fmt.Errorf("put %q: %w", name, err)
	}
	end := func() error { return errors.Join(temporary.Close(), os.Remove(temporary.Name())) }
	info, err := blob.Write(p.fs, temporary.Name(), name, in, false)
	if err != nil { // and the file is removed
		return object.Info{}, nil, errors.Join(err, temporary.Close())
	}
	return info, &spooled{temporary, blob.Overhead(name, info.Size) + info.Size, end}, nil
}

// place sends a file, if its version is to be kept, and removes what it displaces.
func (s *Store) place(ctx context.Context, info object.Info, file *spooled, condition object.Condition, repair bool) error {
	lock := s.nameLock(info.Name)
	lock.Lock()
	defer lock.Unlock()
	s.mu.RLock()
	write, err := s.catalog.Decide(info, condition, repair)
	s.mu.RUnlock()
	if err != nil {
		return fmt.Errorf("write %q: %w", info.Name, err)
	}
	if !write {
		return nil
	}
	if err := s.service.Put(ctx, key(info), file, file.size); err != nil {
		err = fmt.Errorf("write %q: %w", info.Name, err)
		if repair { // what is there is the same version
			return err
		}
		return errors.Join(err, s.discard(ctx, []object.Info{info}))
	}
	var displaced []object.Info
	s.mu.Lock()
	for _, e := range slices.Backward(s.catalog.Add(info.Name, entryOf(info))) {
		if e.Version != info.Version {
			displaced = append(displaced, e.Info(info.Name))
		}
	}
	s.mu.Unlock()
	if err := s.discard(ctx, displaced); err != nil {
		s.config.Logger.Warn("displaced versions stay for now", "name", info.Name, "error", err)
	}
	return nil
}

// discard removes versions that nobody sees any more, in this order. What cannot be removed is in doubt, and nothing is written until it is:
// else it could show again after what displaced it has been forgotten.
func (s *Store) discard(ctx context.Context, infos []object.Info) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeFor)
	defer cancel()
	for i, info := range infos {
		if err := s.service.Remove(ctx, key(info)); err != nil {
			s.mu.Lock()
			s.doubts = append(s.doubts, infos[i:]...)
			s.mu.Unlock()
			return fmt.Errorf("remove %q version %s: %w", info.Name, info.Version, err)
		}
	}
	return nil
}

// settleDoubts removes what could not be removed before.
func (s *Store) settleDoubts(ctx context.Context) error {
	s.settling.Lock()
	defer s.settling.Unlock()
	s.mu.RLock()
	doubts := slices.Clone(s.doubts)
	s.mu.RUnlock()
	for _, info := range doubts {
		if err := s.settle(ctx, info); err != nil {
			return fmt.Errorf("%w for now: remove %q version %s: %w", object.ErrStopped, info.Name, info.Version, err)
		}
		s.mu.Lock()
		s.doubts = s.doubts[1:]
		s.mu.Unlock()
	}
	return nil
}

func (s *Store) settle(ctx context.Context, info object.Info) error {
	lock := s.nameLock(info.Name)
	lock.Lock()
	defer lock.Unlock()
	if s.counts(info) {
		return nil
	}
	return s.service.Remove(ctx, key(info))
}

// counts tells whether a version is one of those that readers see: it has been written once more.
func (s *Store) counts(info object.Info) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e, there := s.catalog.Find(info.Name, info.Version)
	return there && key(e.Info(info.Name)) == key(info)
}

func (s *Store) remove(ctx context.Context, infos []object.Info) error {
	for _, info := range infos {
		if err := s.service.Remove(ctx, key(info)); err != nil {
			return fmt.Errorf("remove %q version %s: %w", info.Name, info.Version, err)
		}
	}
	return nil
}

// Forget implements object.Store.
func (s *Store) Forget(ctx context.Context, before object.Version) (int, error) {
	if err := s.beginWrite(ctx); err != nil {
		return 0, fmt.Errorf("forget deletes: %w", err)
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
		newest := named.Entries[0].Version
		done, err := s.drop(ctx, named.Name, newest)
		switch {
		case errors.Is(err, object.ErrConflict): // written since
		case err != nil:
			return forgotten, fmt.Errorf("forget the delete of %q: %w", named.Name, err)
		case done:
			forgotten++
		}
	}
	return forgotten, nil
}

// Drop implements object.Store.
func (s *Store) Drop(ctx context.Context, name string, v object.Version) error {
	if err := object.CheckName(name); err != nil {
		return err
	}
	if err := s.beginWrite(ctx); err != nil {
		return fmt.Errorf("drop %q: %w", name, err)
	}
	defer s.running.Done()
	if _, err := s.drop(ctx, name, v); err != nil {
		return fmt.Errorf("drop %q: %w", name, err)
	}
	return nil
}

// drop removes all versions of a name if the newest is not newer than v; the newest last: it may be the mark of a delete of the others.
func (s *Store) drop(ctx context.Context, name string, v object.Version) (there bool, err error) {
	lock := s.nameLock(name)
	lock.Lock()
	defer lock.Unlock()
	s.mu.Lock()
	versions, err := s.catalog.Droppable(name, v)
	if err != nil || len(versions) == 0 {
		s.mu.Unlock()
		return false, err
	}
	s.catalog.Remove(name)
	s.mu.Unlock()
	var infos []object.Info
	for _, e := range slices.Backward(versions) {
		infos = append(infos, e.Info(name))
	}
	return true, s.discard(ctx, infos)
}
