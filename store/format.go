package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"carillon/store/page"
)

// The layout of a page file; docs/format/store.md has it as a table.
const (
	headerMagic   = "carpages"
	footerMagic   = "segaprac"
	formatVersion = 3

	headerBytes  = 16
	entryBytes   = 64
	blockEntries = 64 // index entries a block
	crcBytes     = 4  // after each block
	blockBytes   = blockEntries*entryBytes + crcBytes
	footerBytes  = 100
	sealedBytes  = footerBytes - 16 // of the footer, under its own checksum

	// A page ends with the strip by which it is that long, or half as long if it is all
	// of one series: the index then answers for that.
	pageBytes = 8 << 10
	// maxPageBytes bounds what is read on the word of an index entry.
	maxPageBytes = pageBytes + page.MaxStripBytes + 64
)

// ErrCorrupt is wrapped by what is wrong with a file's contents.
var ErrCorrupt = errors.New("file is corrupt")

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrCorrupt}, args...)...)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(data []byte) uint32 { return crc32.Checksum(data, castagnoli) }

// indexEntry says where one page is and what it holds.
type indexEntry struct {
	offset      uint64 // of the page in the file
	low, high   uint32 // numbers of its first and its last series
	length      uint32 // bytes
	count       uint32 // buckets
	first, last uint32 // segments, counted from the start of the file's window
	summary
}

func (e *indexEntry) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, e.offset)
	for _, v := range [...]uint32{e.low, e.high, e.length, e.count, e.first, e.last} {
		dst = binary.LittleEndian.AppendUint32(dst, v)
	}
	dst = binary.LittleEndian.AppendUint64(dst, e.samples)
	for _, v := range e.summary.bits() {
		dst = binary.LittleEndian.AppendUint64(dst, v)
	}
	return dst
}

func decodeEntry(data []byte) indexEntry {
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(data[at:]) }
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(data[at:]) }
	f64 := func(at int) float64 { return math.Float64frombits(u64(at)) }
	return indexEntry{
		offset: u64(0), low: u32(8), high: u32(12), length: u32(16), count: u32(20), first: u32(24), last: u32(28),
		summary: summary{samples: u64(32), sum: f64(40), min: f64(48), max: f64(56)},
	}
}

// decodeBlock checks one block of the index and appends its entries to dst.
func decodeBlock(data []byte, dst []indexEntry) ([]indexEntry, error) {
	body := len(data) - crcBytes
	if body <= 0 || body%entryBytes != 0 {
		return dst, corrupt("an index block of %d bytes", len(data))
	}
	if checksum(data[:body]) != binary.LittleEndian.Uint32(data[body:]) {
		return dst, corrupt("the checksum of an index block is wrong")
	}
	for at := 0; at < body; at += entryBytes {
		dst = append(dst, decodeEntry(data[at:]))
	}
	return dst, nil
}

// footer sums a file up. Times are milliseconds since the epoch.
type footer struct {
	resolution  int64
	window      int64 // start of the file's window
	first, last int64 // starts of its first and last segment
	pages       uint64
	series      uint64
	buckets     uint64
	index       uint64 // offset of the index
	sparse      uint64 // offset of the sparse index
	replaces    bool   // its buckets take the place of older ones, not merge with them
	level       uint8  // how often its contents were merged with others'
	sparseCRC   uint32
}

// blocks is how many blocks the index has.
func (f *footer) blocks() uint64 { return (f.pages + blockEntries - 1) / blockEntries }

// append writes the footer but for the checksum of the file and the magic.
func (f *footer) append(dst []byte) []byte {
	start := len(dst)
	for _, v := range [...]uint64{
		uint64(f.resolution), uint64(f.window), uint64(f.first), uint64(f.last),
		f.pages, f.series, f.buckets, f.index, f.sparse,
	} {
		dst = binary.LittleEndian.AppendUint64(dst, v)
	}
	var replaces byte
	if f.replaces {
		replaces = 1
	}
	dst = append(dst, replaces, f.level, 0, 0, 0, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, f.sparseCRC)
	return binary.LittleEndian.AppendUint32(dst, checksum(dst[start:]))
}

// decodeFooter checks a footer against the size of its file.
func decodeFooter(data []byte, size int64) (footer, error) {
	if len(data) != footerBytes || string(data[footerBytes-len(footerMagic):]) != footerMagic {
		return footer{}, corrupt("it does not end like a page file")
	}
	if checksum(data[:sealedBytes]) != binary.LittleEndian.Uint32(data[sealedBytes:]) {
		return footer{}, corrupt("the checksum of the footer is wrong")
	}
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(data[at:]) }
	f := footer{
		resolution: int64(u64(0)), window: int64(u64(8)), first: int64(u64(16)), last: int64(u64(24)),
		pages: u64(32), series: u64(40), buckets: u64(48), index: u64(56), sparse: u64(64),
		replaces: data[72] == 1, level: data[73], sparseCRC: binary.LittleEndian.Uint32(data[80:]),
	}
	return f, f.check(uint64(size))
}

// check makes sure that no offset leads out of the file.
func (f *footer) check(size uint64) error {
	// Each comparison keeps the next one from wrapping around.
	if f.pages == 0 || f.pages > size/entryBytes || f.index < headerBytes || f.index > size {
		return corrupt("the footer's %d pages do not fit", f.pages)
	}
	if f.sparse != f.index+f.pages*entryBytes+f.blocks()*crcBytes || f.sparse+4*f.blocks()+footerBytes != size {
		return corrupt("the footer does not match the file's %d bytes", size)
	}
	if f.resolution <= 0 || f.first > f.last || f.first < f.window {
		return corrupt("the footer's times make no sense")
	}
	return nil
}
