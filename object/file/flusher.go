package file

import (
	"errors"
	"os"
	"sync"
	"time"

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
	done    chan struct{}

	mu    sync.Mutex
	paths map[string]string // file to folder
}

func (f *flusher) start(fs vfs.FS, policy backend.Sync, stopAll func(error) error) {
	interval, enabled := policy.Interval()
	f.fs, f.stopAll, f.enabled = fs, stopAll, enabled
	if !enabled {
		return
	}
	f.quit, f.done, f.paths = make(chan struct{}), make(chan struct{}), map[string]string{}
	go f.run(interval)
}

func (f *flusher) run(interval time.Duration) {
	defer close(f.done)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-f.quit:
			return
		case <-ticker.C:
			_ = f.flush() // a failure stops the store
		}
	}
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
	if !f.enabled {
		return nil
	}
	close(f.quit)
	<-f.done
	return f.flush()
}

// syncFile makes a file and its name durable, or that it was removed.
func syncFile(fs vfs.FS, folder, path string) error {
	file, err := fs.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return syncDir(fs, folder)
	}
	if err != nil {
		return err
	}
	if err := errors.Join(file.SyncData(), file.Close()); err != nil {
		return err
	}
	return syncDir(fs, folder)
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
