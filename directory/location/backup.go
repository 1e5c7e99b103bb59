package location

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"
)

// A location directory is a folder of databases, one of them current: the one that
// the marker names. Restore makes another one beside it and moves the marker, which
// is one step for a power cut as well.
const (
	markerName       = "database"
	generationPrefix = "db-"
)

func (d *Directory) generationDir(generation string) string {
	return d.fs.PathJoin(d.config.Dir, generation)
}

// openMarker finds the current database's folder, and removes what a Restore that
// was cut short left behind.
func (d *Directory) openMarker() (err error) {
	d.marker, d.generation, err = atomicfs.LocateMarker(d.fs, d.config.Dir, markerName)
	if err != nil {
		return fmt.Errorf("find the current database: %w", err)
	}
	folders, err := d.generations()
	if err == nil && d.generation == "" {
		if len(folders) > 0 {
			err = fmt.Errorf("no marker says which of %s is current", strings.Join(folders, ", "))
		} else {
			d.generation = nextGeneration("")
			err = d.marker.Move(d.generation)
		}
	}
	for _, folder := range folders {
		if err == nil && folder != d.generation {
			err = d.fs.RemoveAll(d.generationDir(folder))
		}
	}
	if err != nil {
		return errors.Join(err, d.marker.Close())
	}
	return nil
}

func (d *Directory) generations() ([]string, error) {
	names, err := d.fs.List(d.config.Dir)
	if err != nil {
		return nil, err
	}
	var folders []string
	for _, name := range names {
		if strings.HasPrefix(name, generationPrefix) {
			folders = append(folders, name)
		}
	}
	return folders, nil
}

// nextGeneration counts on; what is no number counts as 0.
func nextGeneration(generation string) string {
	n, _ := strconv.ParseUint(strings.TrimPrefix(generation, generationPrefix), 10, 64)
	return generationPrefix + strconv.FormatUint(n+1, 10)
}

// Backup writes the directory as of one revision to dir, which must not exist. On
// the same file system it is made of hard links and takes no time.
func (d *Directory) Backup(dir string) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if err := d.ready(); err != nil {
		return err
	}
	if err := d.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
		return fmt.Errorf("back up to %s: %w", dir, err)
	}
	return nil
}

// Restore puts the backup in dir, of this directory or of another, in the place of
// the database, and empties all caches. The backup is copied and checked first;
// look-ups go on meanwhile. Revision is then the backup's, and the feed has to go
// on there. After an error the directory is what it was; after ErrStopped it is to
// be opened again.
func (d *Directory) Restore(dir string) error {
	d.applying.Lock()
	defer d.applying.Unlock()
	d.mu.RLock()
	err := d.ready()
	d.mu.RUnlock()
	if err != nil {
		return err
	}
	current, generation := d.generation, nextGeneration(d.generation)
	loaded, err := d.copyIn(dir, d.generationDir(generation))
	if err != nil {
		return fmt.Errorf("restore %s: %w", dir, errors.Join(err, d.fs.RemoveAll(d.generationDir(generation))))
	}
	if err := d.marker.Move(generation); err != nil {
		// Which of the two is current only the next Open can tell.
		err = fmt.Errorf("%w: restore %s: %w", ErrStopped, dir, errors.Join(err, loaded.db.Close()))
		d.stopped.Store(&err)
		return err
	}
	d.generation = generation
	if err := d.exchange(loaded); err != nil {
		d.logger.Warn("location: closing the database that was replaced", "err", err)
	}
	if err := d.fs.RemoveAll(d.generationDir(current)); err != nil {
		d.logger.Warn("location: removing the database that was replaced", "err", err)
	}
	if d.config.Follower != nil {
		d.config.Follower.Replaced()
	}
	return nil
}

// copyIn copies a backup, synced, and opens the copy.
func (d *Directory) copyIn(from, to string) (database, error) {
	// A folder of databases is no backup, and copying this one into itself would
	// never end. A database has a file of Pebble's that names its manifest.
	if manifest, err := atomicfs.ReadMarker(d.fs, from, "manifest"); err != nil {
		return database{}, err
	} else if manifest == "" {
		return database{}, errors.New("this is not a backup")
	}
	if err := d.fs.RemoveAll(to); err != nil {
		return database{}, err
	}
	if _, err := vfs.Clone(d.fs, d.fs, from, to, vfs.CloneSync); err != nil {
		return database{}, err
	}
	return d.load(to, false)
}

// exchange installs another database when no reader is between disk and cache.
func (d *Directory) exchange(loaded database) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.db
	d.install(loaded)
	return old.Close()
}
