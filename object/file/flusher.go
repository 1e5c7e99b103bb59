package file

import (
	"errors"
	"os"
	"sync"

	"carillon/object/backend"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// flushMost bounds how many files wait for the flusher; a write that finds so many flushes them itself.
const flushMost = 4096

// flusher syncs files and folders in the background, for the policy of an interval.
type flusher struct {
	fs      vfs.FS
	stopAll func(cause error) error // called after a failed sync
	enabled bool
	quit    chan struct{}
	running sync.WaitGroup

	mu    sync.Mutex
	paths map[string]string // file to folder
}

func (f *flusher) start(fs vfs.FS, policy backend.Sync, stopAll func(error) error) {
	_, enabled := policy.Interval()
	f.fs, f.stopAll, f.enabled, f.quit, f.paths = fs, stopAll, enabled, make(chan struct{}), map[string]string{}
	f.running.Go(func() { policy.Run(f.quit, func() { _ = f.flush() }) }) // a failure stops the store
}

func (f *flusher) dirty(folder, path string) {
	if !f.enabled {
		return
	}
	f.mu.Lock()
	f.paths[path] = folder
	full := len(f.paths) >= flushMost
	f.mu.Unlock()
	if full {
		_ = f.flush()
	}
}

func (f *flusher) flush() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for path, folder := range f.paths {
		if err := syncFile(f.fs, folder, path); err != nil {
			return f.stopAll(err)
		}
		delete(f.paths, path)
	}
	return nil
}

func (f *flusher) stop() error {
	close(f.quit)
	f.running.Wait()
	return f.flush()
}

// syncFile makes a file and its name durable, or that it was removed.
func syncFile(fs vfs.FS, folder, path string) error {
	file, err := fs.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return backend.SyncFolder(fs, folder)
	}
	if err != nil {
		return err
	}
	if err := errors.Join(file.SyncData(), file.Close()); err != nil {
		return err
	}
	return backend.SyncFolder(fs, folder)
}
