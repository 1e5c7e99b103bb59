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
	temporaryName = "tmp"
	loaders       = 8 // goroutines that read headers at the start
)

// folders are that of the files that are being written, and those by the first byte of the name's hash.
func folders() []string {
	names := []string{temporaryName}
	for i := range 256 {
		names = append(names, hex.EncodeToString([]byte{byte(i)}))
	}
	return names
}

// path is the file of a version: the hash of the name, and the version.
func (s *Store) path(name string, version object.Version) (folder, path string) {
	id := object.SumOf([]byte(name))
	folder = s.fs.PathJoin(s.config.Dir, hex.EncodeToString(id[:1]))
	return folder, s.fs.PathJoin(folder, id.String()+"-"+version.String())
}

func (s *Store) temporary() string {
	return s.fs.PathJoin(s.config.Dir, temporaryName, fmt.Sprintf("%016x", s.next.Add(1)))
}

// load removes what a crash has left half written, and reads the header of every other file.
func (s *Store) load() error {
	torn := s.fs.PathJoin(s.config.Dir, temporaryName)
	names, err := s.fs.List(torn)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := s.fs.Remove(s.fs.PathJoin(torn, name)); err != nil {
			return err
		}
	}
	var group errgroup.Group
	group.SetLimit(loaders)
	for _, folder := range folders()[1:] {
		group.Go(func() error { return s.loadFolder(s.fs.PathJoin(s.config.Dir, folder)) })
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
			s.config.Logger.Warn("pass over a file", "error", err)
			s.damaged.Add(1)
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

// loaded takes a file into the catalogue, and removes what it displaces.
func (s *Store) loaded(info object.Info) error {
	for _, e := range s.catalog.Add(info.Name, catalog.EntryOf(info, struct{}{})) {
		_, path := s.path(info.Name, e.Version)
		if err := s.fs.Remove(path); err != nil {
			return fmt.Errorf("remove version %s of %q: %w", e.Version, strings.ToValidUTF8(info.Name, "?"), err)
		}
	}
	return nil
}
