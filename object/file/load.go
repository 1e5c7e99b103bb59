package file

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"carillon/object"
	"carillon/object/blob"
	"carillon/object/catalog"

	"golang.org/x/sync/errgroup"
)

const (
	folders       = 256
	temporaryName = "tmp"
	loaders       = 8 // goroutines that read headers at the start
)

// path is the file of a version: the hash of the name, and the version.
func (s *Store) path(name string, version object.Version) (folder, path string) {
	id := object.SumOf([]byte(name))
	folder = s.fs.PathJoin(s.config.Dir, hex.EncodeToString(id[:1]))
	return folder, s.fs.PathJoin(folder, id.String()+"-"+version.String())
}

func (s *Store) temporary() string {
	return s.fs.PathJoin(s.config.Dir, temporaryName, fmt.Sprintf("%016x", s.next.Add(1)))
}

// prepare makes the folders, locks them, and removes what a crash left half written.
func (s *Store) prepare() (err error) {
	fs, dir := s.fs, s.config.Dir
	if err := fs.MkdirAll(fs.PathJoin(dir, temporaryName), 0o750); err != nil {
		return err
	}
	if s.lock, err = fs.Lock(fs.PathJoin(dir, "LOCK")); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.lock.Close())
		}
	}()
	for i := range folders {
		if err := fs.MkdirAll(fs.PathJoin(dir, hex.EncodeToString([]byte{byte(i)})), 0o750); err != nil {
			return err
		}
	}
	torn, err := fs.List(fs.PathJoin(dir, temporaryName))
	if err != nil {
		return err
	}
	for _, name := range torn {
		if err := fs.Remove(fs.PathJoin(dir, temporaryName, name)); err != nil {
			return err
		}
	}
	if err := syncDir(fs, dir); err != nil {
		return err
	}
	return syncDir(fs, fs.PathDir(dir))
}

// load reads the header of every file.
func (s *Store) load() error {
	var group errgroup.Group
	group.SetLimit(loaders)
	for i := range folders {
		folder := s.fs.PathJoin(s.config.Dir, hex.EncodeToString([]byte{byte(i)}))
		group.Go(func() error { return s.loadFolder(folder) })
	}
	return group.Wait()
}

func (s *Store) loadFolder(folder string) error {
	names, err := s.fs.List(folder)
	if err != nil {
		return err
	}
	for _, name := range names {
		path := s.fs.PathJoin(folder, name)
		info, err := blob.ReadHeader(s.fs, path)
		if err == nil {
			if _, want := s.path(info.Name, info.Version); want != path {
				err = fmt.Errorf("%w: %s: it is of %q version %s", object.ErrDamaged, path, info.Name, info.Version)
			}
		}
		switch {
		case errors.Is(err, os.ErrNotExist): // removed as displaced by a version read before it
			continue
		case errors.Is(err, object.ErrDamaged):
			s.passOver(err)
			continue
		case err != nil:
			return err
		}
		if err := s.loaded(info); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) passOver(err error) {
	s.config.Logger.Warn("pass over a file", "error", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.damaged++
}

// loaded takes a file into the catalogue, and removes what it displaces.
func (s *Store) loaded(info object.Info) error {
	s.mu.Lock()
	displaced := s.catalog.Add(info.Name, catalog.Entry[struct{}]{Version: info.Version, Size: info.Size, Sum: info.Sum, Deleted: info.Deleted})
	s.mu.Unlock()
	for _, e := range displaced {
		_, path := s.path(info.Name, e.Version)
		if err := s.fs.Remove(path); err != nil {
			return fmt.Errorf("remove version %s of %q: %w", e.Version, strings.ToValidUTF8(info.Name, "?"), err)
		}
	}
	return nil
}
