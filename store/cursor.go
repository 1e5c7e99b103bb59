package store

import (
	"fmt"
	"slices"
	"sort"

	"carillon/bucket"
	"carillon/store/page"
)

// cursor reads a file's pages. It keeps the block of the index and the page it is at,
// so that reading series in ascending order reads each of them once. Not for
// concurrent use; cursors that take turns may share a decoder.
type cursor struct {
	*file
	decoder *page.Decoder
	tier    int
	graves  []*grave // that concern the file

	block   int // of the index, -1 for none
	entries []indexEntry
	raw     []byte // scratch

	loaded bool
	at     uint64 // position of the page
	entry  indexEntry
	data   []byte
	start  page.Page  // before its first strip
	page   page.Page  // behind strip
	strip  page.Strip // valid with more
	more   bool
	taken  []span // scratch
	past   int64  // the last series whose strips, or some of them, were passed; -1 for none
}

func newCursor(f *file, d *page.Decoder) *cursor { return &cursor{file: f, decoder: d, block: -1} }

// close leaves nothing but memory to be used for another file.
func (c *cursor) close() {
	*c = cursor{decoder: c.decoder, block: -1, entries: c.entries, raw: c.raw, data: c.data, taken: c.taken}
}

func (c *cursor) loadBlock(block int) error {
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

// find is the position of the first page that ends with series number or with a later
// one; it is c.pages if there is none.
func (c *cursor) find(number uint32) (uint64, error) {
	if c.loaded && c.entry.low < number && number <= c.entry.high {
		return c.at, nil // the usual case where series come in order
	}
	block := sort.Search(len(c.sparse), func(i int) bool { return c.sparse[i] >= number })
	if block == len(c.sparse) {
		return c.pages, nil
	}
	if err := c.loadBlock(block); err != nil {
		return 0, err
	}
	in := sort.Search(len(c.entries), func(i int) bool { return c.entries[i].high >= number })
	return uint64(block)*blockEntries + uint64(in), nil
}

// lookUp is the index entry at a position below c.pages.
func (c *cursor) lookUp(position uint64) (indexEntry, error) {
	if err := c.loadBlock(int(position / blockEntries)); err != nil {
		return indexEntry{}, err
	}
	return c.entries[position%blockEntries], nil
}

// load makes the page at a position the one to be walked through.
func (c *cursor) load(position uint64) error {
	if c.loaded && c.at == position {
		return nil
	}
	c.loaded = false
	e, err := c.lookUp(position)
	if err != nil {
		return err
	}
	if e.length > maxPageBytes || e.offset < headerBytes || e.offset > c.index || uint64(e.length) > c.index-e.offset {
		return fmt.Errorf("reading %s: %w", c.path, corrupt("a page of %d bytes at %d", e.length, e.offset))
	}
	c.data = sized(c.data, int(e.length))
	if _, err := c.in.ReadAt(c.data, int64(e.offset)); err != nil {
		return fmt.Errorf("reading %s: %w", c.path, err)
	}
	if c.start, err = page.Open(c.data); err != nil {
		return c.damaged(err, e)
	}
	c.loaded, c.at, c.entry = true, position, e
	return c.rewind()
}

func (c *cursor) damaged(err error, e indexEntry) error {
	return fmt.Errorf("reading series %d to %d at %d of %s: %w", e.low, e.high, e.offset, c.path, err)
}

// rewind goes back to the page's first strip.
func (c *cursor) rewind() error {
	c.page, c.past = c.start, -1
	return c.next()
}

// next goes to the next strip of the page.
func (c *cursor) next() error {
	var err error
	if c.strip, c.more, err = c.page.Next(); err != nil {
		c.loaded = false
		return c.damaged(err, c.entry)
	}
	return nil
}

// skip passes the strip that the cursor is at.
func (c *cursor) skip() error {
	c.past = int64(c.strip.Number)
	return c.next()
}

// seek goes to the page's first strip of series number, or of the first series after it.
func (c *cursor) seek(number uint32) error {
	if int64(number) <= c.past {
		if err := c.rewind(); err != nil {
			return err
		}
	}
	for c.more && c.strip.Number < number {
		if err := c.skip(); err != nil {
			return err
		}
	}
	return nil
}

// following is the first series from number on.
func (c *cursor) following(number uint32) (_ uint32, ok bool, err error) {
	position, err := c.find(number)
	if err != nil || position == c.pages {
		return 0, false, err
	}
	if err := c.load(position); err != nil {
		return 0, false, err
	}
	if err := c.seek(number); err != nil {
		return 0, false, err
	}
	if !c.more {
		return 0, false, c.damaged(corrupt("it ends before the series that the index says"), c.entry)
	}
	return c.strip.Number, true, nil
}

// each calls visit for the strips of a series in those pages that may have segments
// which start in [from, to), until it reports false. It passes over pages of which known,
// if it is not nil, can do with the index entry.
func (c *cursor) each(number uint32, from, to int64, known func(indexEntry) bool, visit func(page.Strip) (bool, error)) error {
	position, err := c.find(number)
	if err != nil {
		return err
	}
	for ; position < c.pages; position++ {
		e := c.entry
		if !c.loaded || c.at != position {
			if e, err = c.lookUp(position); err != nil {
				return err
			}
		}
		if e.low > number {
			return nil
		}
		if s := c.spanOf(e); s.from >= to || s.to-c.resolution < from {
			continue
		}
		if known != nil && known(e) {
			continue
		}
		if err := c.load(position); err != nil {
			return err
		}
		if err := c.seek(number); err != nil {
			return err
		}
		for ; c.more && c.strip.Number == number; err = c.skip() {
			if again, err := visit(c.strip); err != nil {
				return c.damaged(err, c.entry)
			} else if !again {
				return nil
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// spanOf is the time from a page's first segment to the end of its last one.
func (f *file) spanOf(e indexEntry) span {
	return span{f.window + int64(e.first)*f.resolution, f.window + (int64(e.last)+1)*f.resolution}
}

// deleted is the spans in which the file has lost what it holds of a series. They are
// valid until the next call.
func (c *cursor) deleted(number uint32) []span {
	c.taken = c.taken[:0]
	for _, g := range c.graves {
		if g.holds(number) {
			c.taken = append(c.taken, g.spans[c.tier])
		}
	}
	return c.taken
}

// buckets appends the buckets of one series whose segments start in [from, to).
func (c *cursor) buckets(number uint32, from, to int64, dst []bucket.Bucket) ([]bucket.Bucket, error) {
	return c.summed(number, from, to, nil, dst)
}

// summed is buckets, but one bucket stands for each page of this series alone, with all
// of its segments in [from, to), of which alone says that nothing else is in their span.
// It may not be there: with alone nil it never is, nor where anything of the series is
// deleted.
func (c *cursor) summed(number uint32, from, to int64, alone func(span) bool, dst []bucket.Bucket) ([]bucket.Bucket, error) {
	had, taken := len(dst), c.deleted(number)
	known := func(e indexEntry) bool {
		s := c.spanOf(e)
		if e.low < number || e.high > number || e.samples <= 2 || s.from < from || s.to > to || !alone(s) {
			return false
		}
		dst = append(dst, e.bucket(s.from, s.to-c.resolution))
		return true
	}
	if alone == nil || len(taken) > 0 {
		known = nil
	}
	err := c.each(number, from, to, known, func(s page.Strip) (bool, error) {
		var err error
		dst, err = c.left(s, from, to, taken, dst)
		return err == nil, err
	})
	if err != nil {
		return dst[:had], err
	}
	return dst, nil
}

// left appends the buckets of a strip whose segments start in [from, to) and are not taken.
func (c *cursor) left(s page.Strip, from, to int64, taken []span, dst []bucket.Bucket) (_ []bucket.Bucket, err error) {
	old := len(dst)
	if dst, err = c.decoder.Buckets(s, dst); err != nil {
		return dst, err
	}
	inside := within(dst[old:], from, to)
	for _, s := range taken {
		inside = slices.DeleteFunc(inside, func(b bucket.Bucket) bool { return s.encloses(&b) })
	}
	return dst[:old+copy(dst[old:], inside)], nil
}

// samples appends the samples of one series whose segments start in [from, to), if
// there is nothing else: otherwise it reports false, and nothing is appended. A value
// of bucket.StaleNaN is a staleness marker.
func (c *cursor) samples(number uint32, from, to int64, dst columns) (_ columns, ok bool, err error) {
	had, ok := dst.len(), true
	taken := c.deleted(number)
	err = c.each(number, from, to, nil, func(s page.Strip) (bool, error) {
		old := dst.len()
		var err error
		if dst.times, dst.values, ok, err = c.decoder.Samples(s, dst.times, dst.values); err != nil || !ok {
			return false, err
		}
		dst.keep(old, from, to)
		for _, s := range taken {
			dst.cut(old, s)
		}
		return true, nil
	})
	if err != nil || !ok {
		return dst.slice(0, had), false, err
	}
	return dst, true, nil
}

// columns are samples, sorted by time where nothing else is said.
type columns struct {
	times  []int64
	values []float64
}

func (c columns) len() int                   { return len(c.times) }
func (c columns) slice(from, to int) columns { return columns{c.times[from:to], c.values[from:to]} }
func (c columns) append(more columns) columns {
	return columns{append(c.times, more.times...), append(c.values, more.values...)}
}

// within is the part in [start, end).
func (c columns) within(start, end int64) columns {
	first, _ := slices.BinarySearch(c.times, start)
	last, _ := slices.BinarySearch(c.times, end)
	return c.slice(first, max(first, last))
}

// keep cuts what is from an index on down to what lies in [start, end).
func (c *columns) keep(index int, start, end int64) {
	if n := len(c.times); n == index || c.times[index] >= start && c.times[n-1] < end {
		return
	}
	inside := c.slice(index, c.len()).within(start, end)
	copy(c.times[index:], inside.times)
	copy(c.values[index:], inside.values)
	*c = c.slice(0, index+inside.len())
}

// cut takes out what lies in a span, from an index on.
func (c *columns) cut(index int, s span) {
	first, _ := slices.BinarySearch(c.times[index:], s.from)
	last, _ := slices.BinarySearch(c.times[index:], s.to)
	if first < last {
		c.times = slices.Delete(c.times, index+first, index+last)
		c.values = slices.Delete(c.values, index+first, index+last)
	}
}

// oneEach tells whether samples are sorted, and no two of them are of one segment.
func (c columns) oneEach(resolution int64) bool {
	if len(c.times) == 0 {
		return true
	}
	before := c.times[0]
	for _, t := range c.times[1:] {
		// A step of the resolution or more leads out of any segment.
		if t-before < resolution && (t <= before || bucket.Floor(t, resolution) == bucket.Floor(before, resolution)) {
			return false
		}
		before = t
	}
	return true
}

func sized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
