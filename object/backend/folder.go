package backend

import (
	"errors"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// OpenFolder makes a folder with folders in it, durably, and locks it until the lock is closed.
func OpenFolder(fs vfs.FS, dir string, folders ...string) (lock io.Closer, err error) {
	if err := fs.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	if lock, err = fs.Lock(fs.PathJoin(dir, "LOCK")); err != nil {
		return nil, err
	}
	for _, folder := range folders {
		if err == nil {
			err = fs.MkdirAll(fs.PathJoin(dir, folder), 0o750)
		}
	}
	if err == nil {
		err = errors.Join(SyncFolder(fs, dir), SyncFolder(fs, fs.PathDir(dir)))
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// SyncFolder makes the names of files in a folder durable.
func SyncFolder(fs vfs.FS, dir string) error {
	folder, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
