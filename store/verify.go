package store

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
	"time"

	"carillon/bucket"
	"carillon/store/page"
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
// is in the report. It calls progress with the bytes of each file that it has read.
func Verify(dir string, progress func(bytes int64)) (Report, error) {
	return verifyIn(OS{}, dir, progress)
}

func verifyIn(fs FS, dir string, progress func(bytes int64)) (Report, error) {
	var report Report
	path := filepath.Join(dir, manifestName)
	data, err := readFile(fs, path, manifestMaxBytes)
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
	if err := copiesDiffer(data); err != nil {
		report.Problems = append(report.Problems, Problem{path, err})
	}
	if m.buried.sequence != 0 {
		report.Files++
		report.Bytes += m.buried.size
		if err := verifyGraves(fs, dir, m); err != nil {
			report.Problems = append(report.Problems, Problem{gravesPath(dir, m.buried.sequence), err})
		}
	}
	for _, t := range m.tiers {
		tier := Tier{Resolution: time.Duration(t.resolution) * time.Millisecond}
		for _, listed := range t.files {
			path := filePath(dir, tier, listed.sequence)
			report.Files++
			if err := report.file(fs, path, listed.listedFile, t.resolution); err != nil {
				report.Problems = append(report.Problems, Problem{path, err})
			}
			progress(listed.size)
		}
	}
	return report, nil
}

func verifyGraves(fs FS, dir string, m *manifest) error {
	if _, err := readGraves(fs, dir, m.buried, len(m.tiers)); err != nil {
		return err
	}
	data, err := readFile(fs, gravesPath(dir, m.buried.sequence), gravesMaxBytes)
	if err != nil {
		return err
	}
	return copiesDiffer(data)
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
	sum, err := bodyChecksum(f.in, f.size)
	if err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	if sum != f.crc {
		return corrupt("the checksum of the file is wrong")
	}
	return r.pages(f)
}

// bodyChecksum is the checksum of all of a page file that stands before it.
func bodyChecksum(in io.ReaderAt, size int64) (uint32, error) {
	whole := crc32.New(castagnoli)
	_, err := io.Copy(whole, io.NewSectionReader(in, 0, size-int64(crcBytes+len(footerMagic))))
	return whole.Sum32(), err
}

// pages reads every page and holds it against the index and the footer.
func (r *Report) pages(f *file) error {
	c := newCursor(f, new(page.Decoder))
	var seen sums
	offset := uint64(headerBytes)
	for position := range f.pages {
		if err := c.load(position); err != nil {
			return err
		}
		if c.entry.offset != offset {
			return corrupt("page %d is not where the one before ends", position)
		}
		offset += uint64(c.entry.length)
		if err := seen.page(c); err != nil {
			return err
		}
		block, in := position/blockEntries, position%blockEntries
		if (in == blockEntries-1 || position == f.pages-1) && f.sparse[block] != c.entry.high {
			return corrupt("the sparse index does not match the index")
		}
	}
	if offset != f.index || seen.series != f.series || seen.total != f.buckets {
		return corrupt("the footer's sums do not match the index")
	}
	r.Pages += f.pages
	r.Buckets += f.buckets
	return nil
}

// sums is what was seen of a file's pages.
type sums struct {
	series, total uint64
	number        uint32 // of the last series
	last          int64  // its last segment, counted from the start of the file's window
	buckets       []bucket.Bucket
}

// page reads the page that a cursor is at, and holds it against its index entry.
func (s *sums) page(c *cursor) error {
	e := indexEntry{offset: c.entry.offset, length: c.entry.length, first: ^uint32(0), summary: noSamples()}
	var err error
	for ; c.more; err = c.skip() {
		number := c.strip.Number
		if s.buckets, err = c.decoder.Buckets(c.strip, s.buckets[:0]); err != nil {
			return c.damaged(err, c.entry)
		}
		if s.series == 0 || number != s.number {
			s.series++
			s.number, s.last = number, -1
		}
		first, last, err := c.segments(number, s.buckets)
		if err != nil {
			return err
		}
		if first <= s.last {
			return corrupt("strips of series %d are out of order", number)
		}
		s.last = last
		if e.count == 0 {
			e.low = number
		}
		e.high = number
		e.count += uint32(len(s.buckets))
		e.addBuckets(s.buckets)
		e.first, e.last = min(e.first, uint32(first)), max(e.last, uint32(last))
	}
	if err != nil {
		return err
	}
	if !bytes.Equal(e.append(nil), c.entry.append(nil)) { // not ==: a sum may be NaN
		return corrupt("the page at %d is not what the index says", e.offset)
	}
	s.total += uint64(e.count)
	return nil
}

// segments is a strip's first and last segment, counted from the start of the window;
// its buckets must be one a segment, sorted, inside the window and the file's times.
func (f *file) segments(number uint32, buckets []bucket.Bucket) (first, last int64, err error) {
	first, last = -1, -1
	for i := range buckets {
		start := buckets[i].Start(f.resolution)
		segment := (start - f.window) / f.resolution
		if segment <= last || segment >= windowSegments || start < f.window {
			return 0, 0, corrupt("series %d has buckets out of order", number)
		}
		if start < f.first || start > f.last {
			return 0, 0, corrupt("series %d has times that are not in the footer", number)
		}
		if last = segment; first < 0 {
			first = segment
		}
	}
	return first, last, nil
}
