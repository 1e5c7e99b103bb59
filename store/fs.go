package store

import (
	"errors"
	"io"
	"os"
)

// FS is the file system as the store sees it: what it calls here is all it does
// to a disk. Names are paths. Tests put their own in place to fail, or to forget
// what was not synced, at any call.
type FS interface {
	// Create makes a file for writing, empty if it existed.
	Create(name string) (File, error)
	// Open opens a file for reading; the error is fs.ErrNotExist without one.
	Open(name string) (File, error)
	// Rename puts a file in another one's place in one step.
	Rename(from, to string) error
	Remove(name string) error
	// List names what is in a folder, sorted.
	List(dir string) ([]string, error)
	MkdirAll(dir string) error
	// SyncDir makes the creations, renames and removals in a folder durable.
	SyncDir(dir string) error
}

// File is one open file.
type File interface {
	io.Writer
	io.ReaderAt
	io.Closer
	Sync() error
	Size() (int64, error)
}

// OS is the operating system's file system.
type OS struct{}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Create makes the file readable by its owner's group, writable by its owner.
func (OS) Create(name string) (File, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Open opens a file for reading only.
func (OS) Open(name string) (File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Rename is rename(2): atomic inside one file system.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Remove unlinks a file.
func (OS) Remove(name string) error { return os.Remove(name) }

// MkdirAll makes a folder and those above it.
func (OS) MkdirAll(dir string) error { return os.MkdirAll(dir, 0o750) }

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

// SyncDir is fsync(2) of the folder itself.
func (OS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
