package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sort"
	"sync/atomic"

	"carillon/bucket"
	"carillon/store/page"
)

// file is an immutable page file, open for reading. It is shared by all versions
// that list it; the last one to let go closes it, and unlinks it if it is in no
// manifest any more.
type file struct {
	footer
	fs       FS
	path     string
	sequence uint64
	size     int64
	crc      uint32 // of the whole file, as its end has it
	in       File
	sparse   []uint32 // the first series of each block of the index

	refs     atomic.Int32
	obsolete atomic.Bool
}

// openFile reads the two ends of a file, enough to find everything else.
func openFile(fs FS, path string, sequence uint64) (*file, error) {
	in, err := fs.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	f := &file{fs: fs, path: path, sequence: sequence, in: in}
	if err := f.load(); err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, errors.Join(err, in.Close()))
	}
	return f, nil
}

func (f *file) load() (err error) {
	if f.size, err = f.in.Size(); err != nil {
		return err
	}
	if f.size < headerBytes+footerBytes {
		return corrupt("%d bytes are too few", f.size)
	}
	var header [headerBytes]byte
	if _, err := f.in.ReadAt(header[:], 0); err != nil {
		return err
	}
	if string(header[:len(headerMagic)]) != headerMagic {
		return corrupt("it does not begin like a page file")
	}
	if version := binary.LittleEndian.Uint32(header[8:]); version != formatVersion {
		return fmt.Errorf("format version %d is not known, only %d", version, formatVersion)
	}
	var tail [footerBytes]byte
	if _, err := f.in.ReadAt(tail[:], f.size-footerBytes); err != nil {
		return err
	}
	if f.footer, err = decodeFooter(tail[:], f.size); err != nil {
		return err
	}
	f.crc = binary.LittleEndian.Uint32(tail[sealedBytes+4:])
	return f.loadSparse()
}

func (f *file) loadSparse() error {
	data := make([]byte, 4*f.blocks())
	if _, err := f.in.ReadAt(data, int64(f.footer.sparse)); err != nil {
		return err
	}
	if checksum(data) != f.sparseCRC {
		return corrupt("the checksum of the sparse index is wrong")
	}
	f.sparse = make([]uint32, f.blocks())
	for i := range f.sparse {
		f.sparse[i] = binary.LittleEndian.Uint32(data[4*i:])
	}
	return nil
}

// overlaps tells whether the file has segments that start in [from, to).
func (f *file) overlaps(from, to int64) bool { return f.first < to && f.last >= from }

// release gives one reference back. The error is of removing the file.
func (f *file) release() error {
	if f.refs.Add(-1) > 0 {
		return nil
	}
	err := f.in.Close()
	if f.obsolete.Load() {
		err = errors.Join(err, f.fs.Remove(f.path))
	}
	return err
}

// cursor walks through a file's index and keeps the block it is at, so that
// reading series in ascending order reads each block once. Not for concurrent use.
type cursor struct {
	*file
	block   int // loaded; -1 for none
	entries []indexEntry
	raw     []byte
}

func newCursor(f *file) *cursor { return &cursor{file: f, block: -1} }

func (c *cursor) load(block int) error {
	if c.block == block {
		return nil
	}
	c.block = -1
	n := min(c.pages-uint64(block)*blockEntries, blockEntries)
	c.raw = sized(c.raw, int(n)*entryBytes+crcBytes)
	if _, err := c.in.ReadAt(c.raw, int64(c.index)+int64(block)*blockBytes); err != nil {
		return fmt.Errorf("reading the index of %s: %w", c.path, err)
	}
	entries, err := decodeBlock(c.raw, c.entries[:0])
	if err != nil {
		return fmt.Errorf("reading the index of %s: %w", c.path, err)
	}
	c.block, c.entries = block, entries
	return nil
}

// find is the position of the first page of series number, or of the first one
// after it; it is c.pages if there is none.
func (c *cursor) find(number uint32) (uint64, error) {
	// The block before the first one that begins at number or later may still
	// end with it.
	block := sort.Search(len(c.sparse), func(i int) bool { return c.sparse[i] >= number })
	block = max(block-1, 0)
	if err := c.load(block); err != nil {
		return 0, err
	}
	in := sort.Search(len(c.entries), func(i int) bool { return c.entries[i].number >= number })
	return uint64(block)*blockEntries + uint64(in), nil
}

// entry is the page at a position below c.pages.
func (c *cursor) entry(position uint64) (indexEntry, error) {
	if err := c.load(int(position / blockEntries)); err != nil {
		return indexEntry{}, err
	}
	return c.entries[position%blockEntries], nil
}

// read appends a page's buckets to dst, after checking it against its entry.
func (c *cursor) read(e indexEntry, dst []bucket.Bucket) ([]bucket.Bucket, error) {
	if e.length > maxPageBytes || e.offset < headerBytes || e.offset > c.index || uint64(e.length) > c.index-e.offset {
		return dst, fmt.Errorf("reading %s: %w", c.path, corrupt("series %d has a page of %d bytes at %d", e.number, e.length, e.offset))
	}
	c.raw = sized(c.raw, int(e.length))
	if _, err := c.in.ReadAt(c.raw, int64(e.offset)); err != nil {
		return dst, fmt.Errorf("reading %s: %w", c.path, err)
	}
	had := len(dst)
	dst, err := page.Decode(c.raw, dst)
	if err != nil {
		return dst, fmt.Errorf("reading series %d at %d of %s: %w", e.number, e.offset, c.path, err)
	}
	if len(dst)-had != int(e.count) {
		return dst, fmt.Errorf("reading series %d at %d of %s: %w", e.number, e.offset, c.path, corrupt("%d buckets, not %d", len(dst)-had, e.count))
	}
	return dst, nil
}

// series appends the buckets of one series whose segments start in [from, to).
func (c *cursor) series(number uint32, from, to int64, dst []bucket.Bucket) ([]bucket.Bucket, error) {
	position, err := c.find(number)
	if err != nil {
		return dst, err
	}
	for ; position < c.pages; position++ {
		e, err := c.entry(position)
		if err != nil || e.number != number {
			return dst, err
		}
		if c.window+int64(e.first)*c.resolution >= to || c.window+int64(e.last)*c.resolution < from {
			continue
		}
		had := len(dst)
		if dst, err = c.cut(e, from, to, dst); err != nil {
			return dst[:had], err
		}
	}
	return dst, nil
}

// cut is read without what lies outside [from, to).
func (c *cursor) cut(e indexEntry, from, to int64, dst []bucket.Bucket) ([]bucket.Bucket, error) {
	had := len(dst)
	dst, err := c.read(e, dst)
	if err != nil {
		return dst, err
	}
	inside := within(dst[had:], from, to)
	return dst[:had+copy(dst[had:], inside)], nil
}

func sized(buffer []byte, n int) []byte {
	if cap(buffer) < n {
		return make([]byte, n)
	}
	return buffer[:n]
}
