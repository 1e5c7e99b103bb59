package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"carillon/backup"
	"carillon/directory/feed"
	"carillon/directory/location"
	"carillon/journal"
	"carillon/store"
)

// RestoreConfig says what to make of a backup.
type RestoreConfig struct {
	Backup string // a backup, or a folder with some, of which the newest is taken
	Dir    string // becomes a data directory; must be empty or not there
	// ExternalJournal keeps the positions of an external journal, which still has what
	// was not sealed: none is begun.
	ExternalJournal bool
	FS              backup.FS // where Backup is; nil for the operating system's
	Logger          *slog.Logger
	Progress        func(stage string, done, total uint64)
}

// Restored is what Restore made.
type Restored struct {
	Backup string // the one that was taken
	backup.Manifest
}

// Restore copies a backup to a new data directory and checks every checksum on the
// way. The directory serves when it returns; after an interruption it is refused,
// until Restore is run again, which goes on.
func Restore(ctx context.Context, c RestoreConfig) (r Restored, err error) {
	if r.Backup, err = backup.Find(backup.Config{FS: c.FS}, c.Backup); err != nil {
		return r, err
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return r, fmt.Errorf("data directory: %w", err)
	}
	lock, err := lockFile(filepath.Join(c.Dir, lockName))
	if err != nil {
		return r, fmt.Errorf("data directory %s: %w", c.Dir, err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	config := backup.Config{FS: c.FS, Progress: func(done, total int64) { c.Progress("copying and checking", uint64(done), uint64(total)) }}
	m, err := backup.Restore(ctx, config, r.Backup, c.Dir, []string{lockName}, func(m *backup.Manifest) error {
		return c.finish(ctx, m)
	})
	if err == nil {
		r.Manifest = *m
	}
	return r, err
}

// finish gives the copy a journal of its own, which goes on behind the positions in
// the backup.
func (c *RestoreConfig) finish(ctx context.Context, m *backup.Manifest) error {
	d := &dataDir{path: c.Dir}
	text, err := os.ReadFile(filepath.Join(c.Dir, IdentityName))
	if err == nil {
		err = json.Unmarshal(text, &d.identity)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", IdentityName, err)
	}
	if c.ExternalJournal {
		return nil
	}
	for i := range d.identity.Partitions {
		if err := store.MoveSealed(d.store(i), m.Position); err != nil {
			return err
		}
	}
	return c.beginJournal(ctx, d, m.Position)
}

// beginJournal makes both streams: the points', and that of the location directory's
// changes, whose revisions go on.
func (c *RestoreConfig) beginJournal(ctx context.Context, d *dataDir, position uint64) error {
	locations, err := location.Open(location.Config{Dir: d.locations(), Logger: c.Logger})
	if err != nil {
		return err
	}
	revision := locations.Revision()
	if err := locations.Close(); err != nil {
		return err
	}
	config := journal.Config{Dir: d.journal(), Partitions: d.identity.Partitions, Logger: c.Logger, Registerer: prometheus.NewRegistry()}
	if err := journal.Begin(ctx, config, position); err != nil {
		return err
	}
	j, err := journal.Open(ctx, config)
	if err != nil {
		return err
	}
	return errors.Join(feed.Begin(ctx, j.Connection(), revision, feedReplicas), j.Close())
}
