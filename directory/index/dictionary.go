package index

import (
	"strings"

	"github.com/zeebo/xxh3"

	"carillon/slab"
)

// dictionary is all pairs of a label's name and a value, by text and by number.
type dictionary struct {
	seed   uint64
	text   arena
	pairs  slab.Table[pair] // by number
	count  uint32           // pairs
	byText table
	series postings

	labels  []label           // by number
	byLabel map[string]uint32 // name → number
}

// pair is a label's name and a value. All but list never changes.
type pair struct {
	text    uint64 // where it stands in the arena, written as in a key
	label   uint32
	sibling uint32 // the pair before it of the same label, or none
	first   uint32 // the first series that has it
	list    uint32 // that of the others, or noList
}

// none is no pair.
const none = ^uint32(0)

// label is one name. There may be many pairs of it, but there are few names.
type label struct {
	name   string
	latest uint32 // its last one, from which all others are found
}

func newDictionary(seed uint64) dictionary {
	return dictionary{seed: seed, byLabel: make(map[string]uint32)}
}

// bytes leaves out the lists of series.
func (d *dictionary) bytes() int64 {
	return int64(d.text.used) + int64(d.count)*d.pairs.RowBytes() + d.byText.bytes()
}

func (d *dictionary) fingerprint(text string) fingerprint {
	return fingerprintOf(xxh3.HashString128Seed(text, d.seed))
}

// find is the number of a pair.
func (d *dictionary) find(text string) (number uint32, ok bool) {
	return d.byText.find(d.fingerprint(text))
}

// intern is the number of a pair. A new one is that of the given series.
func (d *dictionary) intern(text string, first uint32) (number uint32) {
	f := d.fingerprint(text)
	number, known := d.byText.find(f)
	if !known {
		number = d.add(text, f, first)
	}
	return number
}

func (d *dictionary) add(text string, f fingerprint, first uint32) (number uint32) {
	number = d.count
	name, _, _ := cutString(text)
	byName, known := d.byLabel[name]
	if !known {
		byName = uint32(len(d.labels))
		name = strings.Clone(name) // text may be a piece of a whole message of the journal
		d.byLabel[name] = byName
		d.labels = append(d.labels, label{name: name, latest: none})
	}
	l := &d.labels[byName]
	d.pairs.Grow(int(number) + 1)
	*d.pairs.At(number) = pair{text: write(&d.text, text), label: byName, sibling: l.latest, first: first}
	l.latest = number
	d.byText.insert(f, number)
	d.count++
	return number
}

// enlist says that a series has a pair. Series come in the order of their numbers,
// and the first that has a pair was told to add.
func (d *dictionary) enlist(number, series uint32) {
	if p := d.pairs.At(number); p.first != series {
		d.series.add(&p.list, p.first, series)
	}
}

// textAt is the place of a pair's text, its length and where in it the value begins.
func (d *dictionary) textAt(number uint32) (at uint64, length, value int) {
	at = d.pairs.At(number).text
	name, after := d.text.length(at)
	size, begin := d.text.length(after + uint64(name))
	return at, int(begin-at) + size, int(begin - at)
}

// appendText appends the text of a pair, as it stands in a key.
func (d *dictionary) appendText(b []byte, number uint32) []byte {
	at, length, _ := d.textAt(number)
	return d.text.read(b, at, length)
}

// appendValue appends the value of a pair.
func (d *dictionary) appendValue(b []byte, number uint32) []byte {
	at, length, value := d.textAt(number)
	return d.text.read(b, at+uint64(value), length-value)
}

// size is how many of the series below limit have a pair, or a little more.
func (d *dictionary) size(number uint32) int {
	return 1 + d.series.size(d.pairs.At(number).list)
}

// read reads the series below limit that have a pair, ascending.
func (d *dictionary) read(number, limit uint32) reader {
	p := d.pairs.At(number)
	return d.series.read(p.list, p.first, limit)
}
