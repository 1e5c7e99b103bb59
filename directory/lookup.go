package directory

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"carillon/cuckoo"
	"carillon/series"
	"carillon/slab"
)

// Caches are the sizes of the two caches on the road from a key to its id, as
// log2 of entries, each entry taking 26 bytes; 0 is off. The cache of the absent
// needs the one of the present.
type Caches struct {
	Series int // keys that are series
	Absent int // keys that are none, until they are defined
}

// DefaultCaches are off: the index behind them answers from one or two cache lines
// itself, and asks nothing of the disk. They pay where few keys of very many series are
// asked for again and again.
func DefaultCaches() Caches { return Caches{} }

// lookups is the two caches in front of the indexes of all partitions. They are filled
// by use: nothing is read at the start.
//
// A series is never removed and keeps its number, so an entry of present cannot
// become stale. An entry of absent can, and must not for a moment: Define drops
// it in the step that makes the series known. A look-up that found nothing in the
// index may be slow, and come back with its "absent" after that step. So it notes
// how often the key's stripe was touched before it read, and may fill the cache
// only if that has not changed since.
type lookups struct {
	present *cuckoo.Table // key → series.ID; nil if off
	absent  *cuckoo.Table // keys that are no series; nil if off

	filling sync.Mutex // held by whoever writes to one of the tables
	touched [touchStripes]atomic.Uint64

	found, missed atomic.Uint64 // look-ups that went past the caches

	afterIndex func() // in tests: called between a reading of the index and the fill
}

// touchStripes is how many counters of definitions there are. Keys share them:
// a fill is now and then refused without need.
const touchStripes = 4096

// CacheStats are the figures of the caches since Open, and of the index behind them. In
// JSON the look-ups that reached it are called as those of the location directory are,
// whose reader they share.
type CacheStats struct {
	Positive    cuckoo.Stats `json:"positive"`
	Negative    cuckoo.Stats `json:"negative"`
	IndexFound  uint64       `json:"disk_found"` // look-ups that the index answered
	IndexAbsent uint64       `json:"disk_absent"`
	IndexBytes  int64        `json:"index_bytes"` // of memory
}

func newLookups(c Caches) (*lookups, error) {
	if c.Absent > 0 && c.Series == 0 {
		return nil, errors.New("the cache of absent series needs the one of the present")
	}
	l := new(lookups)
	seed := rand.Uint64() // one for both tables: a key is hashed once
	var err error
	if l.present, err = newTable(c.Series, seed); err != nil {
		return nil, fmt.Errorf("cache of series: %w", err)
	}
	if l.absent, err = newTable(c.Absent, seed); err != nil {
		return nil, fmt.Errorf("cache of absent series: %w", err)
	}
	return l, nil
}

func newTable(bits int, seed uint64) (*cuckoo.Table, error) {
	if bits == 0 {
		return nil, nil
	}
	config := cuckoo.Config{Bits: bits, Slots: 4, Seed: seed}
	words, err := cuckoo.Words(config)
	if err != nil {
		return nil, err
	}
	return cuckoo.New(slab.Words(words), config)
}

// Lookup finds the id of a key, of which nothing is kept.
func (d *Directory) Lookup(key series.Key) (series.ID, bool) {
	l := d.lookups
	if l.present == nil {
		return d.findInIndex(key)
	}
	fingerprint := l.present.KeyString(string(key))
	if id, ok := l.present.Get(fingerprint); ok {
		return series.ID(id), true
	}
	if l.absent != nil {
		if _, ok := l.absent.Get(fingerprint); ok {
			return 0, false
		}
	}
	touched := l.stripe(fingerprint).Load()
	id, ok := d.findInIndex(key)
	if l.afterIndex != nil {
		l.afterIndex()
	}
	l.fill(fingerprint, id, ok, touched)
	return id, ok
}

func (d *Directory) findInIndex(key series.Key) (series.ID, bool) {
	partition := key.Partition(len(d.partitions))
	number, ok := d.partitions[partition].Find(key)
	if !ok {
		d.lookups.missed.Add(1)
		return 0, false
	}
	d.lookups.found.Add(1)
	return series.NewID(partition, number), true
}

func (l *lookups) stripe(fingerprint cuckoo.Key) *atomic.Uint64 {
	return &l.touched[fingerprint.Hi%touchStripes]
}

// fill caches what the index said of a key when its stripe had been touched so
// many times.
func (l *lookups) fill(fingerprint cuckoo.Key, id series.ID, found bool, touched uint64) {
	l.filling.Lock()
	defer l.filling.Unlock()
	switch {
	case found:
		l.present.Put(fingerprint, uint64(id))
	case l.absent != nil && l.stripe(fingerprint).Load() == touched:
		l.absent.Put(fingerprint, 0)
	}
}

// define drops what the cache of the absent says of new series. It is the step of
// index.Index.Publish: who finds one in the index comes after it.
func (l *lookups) define(fresh []series.Definition) {
	if l.absent == nil {
		return
	}
	l.filling.Lock()
	defer l.filling.Unlock()
	for _, s := range fresh {
		fingerprint := l.absent.KeyString(string(s.Key))
		l.stripe(fingerprint).Add(1)
		l.absent.Delete(fingerprint)
	}
}

// CacheStats returns the figures of the caches.
func (d *Directory) CacheStats() CacheStats {
	l := d.lookups
	s := CacheStats{IndexFound: l.found.Load(), IndexAbsent: l.missed.Load()}
	for _, p := range d.partitions {
		s.IndexBytes += p.Bytes()
	}
	if l.present != nil {
		s.Positive = l.present.Stats()
	}
	if l.absent != nil {
		s.Negative = l.absent.Stats()
	}
	return s
}
