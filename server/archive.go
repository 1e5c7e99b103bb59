package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"carillon/archive"
	"carillon/backup"
)

// ArchiveConfig says where copies of the data go while the server runs.
type ArchiveConfig struct {
	URL   string        // see archive.Open; empty for none
	Token string        // for nodes of an object cluster
	Every time.Duration // between two
	Keep  int           // catalogues that stay; 0 for all
}

// Check tells what is wrong with it.
func (c ArchiveConfig) Check() error {
	switch {
	case c.URL == "":
		return nil
	case c.Every < time.Second || c.Keep < 0:
		return fmt.Errorf("archive every %s, keeping %d: want 1s or more, and 0 or more", c.Every, c.Keep)
	}
	return archive.Check(c.URL)
}

// archiver archives over and over until ctx ends. What fails is said, and tried again the next time: points are
// taken all the same.
func (b *backups) archiver(ctx context.Context, c ArchiveConfig) error {
	tick := time.NewTicker(c.Every)
	defer tick.Stop()
	for {
		made, err := b.archive(ctx, c)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			b.logger.Error("archiving failed", "error", err)
		default:
			b.logger.Info("archived", "catalogue", made.Catalogue, "files", made.Files, "bytes", made.Bytes, "sent", made.Sent, "removed", made.Removed)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (b *backups) archive(ctx context.Context, c ArchiveConfig) (made archive.Made, err error) {
	b.making.Lock()
	defer b.making.Unlock()
	a, err := archive.Open(ctx, c.URL, c.Token, b.logger)
	if err != nil {
		return made, err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	files, position, release, err := b.collect(ctx)
	defer func() { err = errors.Join(err, release()) }()
	if err != nil {
		return made, err
	}
	return a.Make(ctx, b.now(), position, c.Keep, files, func(int64, int64) {})
}

// RestoreArchive is Restore of the newest catalogue of an archive; c.Backup is not looked at.
func RestoreArchive(ctx context.Context, c RestoreConfig, url, token string, logger *slog.Logger) (r Restored, err error) {
	a, err := archive.Open(ctx, url, token, logger)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	source, err := a.Source(ctx)
	if err != nil {
		return r, fmt.Errorf("archive %s: %w", url, err)
	}
	c.Backup, c.FS = source.Dir(), source
	return Restore(ctx, c)
}

// collect seals and lists the files of the data directory, which stay as they are until release.
//
// Sealing makes everything acknowledged before be in files that never change,
// and the backup needs no part of the journal, which JetStream keeps in a form that
// cannot be copied while it works: only the position behind which a restored server
// goes on. What is acknowledged meanwhile may be in the backup or not.
//
// The order matters. A page file names series by numbers that the directory had before
// the file was committed; so the page files are held first and the directory is
// taken after them, and then knows all their series, or more.
func (b *backups) collect(ctx context.Context) (files []backup.File, position uint64, release func() error, err error) {
	var held []func()
	release = func() error {
		for _, free := range held {
			free()
		}
		return os.RemoveAll(b.snapshot())
	}
	if err := b.partitions.Seal(ctx); err != nil {
		return nil, 0, release, err
	}
	for i, s := range b.stores {
		snapshot := s.Snapshot()
		held = append(held, snapshot.Release)
		position = max(position, snapshot.Sealed())
		files = appendStore(files, filepath.ToSlash((&dataDir{}).store(i)), snapshot)
	}
	identity, err := b.identity()
	if err != nil {
		return nil, 0, release, err
	}
	files, err = b.appendDatabases(append(files, identity))
	return files, position, release, err
}
