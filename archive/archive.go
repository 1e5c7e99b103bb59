// Package archive keeps copies of a data directory as objects: in any backend of object/location, or in
// several copies on an object cluster. In come the files of a backup, none of which changes any more; out go
// objects, a file each, and last of all a catalogue that lists them, from which the same files come
// back onto an empty machine. The server archives and restores with it.
package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"carillon/backup"
	"carillon/object"
)

// Names of objects. A catalogue's ends with the time, so that the newest is the last; it is a backup's
// manifest (docs/format/backup.md). A file's is its path, checksum and size: what has the same three is
// there already.
const (
	catalogues       = "carillon/catalogue/"
	files            = "carillon/file/"
	catalogueLayout  = "20060102T150405.000Z"
	maxCatalogueSize = 256 << 20 // bytes, as of a manifest
)

// ErrNone means that there is no catalogue.
var ErrNone = errors.New("the archive has no catalogue")

// Objects is what an archive is kept in.
type Objects interface {
	Put(ctx context.Context, name string, open func() (io.ReadCloser, error), size int64) error
	Get(ctx context.Context, name string) (object.Body, error)
	Stat(ctx context.Context, name string) (object.Info, error)
	List(ctx context.Context, o object.List) (object.Page, error)
	Delete(ctx context.Context, name string) error
	Close() error
}

// Archive is an archive of one data directory. One goroutine uses it.
type Archive struct {
	objects Objects
	logger  *slog.Logger
}

// New works on objects, which Close closes.
func New(objects Objects, logger *slog.Logger) *Archive { return &Archive{objects, logger} }

// Close closes the objects.
func (a *Archive) Close() error { return a.objects.Close() }

// Made is what was archived.
type Made struct {
	Catalogue string
	Files     int
	Bytes     int64
	Sent      int64 // bytes of them that were not there yet
	Removed   int   // objects that no catalogue needs any more
}

func fileName(e backup.Entry) string {
	return fmt.Sprintf("%s%s-%08x-%d", files, e.Path, e.CRC, e.Size)
}

// Make puts files, which must not change until it returns, and a catalogue of them. Until that is there
// nothing is archived; what was put by a run that was interrupted is there for the next one. With keep above 0 only
// the newest keep catalogues stay, and the files that they list.
func (a *Archive) Make(ctx context.Context, now time.Time, position uint64, keep int, list []backup.File, progress func(done, total int64)) (Made, error) {
	made := Made{Files: len(list)}
	for i := range list {
		made.Bytes += list[i].Size
	}
	if err := a.sameOrigin(ctx, list); err != nil {
		return made, fmt.Errorf("archiving: %w", err)
	}
	m := backup.Manifest{Made: now.UTC().Truncate(time.Millisecond), Position: position}
	done := int64(0)
	for i := range list {
		e, sent, err := a.file(ctx, &list[i])
		if err != nil {
			return made, fmt.Errorf("archiving %s: %w", list[i].Path, err)
		}
		m.Files = append(m.Files, e)
		made.Sent += sent
		done += e.Size
		progress(done, made.Bytes)
	}
	slices.SortFunc(m.Files, func(a, b backup.Entry) int { return strings.Compare(a.Path, b.Path) })
	made.Catalogue = catalogues + m.Made.Format(catalogueLayout)
	if err := a.put(ctx, made.Catalogue, m.Text()); err != nil {
		return made, fmt.Errorf("archiving the catalogue: %w", err)
	}
	var err error
	if keep > 0 {
		made.Removed, err = a.prune(ctx, keep)
	}
	return made, err
}

// sameOrigin keeps two data directories out of one archive: their catalogues would push each other's out.
func (a *Archive) sameOrigin(ctx context.Context, list []backup.File) error {
	_, m, err := a.newest(ctx)
	if errors.Is(err, ErrNone) {
		return nil
	}
	if err != nil {
		return err
	}
	for i := range list {
		before, there := find(m, list[i].Path)
		if now := entryOf(&list[i]); list[i].Path == backup.IdentityPath && there && before != now {
			return fmt.Errorf("%w: another one's, by the catalogue of %s", backup.ErrForeign, m.Made)
		}
	}
	return nil
}

func find(m *backup.Manifest, path string) (backup.Entry, bool) {
	i, there := slices.BinarySearchFunc(m.Files, path, func(e backup.Entry, path string) int { return strings.Compare(e.Path, path) })
	if !there {
		return backup.Entry{}, false
	}
	return m.Files[i], true
}

func entryOf(f *backup.File) backup.Entry {
	return backup.Entry{Path: f.Path, Size: f.Size, CRC: f.CRC}
}

// file puts a file that is not there yet.
func (a *Archive) file(ctx context.Context, f *backup.File) (e backup.Entry, sent int64, err error) {
	e = entryOf(f)
	if !f.Known {
		if e.CRC, err = backup.ChecksumOf(f); err != nil {
			return e, 0, err
		}
	}
	info, err := a.objects.Stat(ctx, fileName(e))
	if err == nil && info.Size == e.Size {
		return e, 0, nil
	}
	if err != nil && !errors.Is(err, object.ErrNotFound) {
		return e, 0, err
	}
	return e, e.Size, a.objects.Put(ctx, fileName(e), f.Open, e.Size)
}

func (a *Archive) put(ctx context.Context, name string, content []byte) error {
	return a.objects.Put(ctx, name, func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(string(content))), nil
	}, int64(len(content)))
}

// all lists names that begin so.
func (a *Archive) all(ctx context.Context, prefix string) (names []string, err error) {
	for o := (object.List{Prefix: prefix}); ; {
		page, err := a.objects.List(ctx, o)
		if err != nil {
			return nil, err
		}
		for _, info := range page.Objects {
			names = append(names, info.Name)
		}
		if o.After = page.Next; o.After == "" {
			return names, nil
		}
	}
}

// newest is the newest catalogue.
func (a *Archive) newest(ctx context.Context) (string, *backup.Manifest, error) {
	names, err := a.all(ctx, catalogues)
	if err != nil {
		return "", nil, err
	}
	if len(names) == 0 {
		return "", nil, ErrNone
	}
	name := names[len(names)-1]
	m, err := a.catalogue(ctx, name)
	return name, m, err
}

func (a *Archive) catalogue(ctx context.Context, name string) (*backup.Manifest, error) {
	body, err := a.objects.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(body, maxCatalogueSize))
	if err = errors.Join(err, body.Close()); err != nil {
		return nil, err
	}
	m, err := backup.ParseManifest(text)
	if err != nil {
		return nil, fmt.Errorf("catalogue %s: %w", name, err)
	}
	return m, nil
}

// prune removes the older catalogues, and then the files that none of the others lists.
func (a *Archive) prune(ctx context.Context, keep int) (removed int, err error) {
	names, err := a.all(ctx, catalogues)
	if err != nil || len(names) <= keep {
		return 0, err
	}
	needed := make(map[string]bool)
	for _, name := range names[len(names)-keep:] {
		m, err := a.catalogue(ctx, name)
		if err != nil {
			return 0, fmt.Errorf("nothing is removed from the archive: %w", err)
		}
		for _, e := range m.Files {
			needed[fileName(e)] = true
		}
	}
	there, err := a.all(ctx, files)
	if err != nil {
		return 0, err
	}
	unneeded := slices.DeleteFunc(there, func(name string) bool { return needed[name] })
	for _, name := range slices.Concat(names[:len(names)-keep], unneeded) {
		if err := a.objects.Delete(ctx, name); err != nil {
			return removed, fmt.Errorf("removing what the archive needs no more: %w", err)
		}
		removed++
	}
	return removed, nil
}

// Source is the newest catalogue and its files, as the file system that backup.Restore reads from; the rest of it is
// the operating system's.
type Source struct {
	backup.OS
	ctx      context.Context
	archive  *Archive
	dir      string
	manifest *backup.Manifest
}

// Source finds the newest catalogue.
func (a *Archive) Source(ctx context.Context) (*Source, error) {
	name, m, err := a.newest(ctx)
	if err != nil {
		return nil, err
	}
	return &Source{ctx: ctx, archive: a, dir: name, manifest: m}, nil
}

// Dir is where the files seem to be.
func (s *Source) Dir() string { return s.dir }

// List names what is in a folder; of the catalogue only that it is one.
func (s *Source) List(dir string) ([]string, error) {
	if dir == s.dir {
		return []string{backup.ManifestName}, nil
	}
	return s.OS.List(dir)
}

// Open opens a file; one that seems to be in Dir is an object.
func (s *Source) Open(name string) (io.ReadCloser, error) {
	path, ours := strings.CutPrefix(name, s.dir+"/")
	switch {
	case !ours:
		return s.OS.Open(name)
	case path == backup.ManifestName:
		return s.archive.objects.Get(s.ctx, s.dir)
	}
	e, there := find(s.manifest, path)
	if !there {
		return nil, &os.PathError{Op: "open", Path: name, Err: os.ErrNotExist}
	}
	return s.archive.objects.Get(s.ctx, fileName(e))
}
