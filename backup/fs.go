package backup

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// FS is the file system as backups see it: what they call here is all they do to a
// disk. Names are paths. Tests put their own in place to stop at any call.
type FS interface {
	// Open opens a file for reading; the error is fs.ErrNotExist without one.
	Open(name string) (io.ReadCloser, error)
	// Create makes a file for writing; the error is fs.ErrExist if there is one. Files
	// of a backup are shared with the server: none is ever opened for writing.
	Create(name string) (Writer, error)
	// Link makes a second name for a file. Where two names cannot share a file, on
	// different file systems for example, it fails.
	Link(from, to string) error
	// Rename puts a file in another one's place in one step.
	Rename(from, to string) error
	// RemoveAll removes a file, or a folder with all that is in it.
	RemoveAll(name string) error
	// List names what is in a folder, sorted; the error is fs.ErrNotExist without one.
	List(dir string) ([]string, error)
	// Walk lists all files below a folder, sorted by their paths from there.
	Walk(dir string) ([]Found, error)
	MkdirAll(dir string) error
	// SyncDir makes the creations, renames and removals in a folder durable.
	SyncDir(dir string) error
}

// Writer is a file being written.
type Writer interface {
	io.WriteCloser
	Sync() error
}

// Found is a file that Walk came by.
type Found struct {
	Path string // from the folder on, with slashes
	Size int64
}

// OS is the operating system's file system.
type OS struct{}

// Open opens a file for reading only.
func (OS) Open(name string) (io.ReadCloser, error) { return os.Open(name) }

// Create makes the file readable by its owner's group, writable by its owner.
func (OS) Create(name string) (Writer, error) {
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
}

// Link is link(2).
func (OS) Link(from, to string) error { return os.Link(from, to) }

// Rename is rename(2).
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// RemoveAll is unlink(2), and rmdir(2) for folders.
func (OS) RemoveAll(name string) error { return os.RemoveAll(name) }

// List reads a folder's names.
func (OS) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
	}
	return names, nil
}

// Walk reads a folder and those below it.
func (OS) Walk(dir string) (found []Found, err error) {
	err = filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		path, err := filepath.Rel(dir, name)
		found = append(found, Found{Path: filepath.ToSlash(path), Size: info.Size()})
		return err
	})
	return found, err
}

// MkdirAll makes a folder and those above it.
func (OS) MkdirAll(dir string) error { return os.MkdirAll(dir, 0o750) }

// SyncDir is fsync(2) of the folder itself.
func (OS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
