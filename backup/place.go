package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
	"slices"
	"strings"
)

const (
	partSuffix = ".part" // of a file that is being copied
	copyBytes  = 1 << 20 // read and written at once, and between two looks at the context
)

// placer puts files into a folder, each whole or not at all: a file that stands
// there under its own name is synced, or a link to one that is.
type placer struct {
	config Config
	fs     FS
	dir    string
	buffer []byte

	folders map[string]bool  // made and to be synced
	there   map[string]int64 // files that an interrupted run left, by path; nil before the first look

	done, total    int64
	linked, copied int64
}

func newPlacer(c Config, dir string) *placer {
	return &placer{config: c, fs: c.fs(), dir: dir, buffer: make([]byte, copyBytes), folders: make(map[string]bool)}
}

func (p *placer) path(path string) string { return filepath.Join(p.dir, filepath.FromSlash(path)) }

func (p *placer) advance(bytes int64) {
	p.done += bytes
	if p.config.Progress != nil {
		p.config.Progress(p.done, p.total)
	}
}

// place puts one file where it belongs, in the cheapest way there is. What a
// finished backup has already is recognised by path, size and checksum.
func (p *placer) place(ctx context.Context, f *File, earlier *whole) (Entry, error) {
	e := Entry{Path: f.Path, Size: f.Size, CRC: f.CRC}
	if err := p.makeFolder(f.Path); err != nil {
		return e, err
	}
	if !f.Known {
		var err error
		if e.CRC, err = p.checksum(ctx, f); err != nil {
			return e, err
		}
	}
	if f.From != "" && p.link(f.From, f.Path) ||
		earlier != nil && earlier.files[f.Path] == e && p.link(filepath.Join(earlier.dir, filepath.FromSlash(f.Path)), f.Path) {
		p.linked += e.Size
		p.advance(e.Size)
		return e, nil
	}
	if ok, err := p.kept(ctx, e); err != nil || ok {
		return e, err
	}
	return e, p.copy(ctx, e, func() (io.ReadCloser, error) { return p.open(f) })
}

func (p *placer) open(f *File) (io.ReadCloser, error) {
	if f.From == "" {
		return io.NopCloser(bytes.NewReader(f.Content)), nil
	}
	return p.fs.Open(f.From)
}

func (p *placer) checksum(ctx context.Context, f *File) (uint32, error) {
	in, err := p.open(f)
	if err != nil {
		return 0, err
	}
	size, crc, err := p.pour(ctx, io.Discard, in, nil)
	if err == nil && size != f.Size {
		err = fmt.Errorf("it has %d bytes, not %d", size, f.Size)
	}
	return crc, errors.Join(err, in.Close())
}

// link reports false where it cannot be; copying then tells why, if it cannot be
// done either. What an interrupted run has left is replaced.
func (p *placer) link(from, path string) bool {
	to := p.path(path)
	if p.fs.Link(from, to) == nil {
		return true
	}
	if _, there := p.left()[path]; !there {
		return false
	}
	temp := to + partSuffix
	return p.fs.RemoveAll(temp) == nil && p.fs.Link(from, temp) == nil && p.fs.Rename(temp, to) == nil
}

// left is what an interrupted run left in the folder.
func (p *placer) left() map[string]int64 {
	if p.there == nil {
		p.there = make(map[string]int64)
		found, err := p.fs.Walk(p.dir)
		if err != nil {
			return p.there // then nothing of it is used
		}
		for _, f := range found {
			p.there[f.Path] = f.Size
		}
	}
	return p.there
}

// kept tells whether an interrupted run has left the very file.
func (p *placer) kept(ctx context.Context, e Entry) (bool, error) {
	if size, there := p.left()[e.Path]; !there || size != e.Size {
		return false, nil
	}
	in, err := p.fs.Open(p.path(e.Path))
	if err != nil {
		return false, nil // it is copied afresh
	}
	defer in.Close()
	size, crc, err := p.pour(ctx, io.Discard, in, nil)
	if err != nil || size != e.Size || crc != e.CRC {
		return false, ctx.Err()
	}
	p.linked += e.Size
	p.advance(e.Size)
	return true, nil
}

// copy writes a file, checks that it is the one the entry means, and syncs it. An
// interrupted run may have left a part, which may be a link: it is never written to.
func (p *placer) copy(ctx context.Context, e Entry, open func() (io.ReadCloser, error)) error {
	in, err := open()
	if err != nil {
		return err
	}
	defer in.Close()
	to := p.path(e.Path)
	if err := p.fs.RemoveAll(to + partSuffix); err != nil {
		return err
	}
	out, err := p.fs.Create(to + partSuffix)
	if err != nil {
		return err
	}
	size, crc, err := p.pour(ctx, out, in, p.advance)
	if err == nil && (size != e.Size || crc != e.CRC) {
		err = corrupt("%d bytes with checksum %08x, want %d with %08x", size, crc, e.Size, e.CRC)
	}
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	if err := p.fs.Rename(to+partSuffix, to); err != nil {
		return err
	}
	p.copied += e.Size
	return nil
}

// pour copies until the end and sums up what it copied.
func (p *placer) pour(ctx context.Context, out io.Writer, in io.Reader, advance func(int64)) (size int64, crc uint32, err error) {
	for {
		if err := ctx.Err(); err != nil {
			return size, crc, err
		}
		n, err := in.Read(p.buffer)
		size += int64(n)
		crc = crc32.Update(crc, castagnoli, p.buffer[:n])
		if _, err := out.Write(p.buffer[:n]); err != nil {
			return size, crc, err
		}
		if advance != nil {
			advance(int64(n))
		}
		if errors.Is(err, io.EOF) {
			return size, crc, nil
		}
		if err != nil {
			return size, crc, err
		}
	}
}

// makeFolder makes the folders on the way to a file.
func (p *placer) makeFolder(path string) error {
	var missing []string
	for dir := folderOf(path); dir != "" && !p.folders[dir]; dir = folderOf(dir) {
		missing = append(missing, dir)
	}
	if len(missing) == 0 {
		return nil
	}
	for _, dir := range missing {
		p.folders[dir] = true
	}
	return p.fs.MkdirAll(p.path(missing[0]))
}

func folderOf(path string) string { return path[:max(strings.LastIndexByte(path, '/'), 0)] }

// removeOthers removes what an interrupted run left and is none of the files, sorted
// by path, but for names at the top that are to be kept.
func (p *placer) removeOthers(files []Entry, keep ...string) error {
	found, err := p.fs.Walk(p.dir)
	if err != nil {
		return err
	}
	for _, f := range found {
		_, ours := slices.BinarySearchFunc(files, f.Path, func(e Entry, path string) int { return strings.Compare(e.Path, path) })
		if top, _, _ := strings.Cut(f.Path, "/"); ours || slices.Contains(keep, top) {
			continue
		}
		if err := p.fs.RemoveAll(p.path(f.Path)); err != nil {
			return err
		}
	}
	return nil
}

// sync makes durable that the files are there, and the folder in the one above it.
func (p *placer) sync(above string) error {
	for dir := range p.folders {
		if err := p.fs.SyncDir(p.path(dir)); err != nil {
			return fmt.Errorf("syncing %s: %w", p.path(dir), err)
		}
	}
	for _, dir := range []string{p.dir, above} {
		if err := p.fs.SyncDir(dir); err != nil {
			return fmt.Errorf("syncing %s: %w", dir, err)
		}
	}
	return nil
}
