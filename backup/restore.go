package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
)

// UnfinishedName is the file that stands in a folder as long as it is being restored
// to: what has one is no data directory, whatever else is there.
const UnfinishedName = "RESTORING"

// ErrUnfinished means that restoring to a folder was interrupted.
var ErrUnfinished = errors.New("restoring to it was interrupted: run carillon restore again")

// ErrNotEmpty means that a folder is not free to be restored to.
var ErrNotEmpty = errors.New("it is not empty")

// Finished returns ErrUnfinished for a folder that is, or was to be, restored to.
func Finished(c Config, dir string) error {
	in, err := c.fs().Open(filepath.Join(dir, UnfinishedName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(ErrUnfinished, in.Close())
}

// Restore copies a backup to dir, which must be empty but for the names to be
// ignored, and checks every checksum on the way. Then it calls finish, which makes a
// data directory of it, while the folder is still marked as unfinished. A run that was
// interrupted is taken up by the next one, which keeps the files that are right.
func Restore(ctx context.Context, c Config, from, dir string, ignore []string, finish func(*Manifest) error) (*Manifest, error) {
	m, err := restore(ctx, c, from, dir, ignore, finish)
	if err != nil {
		return nil, fmt.Errorf("restoring %s to %s: %w", from, dir, err)
	}
	return m, nil
}

func restore(ctx context.Context, c Config, from, dir string, ignore []string, finish func(*Manifest) error) (*Manifest, error) {
	m, err := readManifest(c.fs(), from)
	if err != nil {
		return nil, err
	}
	if err := mark(c, dir, ignore); err != nil {
		return nil, err
	}
	p := newPlacer(c, dir)
	p.total = m.Bytes()
	if err := p.removeOthers(m.Files, append(slices.Clone(ignore), UnfinishedName)...); err != nil {
		return nil, err
	}
	for _, e := range m.Files {
		if err := p.fetch(ctx, e, from); err != nil {
			return nil, fmt.Errorf("%s: %w", e.Path, err)
		}
	}
	if err := p.sync(filepath.Dir(dir)); err != nil {
		return nil, err
	}
	if err := finish(m); err != nil {
		return nil, err
	}
	if err := c.fs().RemoveAll(filepath.Join(dir, UnfinishedName)); err != nil {
		return nil, err
	}
	return m, c.fs().SyncDir(dir)
}

// mark makes sure that a folder may be restored to, and marks it.
func mark(c Config, dir string, ignore []string) error {
	if err := c.fs().MkdirAll(dir); err != nil {
		return err
	}
	names, err := c.fs().List(dir)
	if err != nil {
		return err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(ignore, name) })
	if slices.Contains(names, UnfinishedName) {
		return nil
	}
	if len(names) > 0 {
		return fmt.Errorf("%w: %s is there", ErrNotEmpty, names[0])
	}
	text := []byte("carillon restore is at work here, or was interrupted and is to be run again.\n")
	if err := writeSynced(c.fs(), filepath.Join(dir, UnfinishedName), text); err != nil {
		return err
	}
	return c.fs().SyncDir(dir)
}

// fetch copies a file from a backup, unless it is there.
func (p *placer) fetch(ctx context.Context, e Entry, from string) error {
	if err := p.makeFolder(e.Path); err != nil {
		return err
	}
	if ok, err := p.kept(ctx, e); err != nil || ok {
		return err
	}
	return p.copy(ctx, e, func() (io.ReadCloser, error) {
		return p.fs.Open(filepath.Join(from, filepath.FromSlash(e.Path)))
	})
}
