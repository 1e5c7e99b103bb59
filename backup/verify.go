package backup

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
)

// Report is what Verify has read, and what is wrong with it.
type Report struct {
	Files    int
	Bytes    int64
	Problems []string // a line each
}

// Verify reads a backup whole and holds it against its manifest. An error means that
// there is no manifest to go by, or that ctx ended; damage is in the report.
func Verify(ctx context.Context, c Config, dir string) (r Report, err error) {
	m, err := readManifest(c.fs(), dir)
	if err != nil {
		return r, err
	}
	p := newPlacer(c, dir)
	p.total = m.Bytes()
	for _, e := range m.Files {
		if err := p.check(ctx, e); ctx.Err() != nil {
			return r, ctx.Err()
		} else if err != nil {
			r.Problems = append(r.Problems, fmt.Sprintf("%s: %v", p.path(e.Path), err))
		}
		r.Files++
		r.Bytes += e.Size
	}
	found, err := p.fs.Walk(dir)
	if err != nil {
		return r, err
	}
	for _, f := range found {
		_, listed := slices.BinarySearchFunc(m.Files, f.Path, func(e Entry, path string) int { return strings.Compare(e.Path, path) })
		if !listed && f.Path != ManifestName {
			r.Problems = append(r.Problems, filepath.Join(dir, filepath.FromSlash(f.Path))+": it is not in the manifest")
		}
	}
	return r, nil
}

func (p *placer) check(ctx context.Context, e Entry) error {
	in, err := p.fs.Open(p.path(e.Path))
	if err != nil {
		return err
	}
	defer in.Close()
	size, crc, err := p.pour(ctx, io.Discard, in, p.advance)
	if err != nil {
		return err
	}
	if size != e.Size || crc != e.CRC {
		return corrupt("%d bytes with checksum %08x, want %d with %08x", size, crc, e.Size, e.CRC)
	}
	return nil
}
