package index

import (
	"errors"
	"fmt"

	"github.com/zeebo/xxh3"

	"carillon/series"
)

// ErrRecord is wrapped by the errors of Load.
var ErrRecord = errors.New("record of series is malformed")

// MaxEntered is how many series one record may hold, and a caller had better enter at
// a time: readers wait meanwhile.
const MaxEntered = 1024

// AppendRecord appends the record of the series that were entered and are not visible,
// at most MaxEntered of them; docs/format/directory.md has its layout. Load makes the same
// of it in an index that has all series before them.
func (x *Index) AppendRecord(b []byte) []byte {
	b = appendNumber(b, x.rows.count-x.count)
	for number := x.count; number < x.rows.count; number++ {
		x.row = x.rows.appendTo(x.row[:0], number)
		b = append(b, byte(*x.kinds.At(number)))
		b = appendNumber(b, countNumbers(x.row))
		for row := x.row; len(row) > 0; {
			var pair uint32
			pair, row = cutNumber(row)
			b = appendNumber(b, pair)
			if pair == x.stored {
				b = x.dictionary.appendText(b, pair)
				x.stored++
			}
		}
	}
	return b
}

// countNumbers counts the bytes with which a number ends.
func countNumbers(row []byte) (n uint32) {
	for _, b := range row {
		if b < 0x80 {
			n++
		}
	}
	return n
}

// Reserve makes room for n series, of which some will come.
func (x *Index) Reserve(n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.byKey.reserve(uint64(n))
}

// Load enters the series of a record and makes them visible. After an error, which wraps
// ErrRecord, the index is of no use any more.
func (x *Index) Load(record []byte) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	l := loader{index: x, rest: string(record)}
	count, err := l.number()
	if err != nil || count == 0 || count > MaxEntered {
		return fmt.Errorf("%w: it does not say how many series it has", ErrRecord)
	}
	for range count {
		if err := l.series(); err != nil {
			return fmt.Errorf("series %d: %w", x.rows.count, err)
		}
	}
	if l.rest != "" {
		return fmt.Errorf("%w: %d bytes are left over", ErrRecord, len(l.rest))
	}
	x.count, x.stored = x.rows.count, x.dictionary.count
	return nil
}

// loader takes a record apart, a copy of it: texts go to the dictionary as strings.
type loader struct {
	index *Index
	rest  string
	key   []byte // scratch
}

func (l *loader) series() error {
	x := l.index
	if !x.Fits(1) {
		return fmt.Errorf("%w: there is no room for it", ErrRecord)
	}
	if len(l.rest) < 2 {
		return fmt.Errorf("%w: it is cut short", ErrRecord)
	}
	kind := series.Kind(l.rest[0])
	if kind > series.Event {
		return fmt.Errorf("%w: kind %d does not exist", ErrRecord, kind)
	}
	l.rest = l.rest[1:]
	labels, err := l.number()
	if err != nil {
		return err
	}
	if labels == 0 || labels > series.MaxLabels {
		return fmt.Errorf("%w: %d labels", ErrRecord, labels)
	}
	if err := l.row(labels); err != nil {
		return err
	}
	f := fingerprintOf(xxh3.Hash128Seed(l.key, x.seed))
	if number, known := x.byKey.find(f); known {
		return fmt.Errorf("%w: it is series %d already", ErrRecord, number)
	}
	x.add(x.row, f, kind)
	return nil
}

// row reads the pairs of one series into the scratch row, and their texts into the
// scratch key.
func (l *loader) row(labels uint32) error {
	x := l.index
	x.row, l.key = x.row[:0], l.key[:0]
	before := ""
	for range labels {
		pair, err := l.pair()
		if err != nil {
			return err
		}
		name := x.dictionary.labels[x.dictionary.pairs.At(pair).label].name
		if name <= before {
			return fmt.Errorf("%w: label %.100q is out of order", ErrRecord, name)
		}
		if l.key = x.dictionary.appendText(l.key, pair); len(l.key) > series.MaxKeyBytes {
			return fmt.Errorf("%w: %w", ErrRecord, series.ErrKeyTooLong)
		}
		before = name
		x.row = appendNumber(x.row, pair)
	}
	return nil
}

// pair reads the number of a pair and, if it is the first that is not known, its text.
func (l *loader) pair() (uint32, error) {
	d := &l.index.dictionary
	pair, err := l.number()
	switch {
	case err != nil:
		return 0, err
	case pair < d.count:
		return pair, nil
	case pair > d.count:
		return 0, fmt.Errorf("%w: label pair %d, but %d are known", ErrRecord, pair, d.count)
	}
	text, rest, ok := cutPair(l.rest)
	if !ok || !Valid(series.Key(text)) {
		return 0, fmt.Errorf("%w: label pair %d: %w", ErrRecord, pair, series.ErrBadKey)
	}
	f := d.fingerprint(text)
	if other, known := d.byText.find(f); known {
		return 0, fmt.Errorf("%w: label pair %d is pair %d already", ErrRecord, pair, other)
	}
	l.rest = rest
	return d.add(text, f, l.index.rows.count), nil
}

// number reads a uvarint in its shortest form.
func (l *loader) number() (n uint32, err error) {
	for i := 0; i < len(l.rest) && i < 5; i++ {
		b := l.rest[i]
		n |= uint32(b&0x7f) << (7 * i)
		if b >= 0x80 {
			continue
		}
		if i == 4 && b > 0x0f || i > 0 && b == 0 {
			break
		}
		l.rest = l.rest[i+1:]
		return n, nil
	}
	return 0, fmt.Errorf("%w: not a number", ErrRecord)
}
