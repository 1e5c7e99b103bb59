// Package index holds the series of one partition in memory: keys come in and get
// numbers in order; numbers, keys, kinds and the answers to label matchers go out, as
// do records from which the same index can be made again. The directory keeps one a
// partition, and its Pebble keeps the records; the package does no I/O itself.
package index

import (
	"fmt"
	"sync"

	"github.com/zeebo/xxh3"

	"carillon/series"
	"carillon/slab"
)

// MaxSeries is how many series an index can have, and how many pairs: places in a
// table of so many are 32 bits.
const MaxSeries = 1 << 31

// Index is the series of a partition. One goroutine, its writer, calls Enter,
// AppendRecord, Load, SetKinds and Publish; any number may call the rest meanwhile.
//
// # What it is made of
//
// A series has a row: the numbers of its pairs, in the order of its key. A pair is
// one label's name and value, and stands as text, as in a key, exactly once
// (dictionary). A key is the texts of its row's pairs, one after the other, so it
// need not be kept; its fingerprint leads to its number (byKey). From a pair the series
// that have it are found in a list (postings). That is some 40 bytes a series with five
// labels, in memory that the collector neither scans nor counts (package slab), and
// that grows in place.
//
// # What is seen when
//
// Series are entered before they are on disk, since what is written names the numbers
// of pairs, and become visible by Publish, when they are. What is entered and not
// visible yet is hidden by one comparison everywhere: its number is not below count.
// A row, a text and what a pair says but for its list never change, and nothing is
// removed. So mu guards lengths, lists and tables, and who has noted count and a
// copy of rows or dictionary under it may read on in that copy without.
//
// What would break it: a series taken out again, or a pair that is told to readers
// and whose first series is not visible.
type Index struct {
	seed uint64 // of all hashes; constant

	mu         sync.RWMutex // the writer reads without, for nobody else writes
	dictionary dictionary
	rows       rows
	byKey      table
	kinds      slab.Table[series.Kind] // by number
	count      uint32                  // visible series: numbers below it

	row    []byte // scratch of the writer
	stored uint32 // pairs in the records so far; the writer's
}

// New makes an empty index. The seed, random where names come from outside, keeps
// senders from choosing names whose hashes collide.
func New(seed uint64) *Index {
	return &Index{seed: seed, dictionary: newDictionary(seed)}
}

// Enter gives numbers to the series of definitions, in numbers, which is as long: its
// own to one that is there, to others the next ones in order. They have the kind of
// their first definition, and are hidden until Publish. The keys must be Valid, and the
// series must fit.
func (x *Index) Enter(definitions []series.Definition, numbers []uint32) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, d := range definitions {
		f := x.fingerprint(d.Key)
		number, known := x.byKey.find(f)
		if !known {
			number = x.rows.count
			x.row = x.intern(x.row[:0], string(d.Key))
			x.add(x.row, f, d.Kind)
		}
		numbers[i] = number
	}
}

func (x *Index) fingerprint(key series.Key) fingerprint {
	return fingerprintOf(xxh3.HashString128Seed(string(key), x.seed))
}

// intern appends the row of a valid key, whose pairs it makes known.
func (x *Index) intern(row []byte, key string) []byte {
	for key != "" {
		text, rest, _ := cutPair(key)
		row = appendNumber(row, x.dictionary.intern(text, x.rows.count))
		key = rest
	}
	return row
}

// add enters a series that is not there, as the next one.
func (x *Index) add(row []byte, f fingerprint, kind series.Kind) {
	number := x.rows.count
	x.rows.add(row)
	x.byKey.insert(f, number)
	x.kinds.Grow(int(number) + 1)
	*x.kinds.At(number) = kind
	for len(row) > 0 {
		var pair uint32
		pair, row = cutNumber(row)
		x.dictionary.enlist(pair, number)
	}
}

// Fits tells that there is room for n series, whatever their labels. Only the writer
// may call it.
func (x *Index) Fits(n int) bool {
	return int(x.rows.count)+n <= MaxSeries && int(x.dictionary.count)+n*series.MaxLabels <= MaxSeries
}

// Entered is how many series there are, those that are not visible yet included.
// Only the writer may call it.
func (x *Index) Entered() int { return int(x.rows.count) }

// Publish takes a step of the caller's, which must not use the index, and makes visible
// what was entered. Nobody sees the index between the two.
func (x *Index) Publish(step func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	step()
	x.count = x.rows.count
}

// SetKinds changes the kinds of series that were entered.
func (x *Index) SetKinds(kinds map[uint32]series.Kind) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for number, kind := range kinds {
		*x.kinds.At(number) = kind
	}
}

// Count is how many series are visible, which is the next one's number.
func (x *Index) Count() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return int(x.count)
}

// Bytes is the memory that the index uses, but for the names of labels.
func (x *Index) Bytes() int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.dictionary.bytes() + x.dictionary.series.bytes() + x.rows.bytes() + x.byKey.bytes() +
		int64(x.rows.count)*x.kinds.RowBytes()
}

// Kind is the kind of a series, or false if there is no such series.
func (x *Index) Kind(number uint32) (series.Kind, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if number >= x.count {
		return 0, false
	}
	return *x.kinds.At(number), true
}

// Find is the number of a series.
func (x *Index) Find(key series.Key) (number uint32, ok bool) {
	f := x.fingerprint(key)
	x.mu.RLock()
	defer x.mu.RUnlock()
	number, ok = x.byKey.find(f)
	return number, ok && number < x.count
}

// AppendKey appends the key of a series, or tells that there is none of that number.
func (x *Index) AppendKey(key []byte, number uint32) ([]byte, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if number >= x.count {
		return key, false
	}
	return x.appendKey(key, number), true
}

// maxFastRow is the length of rows for which there is room on the stack: of series
// with twelve labels, however many there are.
const maxFastRow = 64 // bytes

func (x *Index) appendKey(key []byte, number uint32) []byte {
	var space [maxFastRow]byte
	for row := x.rows.appendTo(space[:0], number); len(row) > 0; {
		var pair uint32
		pair, row = cutNumber(row)
		key = x.dictionary.appendText(key, pair)
	}
	return key
}

// Verify checks the index against itself: the key of each series leads back to it,
// and owner must agree to it. It must not run while series are entered.
func (x *Index) Verify(owns func(series.Key) error) error {
	var buffer []byte
	for number := range uint32(x.Count()) {
		buffer, _ = x.AppendKey(buffer[:0], number)
		key := series.Key(buffer)
		if found, ok := x.Find(key); !ok || found != number {
			return fmt.Errorf("series %d, %.200s, is found as %d, %v", number, key.Format(), found, ok)
		}
		if err := owns(key); err != nil {
			return fmt.Errorf("series %d: %w", number, err)
		}
	}
	return nil
}
