// Package page turns the buckets of series into few bytes and back, exact to the
// bit. Columns of samples, or whole buckets, come in, each series' as a strip of a
// page; a checksummed, self-describing page comes out. The store calls it when it
// seals and merges, and when a query reads. It is pure: no clock, no I/O, no state
// but scratch memory; docs/format/page.md is the format.
package page

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strconv"

	"carillon/bucket"
)

// MaxBuckets is how many buckets one strip may hold.
const MaxBuckets = 4096

const (
	magicVersion  = 0xC4 // upper half: a page; lower half: version 4
	checksumBytes = 4

	// MaxStripBytes bounds what a strip takes, whatever is in it.
	MaxStripBytes = MaxBuckets*11*12 + 4096
)

// ErrCorrupt is wrapped by every error of reading.
var ErrCorrupt = errors.New("page is corrupt")

// corruption says what is wrong with a page, and at which byte of it.
type corruption struct {
	what string
	at   int
}

func (c *corruption) Error() string {
	return ErrCorrupt.Error() + ": " + c.what + " at byte " + strconv.Itoa(c.at)
}

func (c *corruption) Unwrap() error { return ErrCorrupt }

// shape is what strips of a page have in common with the first one.
type shape struct {
	first, step int64 // milliseconds
	count       int
}

func shapeOf(times []int64) shape {
	s := shape{first: times[0], count: len(times)}
	if len(times) > 1 {
		s.step = fit(times)
		if step := times[1] - times[0]; regular(times, step) {
			s.step = step
		}
	}
	return s
}

// Builder collects the strips of one page after the other. The zero Builder is
// ready.
type Builder struct {
	data   []byte
	shape  shape
	number uint32 // of the last strip
}

// Len is how long the page is so far, 0 if it has no strip.
func (b *Builder) Len() int { return len(b.data) }

// AddSamples appends a strip of 1 to MaxBuckets samples of one series, which are the
// buckets that bucket.Of makes of them. Any contents come back exactly; sorted by
// time they become small. Series come in ascending order. It panics on another number
// of samples.
func (b *Builder) AddSamples(e *Encoder, number uint32, times []int64, values []float64) {
	checkCount(len(times))
	b.begin(number, times)
	b.add(number, e.samples(b.shape, times, values[:len(times)]))
}

// AddBuckets is AddSamples for buckets of any kind.
func (b *Builder) AddBuckets(e *Encoder, number uint32, buckets []bucket.Bucket) {
	checkCount(len(buckets))
	if times, values, ok := e.asSamples(buckets); ok {
		b.AddSamples(e, number, times, values)
		return
	}
	times := e.firstTimes(buckets)
	b.begin(number, times)
	b.add(number, e.wholes(b.shape, times, buckets))
}

func checkCount(n int) {
	if n == 0 || n > MaxBuckets {
		panic("strip of " + strconv.Itoa(n) + " buckets, want 1 to " + strconv.Itoa(MaxBuckets))
	}
}

// begin writes the head of the page before its first strip.
func (b *Builder) begin(number uint32, times []int64) {
	if len(b.data) > 0 {
		return
	}
	b.shape, b.number = shapeOf(times), number
	b.data = append(b.data, magicVersion)
	b.data = binary.AppendVarint(b.data, b.shape.first)
	b.data = binary.AppendVarint(b.data, b.shape.step)
	b.data = binary.AppendUvarint(b.data, uint64(b.shape.count))
	b.data = binary.AppendUvarint(b.data, uint64(number))
}

func (b *Builder) add(number uint32, strip []byte) {
	b.data = binary.AppendUvarint(b.data, uint64(number-b.number))
	b.data = binary.AppendUvarint(b.data, uint64(len(strip)))
	b.data = append(b.data, strip...)
	b.number = number
}

// Finish is the page, valid until the next strip is added to the next one.
func (b *Builder) Finish() []byte {
	page := binary.LittleEndian.AppendUint32(b.data, checksum(b.data))
	b.data = page[:0]
	return page
}

// Page walks through the strips of a page.
type Page struct {
	cursor
	shape  shape
	number uint32
}

// Strip is the buckets of one series in a page.
type Strip struct {
	Number uint32 // of the series
	data   []byte
	at     int // in the page
	shape  shape
}

// Open checks a page as far as that is possible without looking into strips. The page
// refers to data.
func Open(data []byte) (Page, error) {
	body := len(data) - checksumBytes
	if body < 1 {
		return Page{}, &corruption{"it ends within its head", len(data)}
	}
	if checksum(data[:body]) != binary.LittleEndian.Uint32(data[body:]) {
		return Page{}, &corruption{"checksum does not match", body}
	}
	if data[0] != magicVersion {
		return Page{}, &corruption{"unknown version " + strconv.Itoa(int(data[0])), 0}
	}
	p := Page{cursor: cursor{data: data[:body], at: 1}}
	p.shape.first, p.shape.step = int64(p.varint()), int64(p.varint())
	p.shape.count = p.count()
	p.number = p.seriesNumber(0)
	return p, p.err()
}

func (p *Page) err() error {
	if p.wrong != "" {
		return &corruption{p.wrong, p.at}
	}
	return nil
}

// seriesNumber reads the number of a series as the distance from another one.
func (c *cursor) seriesNumber(before uint32) uint32 {
	n := c.uvarint()
	if n > uint64(^uint32(0)-before) {
		c.fail("a series number is too large")
	}
	return before + uint32(n)
}

// count reads a number of buckets.
func (c *cursor) count() int {
	n := c.uvarint()
	if n == 0 || n > MaxBuckets {
		c.fail("number of buckets is not 1 to " + strconv.Itoa(MaxBuckets))
		return 1
	}
	return int(n)
}

// Next is the next strip; ok is false behind the last one. A series may have several
// strips in a row.
func (p *Page) Next() (s Strip, ok bool, err error) {
	if p.at == len(p.data) || p.wrong != "" {
		return Strip{}, false, p.err()
	}
	p.number = p.seriesNumber(p.number)
	n := p.uvarint()
	if n > MaxStripBytes {
		p.fail("a strip is too long")
	}
	data := p.take(n)
	return Strip{Number: p.number, data: data, at: p.at - len(data), shape: p.shape}, p.wrong == "", p.err()
}

func checksum(page []byte) uint32 {
	return crc32.Checksum(page, crc32.MakeTable(crc32.Castagnoli))
}
