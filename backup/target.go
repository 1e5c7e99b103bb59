package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"
)

// folderLayout names the folders of a target so that they sort by time.
const folderLayout = "20060102T150405.000Z"

// target is a folder with backups of one data directory.
type target struct {
	fs      FS
	dir     string
	folders []folder // oldest first
}

// folder may be a backup, or one that was interrupted.
type folder struct {
	dir   string
	made  time.Time
	whole bool // it has a manifest
}

// whole is a backup whose files may be linked.
type whole struct {
	dir string
	Manifest
	files map[string]Entry // by path
}

func openTarget(fsys FS, dir string) (*target, error) {
	if _, err := fsys.List(dir); errors.Is(err, fs.ErrNotExist) {
		if err := errors.Join(fsys.MkdirAll(dir), fsys.SyncDir(filepath.Dir(dir))); err != nil {
			return nil, err
		}
	}
	t := &target{fs: fsys, dir: dir}
	return t, t.list()
}

// list finds the target's folders; whatever else is there is left alone.
func (t *target) list() error {
	names, err := t.fs.List(t.dir)
	if err != nil {
		return err
	}
	t.folders = nil
	for _, name := range names {
		made, err := time.Parse(folderLayout, name)
		if err != nil {
			continue
		}
		dir := filepath.Join(t.dir, name)
		in, err := t.fs.Open(filepath.Join(dir, ManifestName))
		if err == nil {
			err = in.Close()
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		t.folders = append(t.folders, folder{dir: dir, made: made, whole: err == nil})
	}
	return nil
}

// newest is the newest backup, nil if there is none.
func (t *target) newest() (*whole, error) {
	for _, f := range slices.Backward(t.folders) {
		if !f.whole {
			continue
		}
		m, err := readManifest(t.fs, f.dir)
		if err != nil {
			return nil, err
		}
		w := &whole{dir: f.dir, Manifest: *m, files: make(map[string]Entry, len(m.Files))}
		for _, e := range m.Files {
			w.files[e.Path] = e
		}
		return w, nil
	}
	return nil, nil
}

// begin makes the folder of the next backup, out of one that was interrupted if
// there is any: what was copied then need not be copied again.
func (t *target) begin(made time.Time) (string, error) {
	dir := filepath.Join(t.dir, made.Format(folderLayout))
	if at := slices.IndexFunc(t.folders, func(f folder) bool { return !f.whole }); at >= 0 && t.folders[at].dir != dir {
		return dir, t.fs.Rename(t.folders[at].dir, dir)
	}
	return dir, t.fs.MkdirAll(dir)
}

// prune removes backups but for the newest keep, and all that were interrupted. The
// manifest goes first, so that no part of a backup is ever taken for one.
func (t *target) prune(keep int) (removed []string, err error) {
	if err := t.list(); err != nil {
		return nil, err
	}
	backups := 0
	for _, f := range slices.Backward(t.folders) {
		if f.whole {
			if backups++; keep <= 0 || backups <= keep {
				continue
			}
			removed = append(removed, f.dir)
			if err := t.fs.RemoveAll(filepath.Join(f.dir, ManifestName)); err != nil {
				return removed, fmt.Errorf("removing an older backup: %w", err)
			}
			if err := t.fs.SyncDir(f.dir); err != nil {
				return removed, fmt.Errorf("removing an older backup: %w", err)
			}
		}
		if err := t.fs.RemoveAll(f.dir); err != nil {
			return removed, fmt.Errorf("removing an older backup: %w", err)
		}
	}
	return removed, nil
}

// ErrNone means that a folder neither is a backup nor has one in it.
var ErrNone = errors.New("no backup")

// Find is the backup that a path means: the folder itself, or the newest backup in
// it.
func Find(c Config, path string) (dir string, err error) {
	names, err := c.fs().List(path)
	if err != nil {
		return "", err
	}
	if slices.Contains(names, ManifestName) {
		return path, nil
	}
	t := &target{fs: c.fs(), dir: path}
	if err := t.list(); err != nil {
		return "", err
	}
	for _, f := range slices.Backward(t.folders) {
		if f.whole {
			return f.dir, nil
		}
	}
	if len(t.folders) > 0 {
		return "", fmt.Errorf("%w: what is in %s was interrupted, make it again", ErrNone, path)
	}
	return "", fmt.Errorf("%w: %s has no %s", ErrNone, path, ManifestName)
}
