package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"carillon/backup"
	"carillon/directory"
	"carillon/directory/feed"
	"carillon/directory/location"
	"carillon/journal"
	"carillon/store"
)

// Report is what Verify has read, and what is wrong with it.
type Report struct {
	Files     int    // page files and manifests
	Pages     uint64 // in them
	Buckets   uint64
	Messages  uint64 // journal messages
	Series    int
	Locations uint64   // entries of the location directory
	Changes   uint64   // of it that its feed holds
	Copied    int      // files of a backup, each held against the backup's manifest
	Problems  []string // a line each
	Strangers []string // paths of files that are none of a data directory
}

// verifier checks a data directory, or what a backup has of one.
type verifier struct {
	Report
	data     *dataDir
	logger   *slog.Logger
	progress func(stage string, done, total uint64)

	sealed   []uint64 // by partition
	highest  []int64  // number of the last series that any page file has, by partition; -1 for none
	revision uint64   // of the location directory
}

func (v *verifier) problem(err error) { v.Problems = append(v.Problems, err.Error()) }

// Verify reads everything in a data directory that no server uses, or in a backup:
// every checksum, and that the parts agree with each other. An error means that it
// could not look; what it found wrong is in the report.
func Verify(ctx context.Context, dir string, progress func(stage string, done, total uint64)) (r Report, err error) {
	v := &verifier{logger: slog.New(slog.DiscardHandler), progress: progress}
	if _, err := os.Stat(dir); err != nil {
		return r, err
	}
	if found, err := backup.Find(backup.Config{}, dir); err == nil {
		err = v.backup(ctx, found)
		return v.Report, err
	}
	if v.data, err = openDataDir(dir, nil); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, v.data.close()) }()
	if err := v.stores(); err != nil {
		return v.Report, err
	}
	if err := v.databases(v.data); err != nil {
		return v.Report, err
	}
	if err := v.journal(ctx); err != nil {
		return v.Report, err
	}
	return v.Report, v.strangers()
}

// backup checks every file against the manifest, and then what the files say. The
// databases are opened in a copy, because that writes to them.
func (v *verifier) backup(ctx context.Context, dir string) (err error) {
	report, err := backup.Verify(ctx, backup.Config{Progress: func(done, total int64) {
		v.progress("checking checksums", uint64(done), uint64(total))
	}}, dir)
	if err != nil {
		return err
	}
	v.Copied, v.Problems = report.Files, report.Problems
	v.data = &dataDir{path: dir}
	text, err := os.ReadFile(filepath.Join(dir, IdentityName))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &v.data.identity); err != nil {
		v.problem(fmt.Errorf("%s: %w", IdentityName, err))
		return nil
	}
	if err := v.stores(); err != nil {
		return err
	}
	temporary, err := os.MkdirTemp("", "carillon-verify-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temporary)) }()
	for _, name := range []string{directoryName, locationsName} {
		if err := os.CopyFS(filepath.Join(temporary, name), os.DirFS(filepath.Join(dir, name))); err != nil {
			return fmt.Errorf("copying %s to be read: %w", name, err)
		}
	}
	return v.databases(&dataDir{path: temporary})
}

// stores checks the page files of all partitions.
func (v *verifier) stores() error {
	partitions := v.data.identity.Partitions
	v.sealed, v.highest = make([]uint64, partitions), make([]int64, partitions)
	total, err := bytesBelow(filepath.Join(v.data.path, storeName))
	if err != nil {
		return err
	}
	done := int64(0)
	checked := func(bytes int64) {
		done = min(done+bytes, total)
		v.progress("checking page files", uint64(done), uint64(total))
	}
	for i := range partitions {
		v.highest[i] = -1
		dir := v.data.store(i)
		listing, err := store.ReadListing(dir)
		if errors.Is(err, fs.ErrNotExist) { // nothing was sealed yet
			continue
		}
		report, err := store.Verify(dir, checked)
		if err != nil {
			return err
		}
		v.Files += report.Files
		v.Pages += report.Pages
		v.Buckets += report.Buckets
		for _, p := range report.Problems {
			v.problem(fmt.Errorf("%s: %w", p.File, p.Err))
		}
		if listing != nil {
			v.sealed[i], v.highest[i] = listing.Sealed, listing.Highest()
		}
	}
	return nil
}

// databases checks both databases, and that the first one knows the series of the page
// files.
func (v *verifier) databases(data *dataDir) error {
	v.directory(data.directory())
	return v.locations(data.locations())
}

func (v *verifier) directory(dir string) {
	partitions := v.data.identity.Partitions
	d, err := directory.Open(dir, partitions, directory.Caches{}, v.logger)
	if err != nil {
		v.problem(err)
		return
	}
	for i := range partitions {
		count := d.Count(i)
		v.Series += count
		if v.highest[i] >= int64(count) {
			v.problem(fmt.Errorf("%s: the page files have series %d of partition %d, but only %d are defined", dir, v.highest[i], i, count))
		}
	}
	if err := errors.Join(d.Verify(), d.Close()); err != nil {
		v.problem(err)
	}
	v.progress("checking the directory of series", 1, 1)
}

func (v *verifier) locations(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	d, err := location.Open(location.Config{Dir: dir, Logger: v.logger})
	if err != nil {
		v.problem(err)
		return nil
	}
	v.revision = d.Revision()
	if v.Locations, err = d.Verify(func(err error) { v.problem(fmt.Errorf("%s: %w", dir, err)) }); err != nil {
		v.problem(err)
	}
	v.progress("checking the location directory", 1, 1)
	return d.Close()
}

// errEnd ends the reading of a stream.
var errEnd = errors.New("end of the stream")

// journal checks both streams, and that stores and location directory can go on from
// them.
func (v *verifier) journal(ctx context.Context) (err error) {
	if _, err := os.Stat(v.data.journal()); errors.Is(err, fs.ErrNotExist) { // an external one
		return nil
	}
	partitions := v.data.identity.Partitions
	j, err := journal.Open(ctx, journal.Config{
		Dir: v.data.journal(), Partitions: partitions, Logger: v.logger, Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		v.problem(err)
		return nil
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	first, last, err := j.Bounds(ctx)
	if err != nil {
		return err
	}
	v.Messages = last + 1 - first
	for i, sealed := range v.sealed {
		if v.highest[i] >= 0 && (sealed > last || sealed+1 < first) {
			v.problem(fmt.Errorf("partition %d is sealed through journal message %d, but the journal has %d to %d", i, sealed, first, last))
		}
	}
	if last >= first {
		if err := v.messages(ctx, j, partitions, first, last); err != nil {
			return err
		}
	}
	return v.feed(ctx, j)
}

// messages reads what the journal holds, all partitions' parts of a message at a time.
func (v *verifier) messages(ctx context.Context, j *journal.Journal, partitions int, first, last uint64) error {
	var mu sync.Mutex
	done := uint64(0)
	group, ctx := errgroup.WithContext(ctx)
	for i, reader := range j.Readers(slices.Repeat([]uint64{first}, partitions)) {
		group.Go(func() error {
			defer reader.Close()
			var decoder journal.Decoder
			err := reader.Each(ctx, func(m journal.Message) error {
				err := m.Err
				for _, e := range m.Parts(&decoder) {
					err = errors.Join(err, e)
				}
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					v.problem(fmt.Errorf("journal of partition %d, message %d: %w", i, m.Sequence, err))
				}
				done++
				v.progress("checking the journal", min(done/uint64(partitions), last+1-first), last+1-first)
				if m.Sequence >= last {
					return errEnd
				}
				return nil
			})
			if errors.Is(err, errEnd) {
				return nil
			}
			return err
		})
	}
	return group.Wait()
}

// feed reads the changes of the location directory.
func (v *verifier) feed(ctx context.Context, j *journal.Journal) error {
	checked, err := feed.Verify(ctx, j.Connection(), v.problem)
	if err != nil {
		return err
	}
	v.Changes = checked.Changes
	if v.revision > checked.Last || v.revision > 0 && v.revision+1 < checked.First {
		v.problem(fmt.Errorf("the location directory is at revision %d, but its feed has %d to %d", v.revision, checked.First, checked.Last))
	}
	return nil
}

// strangers looks for files that are part of nothing, like those that a crash has left.
// They do no harm, and a server that starts removes its own.
func (v *verifier) strangers() error {
	listed := make(map[string]bool) // of the stores
	for i := range v.data.identity.Partitions {
		dir := v.data.store(i)
		listing, err := store.ReadListing(dir)
		if err != nil {
			continue // that it is damaged is said already
		}
		for _, path := range listing.Paths() {
			listed[filepath.Join(dir, path)] = true
		}
	}
	return filepath.WalkDir(v.data.path, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path, err := filepath.Rel(v.data.path, name)
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains([]string{directoryName, locationsName, journalName}, path):
			return fs.SkipDir
		case entry.IsDir() || path == lockName || path == IdentityName || listed[name]:
			return nil
		}
		v.Strangers = append(v.Strangers, name)
		return nil
	})
}
