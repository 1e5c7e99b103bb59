// Package backup keeps whole copies of a data directory. The files of a running
// server, none of which changes any more, come in; a folder goes out in which each
// stands under its own path, and last of all a manifest with the checksum of every
// one (docs/format/backup.md). The server makes and restores backups with it, the
// command line checks them.
package backup

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// File is one file that is to be backed up. Its contents stay as they are until
// Make returns.
type File struct {
	Path string // in the data directory, with slashes
	Size int64
	// CRC is the CRC-32C of the contents, if it is Known. One that is not is found
	// out by reading the file.
	CRC   uint32
	Known bool
	// From is where the file is, to be linked or copied. If it is empty, Content is
	// what the file holds.
	From    string
	Content []byte
}

// Open opens the contents.
func (f *File) Open() (io.ReadCloser, error) {
	if f.From == "" {
		return io.NopCloser(bytes.NewReader(f.Content)), nil
	}
	return os.Open(f.From)
}

// ChecksumOf reads a file and returns its CRC.
func ChecksumOf(f *File) (uint32, error) {
	in, err := f.Open()
	if err != nil {
		return 0, err
	}
	hash := crc32.New(castagnoli)
	size, err := io.Copy(hash, in)
	if err == nil && size != f.Size {
		err = fmt.Errorf("it has %d bytes, not %d", size, f.Size)
	}
	return hash.Sum32(), errors.Join(err, in.Close())
}

// Config is what making and restoring need. The zero Config works on the operating
// system's files.
type Config struct {
	FS       FS                      // nil means OS
	Progress func(done, total int64) // told of bytes, by the caller's goroutine; may be nil
}

func (c Config) fs() FS {
	if c.FS == nil {
		return OS{}
	}
	return c.FS
}

// Made is a backup, and what it took to make it.
type Made struct {
	Dir    string `json:"dir"`
	Files  int    `json:"files"`
	Bytes  int64  `json:"bytes"`
	Linked int64  `json:"linked"` // bytes that were there already, here or in an earlier backup
	Copied int64  `json:"copied"` // bytes that were written

	Removed []string `json:"removed"` // older backups that made room
}

// Make writes a backup of files into a folder of its own in target, named after the
// time. What the target's newest backup has already, and what lies on the same file
// system, is linked; the rest is copied and synced. The position is the journal's,
// see Manifest.
//
// Until its manifest is there, which comes last and in one step, the folder is no
// backup: one that was interrupted is taken up by the next. With keep above 0 only the
// newest keep backups stay in the target.
func Make(ctx context.Context, c Config, target string, now time.Time, position uint64, keep int, files []File) (Made, error) {
	made, err := makeBackup(ctx, c, target, now, position, keep, files)
	if err != nil {
		return Made{}, fmt.Errorf("backing up to %s: %w", target, err)
	}
	return made, nil
}

func makeBackup(ctx context.Context, c Config, target string, now time.Time, position uint64, keep int, files []File) (Made, error) {
	if err := checkFiles(files); err != nil {
		return Made{}, err
	}
	t, err := openTarget(c.fs(), target)
	if err != nil {
		return Made{}, err
	}
	earlier, err := t.newest()
	if err != nil {
		return Made{}, err
	}
	if err := sameOrigin(earlier, files); err != nil {
		return Made{}, err
	}
	m := Manifest{Made: now.UTC().Truncate(time.Millisecond), Position: position}
	if earlier != nil && !m.Made.After(earlier.Made) { // a clock was set back
		m.Made = earlier.Made.Add(time.Millisecond)
	}
	dir, err := t.begin(m.Made)
	if err != nil {
		return Made{}, err
	}
	made, err := t.fill(ctx, c, dir, earlier, &m, files)
	if err != nil {
		return Made{}, err
	}
	made.Removed, err = t.prune(keep)
	return made, err
}

// fill puts all files into the folder, and then the manifest.
func (t *target) fill(ctx context.Context, c Config, dir string, earlier *whole, m *Manifest, files []File) (Made, error) {
	p := newPlacer(c, dir)
	for i := range files {
		p.total += files[i].Size
	}
	for i := range files {
		if err := ctx.Err(); err != nil {
			return Made{}, err
		}
		e, err := p.place(ctx, &files[i], earlier)
		if err != nil {
			return Made{}, fmt.Errorf("%s: %w", files[i].Path, err)
		}
		m.Files = append(m.Files, e)
	}
	slices.SortFunc(m.Files, func(a, b Entry) int { return cmp.Compare(a.Path, b.Path) })
	if err := p.removeOthers(m.Files); err != nil {
		return Made{}, err
	}
	if err := p.sync(t.dir); err != nil {
		return Made{}, err
	}
	if err := writeManifest(t.fs, dir, m); err != nil {
		return Made{}, err
	}
	return Made{Dir: dir, Files: len(files), Bytes: p.total, Linked: p.linked, Copied: p.copied}, nil
}

func checkFiles(files []File) error {
	seen := make(map[string]bool, len(files))
	for i := range files {
		path := files[i].Path
		if err := checkPath(path); err != nil {
			return err
		}
		if seen[path] {
			return fmt.Errorf("%s is there twice", path)
		}
		seen[path] = true
	}
	return nil
}

// IdentityPath is the file that tells one data directory from another; every backup
// has it.
const IdentityPath = "carillon.json"

// ErrForeign means that a target holds backups of another data directory.
var ErrForeign = errors.New("the target has backups of another data directory")

// sameOrigin keeps the backups of two data directories out of each other's way: the
// second one's would push the first one's out.
func sameOrigin(earlier *whole, files []File) error {
	if earlier == nil {
		return nil
	}
	for i := range files {
		if f := &files[i]; f.Path == IdentityPath {
			if before, ok := earlier.files[IdentityPath]; ok && (before.Size != f.Size || before.CRC != checksum(f.Content)) {
				return fmt.Errorf("%w (%s)", ErrForeign, filepath.Base(earlier.dir))
			}
		}
	}
	return nil
}

// Content is a file that is in memory.
func Content(path string, data []byte) File {
	return File{Path: path, Size: int64(len(data)), CRC: checksum(data), Known: true, Content: data}
}
