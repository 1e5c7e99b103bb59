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
	"carillon/object/catalog"

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
	defer s.names.Lock(info.Name)()
	write, err := s.catalog.Decide(info, condition, repair)
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
	displaced := oldestFirst(info.Name, s.catalog.Add(info.Name, catalog.EntryOf(info, struct{}{})))
	displaced = slices.DeleteFunc(displaced, func(old object.Info) bool { return old.Version == info.Version })
	if err := s.discard(ctx, displaced); err != nil {
		s.config.Logger.Warn("displaced versions stay for now", "name", info.Name, "error", err)
	}
	return nil
}

func oldestFirst(name string, versions catalog.Versions[struct{}]) []object.Info {
	infos := versions.Infos(name)
	slices.Reverse(infos)
	return infos
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
	s.mu.Lock()
	doubts := slices.Clone(s.doubts)
	s.mu.Unlock()
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
	defer s.names.Lock(info.Name)()
	if s.counts(info) {
		return nil
	}
	return s.service.Remove(ctx, key(info))
}

// counts tells whether a version is one of those that readers see: it has been written once more.
func (s *Store) counts(info object.Info) bool {
	e, there := s.catalog.Versions(info.Name).Find(info.Version)
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
	defer s.life.Done()
	return backend.Forget(ctx, s.catalog.Deleted(before), s.drop)
}

// Drop implements object.Store.
func (s *Store) Drop(ctx context.Context, name string, v object.Version) error {
	if err := object.CheckName(name); err != nil {
		return err
	}
	if err := s.beginWrite(ctx); err != nil {
		return fmt.Errorf("drop %q: %w", name, err)
	}
	defer s.life.Done()
	if _, err := s.drop(ctx, name, v); err != nil {
		return fmt.Errorf("drop %q: %w", name, err)
	}
	return nil
}

// drop is a backend.Drop. It removes the newest version last: it may be the mark of a delete of the others.
func (s *Store) drop(ctx context.Context, name string, upTo object.Version) (known bool, err error) {
	defer s.names.Lock(name)()
	versions := s.catalog.Versions(name)
	if err := versions.CheckDrop(name, upTo); err != nil || len(versions) == 0 {
		return false, err
	}
	s.catalog.Remove(name)
	return true, s.discard(ctx, oldestFirst(name, versions))
}
