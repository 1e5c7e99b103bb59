package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"carillon/backup"
	"carillon/directory"
	"carillon/directory/httpapi"
	"carillon/directory/location"
	"carillon/partition"
	"carillon/store"
)

const (
	// snapshotName is a folder in the data directory, there while a backup is made: the
	// two databases as they were at one moment, hard links for the most part.
	snapshotName = "snapshot"

	reportEvery        = 200 * time.Millisecond // between two lines of a backup's progress
	maxBackupBodyBytes = 64 << 10
)

// BackupPath is where POST makes a backup.
const BackupPath = "/api/v1/admin/backup"

// BackupRequest is the body of a request to back up.
type BackupRequest struct {
	Dir  string `json:"dir"`  // target: an absolute path on the server's machine
	Keep int    `json:"keep"` // how many backups stay there; 0: all
}

// BackupLine is one line of the answer, which comes while the backup is made. The last
// one has an error or a result.
type BackupLine struct {
	Stage  string       `json:"stage,omitempty"`
	Done   int64        `json:"done,omitempty"`
	Total  int64        `json:"total,omitempty"`
	Error  string       `json:"error,omitempty"`
	Result *backup.Made `json:"result,omitempty"`
}

// backups makes backups of a running server, one at a time.
type backups struct {
	data       *dataDir
	stores     []*store.Store
	partitions *partition.Set
	directory  *directory.Directory
	locations  *location.Directory
	logger     *slog.Logger
	now        func() time.Time

	making sync.Mutex
}

// newBackups removes what a backup that was cut short has left: it holds on to files
// that the databases no longer need.
func newBackups(p *parts) *backups {
	b := &backups{
		data: p.data, stores: p.stores, partitions: p.partitions, directory: p.directory,
		locations: p.locations.directory, logger: p.logger, now: time.Now,
	}
	if err := os.RemoveAll(b.snapshot()); err != nil {
		p.logger.Warn("removing what a backup has left", "error", err)
	}
	return b
}

func (b *backups) snapshot() string { return filepath.Join(b.data.path, snapshotName) }

func (b *backups) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var request BackupRequest
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBackupBodyBytes)).Decode(&request)
	switch {
	case httpapi.FromHere(r) != nil:
		http.Error(w, "backups are for clients on the server's own machine: "+httpapi.FromHere(r).Error(), http.StatusForbidden)
		return
	case err != nil:
		http.Error(w, "the request: "+err.Error(), http.StatusBadRequest)
		return
	case !filepath.IsAbs(request.Dir) || request.Keep < 0:
		http.Error(w, fmt.Sprintf("dir %.80q, keep %d: want an absolute path on the server's machine, and 0 or more", request.Dir, request.Keep), http.StatusBadRequest)
		return
	case !b.making.TryLock():
		http.Error(w, "another backup is being made", http.StatusConflict)
		return
	}
	defer b.making.Unlock()
	w.Header().Set("Content-Type", "application/x-ndjson")
	say := func(line BackupLine) {
		// An error here is the client's connection, whose end ends the backup.
		_ = json.NewEncoder(w).Encode(line)
		_ = http.NewResponseController(w).Flush()
	}
	made, err := b.make(r.Context(), filepath.Clean(request.Dir), request.Keep, say)
	if err != nil {
		b.logger.Error("backup failed", "target", request.Dir, "error", err)
		say(BackupLine{Error: err.Error()})
		return
	}
	b.logger.Info("backup made", "dir", made.Dir, "files", made.Files, "bytes", made.Bytes, "copied", made.Copied)
	say(BackupLine{Result: &made})
}

// make backs up what collect lists.
func (b *backups) make(ctx context.Context, target string, keep int, say func(BackupLine)) (made backup.Made, err error) {
	say(BackupLine{Stage: "sealing"})
	files, position, release, err := b.collect(ctx)
	defer func() { err = errors.Join(err, release()) }()
	if err != nil {
		return made, err
	}
	var reported time.Time
	progress := func(done, total int64) {
		if now := b.now(); done == total || now.Sub(reported) >= reportEvery {
			reported = now
			say(BackupLine{Stage: "copying", Done: done, Total: total})
		}
	}
	return backup.Make(ctx, backup.Config{Progress: progress}, target, b.now(), position, keep, files)
}

// identity is the file that tells this data directory from others.
func (b *backups) identity() (backup.File, error) {
	text, err := os.ReadFile(filepath.Join(b.data.path, IdentityName))
	return backup.Content(backup.IdentityPath, text), err
}

func appendStore(files []backup.File, dir string, snapshot *store.Snapshot) []backup.File {
	for _, f := range snapshot.Files() {
		files = append(files, backup.File{
			Path: path.Join(dir, f.Path), Size: f.Size, CRC: f.CRC, Known: true, From: f.From, Content: f.Content,
		})
	}
	return files
}

// appendDatabases takes a snapshot of the two databases beside them, where it costs
// links, and lists its files.
func (b *backups) appendDatabases(files []backup.File) ([]backup.File, error) {
	dir := b.snapshot()
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := b.directory.Backup(filepath.Join(dir, directoryName)); err != nil {
		return nil, err
	}
	if err := b.locations.Snapshot(filepath.Join(dir, locationsName)); err != nil {
		return nil, err
	}
	found, err := backup.OS{}.Walk(dir)
	if err != nil {
		return nil, err
	}
	files = slices.Grow(files, len(found))
	for _, f := range found {
		files = append(files, backup.File{Path: f.Path, Size: f.Size, From: filepath.Join(dir, filepath.FromSlash(f.Path))})
	}
	return files, nil
}
