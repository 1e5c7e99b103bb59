package store

import (
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
	"time"

	"carillon/bucket"
)

// Report is what Verify read and what is wrong with it.
type Report struct {
	Files    int
	Pages    uint64
	Buckets  uint64
	Bytes    int64
	Problems []Problem
}

// Problem is a file that is not as it was written.
type Problem struct {
	File string // path
	Err  error
}

// Verify reads the manifest of a store's folder and every file it lists, whole:
// all checksums, and that files, indexes and pages agree with each other. The
// store must not be open. The error is that there is no store to be read; damage
// is in the report.
func Verify(dir string) (Report, error) { return verify(OS{}, dir) }

func verify(fs FS, dir string) (Report, error) {
	var report Report
	path := filepath.Join(dir, manifestName)
	data, err := readFile(fs, path)
	if err != nil {
		return report, fmt.Errorf("verifying %s: %w", dir, err)
	}
	report.Files++
	report.Bytes += int64(len(data))
	m, err := decodeManifest(data)
	if err != nil {
		report.Problems = append(report.Problems, Problem{path, err})
		return report, nil
	}
	for _, t := range m.tiers {
		tier := Tier{Resolution: time.Duration(t.resolution) * time.Millisecond}
		for _, listed := range t.files {
			path := filePath(dir, tier, listed.sequence)
			report.Files++
			if err := report.file(fs, path, listed, t.resolution); err != nil {
				report.Problems = append(report.Problems, Problem{path, err})
			}
		}
	}
	return report, nil
}

func (r *Report) file(fs FS, path string, listed listedFile, resolution int64) error {
	f, err := openFile(fs, path, listed.sequence)
	if err != nil {
		return err
	}
	defer f.in.Close()
	r.Bytes += f.size
	if err := f.expect(listed, resolution); err != nil {
		return err
	}
	whole := crc32.New(castagnoli)
	body := f.size - int64(crcBytes+len(footerMagic))
	if _, err := io.Copy(whole, io.NewSectionReader(f.in, 0, body)); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	if whole.Sum32() != f.crc {
		return corrupt("the checksum of the file is wrong")
	}
	return r.pages(f)
}

// pages reads every page and holds it against the index and the footer.
func (r *Report) pages(f *file) error {
	c := newCursor(f)
	seen := footer{}
	offset := uint64(headerBytes)
	var previous indexEntry
	var buckets []bucket.Bucket
	for position := range f.pages {
		e, err := c.entry(position)
		if err != nil {
			return err
		}
		if e.offset != offset {
			return corrupt("page %d is not where the one before ends", position)
		}
		if position > 0 && (e.number < previous.number || e.number == previous.number && e.first <= previous.last) {
			return corrupt("page %d is out of order", position)
		}
		if buckets, err = c.read(e, buckets[:0]); err != nil {
			return err
		}
		if err := f.agree(e, buckets); err != nil {
			return err
		}
		if position == 0 || e.number != previous.number {
			seen.series++
		}
		seen.buckets += uint64(e.count)
		offset += uint64(e.length)
		previous = e
	}
	if offset != f.index || seen.series != f.series || seen.buckets != f.buckets {
		return corrupt("the footer's sums do not match the index")
	}
	r.Pages += f.pages
	r.Buckets += f.buckets
	return nil
}

// agree holds a page's buckets against its index entry: one a segment, sorted,
// from the first to the last segment, inside the file's times.
func (f *file) agree(e indexEntry, buckets []bucket.Bucket) error {
	previous := int64(-1)
	for i := range buckets {
		segment := (buckets[i].Start(f.resolution) - f.window) / f.resolution
		if segment <= previous || segment >= windowSegments {
			return corrupt("series %d has buckets out of order", e.number)
		}
		previous = segment
	}
	first := buckets[0].Start(f.resolution)
	last := buckets[len(buckets)-1].Start(f.resolution)
	if first != f.window+int64(e.first)*f.resolution || last != f.window+int64(e.last)*f.resolution || first < f.first || last > f.last {
		return corrupt("series %d has times that are not in the index", e.number)
	}
	return nil
}
