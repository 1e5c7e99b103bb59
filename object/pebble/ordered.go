package pebble

import (
	"errors"
	"strings"

	"carillon/object/backend"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ordered is a file system on which the name of a manifest is on the disk before the marker
// that refers to it. Pebble syncs the folder once, behind both; where a file system does not keep
// the order of such changes, a loss of power can leave the marker without the manifest.
type ordered struct{ vfs.FS }

// Create implements vfs.FS.
func (fs ordered) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.Create(name, category)
	if err != nil || !strings.HasPrefix(fs.PathBase(name), "MANIFEST-") {
		return f, err
	}
	if err := backend.SyncFolder(fs.FS, fs.PathDir(name)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Unwrap implements vfs.FS.
func (fs ordered) Unwrap() vfs.FS { return fs.FS }
