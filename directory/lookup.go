package directory

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

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

// DefaultCaches hold two million series in 52 MiB, of which only what is used is
// ever resident.
func DefaultCaches() Caches { return Caches{Series: 21, Absent: 16} }

// Pebble's records of keys, behind the two caches in front. The caches are
// filled by use: nothing is read at the start.
//
// A series is never removed and keeps its number, so an entry of present cannot
// become stale. An entry of absent can, and must not for a moment: Define drops
// it in the step that makes the series known. A look-up that found nothing on
// disk may be slow, and come back with its "absent" after that step. So it notes
// how often the key's stripe was touched before it read, and may fill the cache
// only if that has not changed since.
//
// A directory that was empty when it was opened has had every series put into present
// by the step that defined it. Until one finds no room there, what is not in present
// is no series, and the disk need not be asked: that is whole, and it turns false
// before the first entry leaves.
type lookups struct {
	present *cuckoo.Table // key → series.ID; nil if off
	absent  *cuckoo.Table // keys that are no series; nil if off
	whole   atomic.Bool   // all series are in present

	filling sync.Mutex // held by whoever writes to one of the tables
	touched [touchStripes]atomic.Uint64

	diskFound, diskAbsent, diskFailed atomic.Uint64

	afterDisk func() // in tests: called between a reading of the disk and the fill
}

// touchStripes is how many counters of definitions there are. Keys share them:
// a fill is now and then refused without need.
const touchStripes = 4096

// CacheStats are the figures of the caches since Open.
type CacheStats struct {
	Positive   cuckoo.Stats `json:"positive"`
	Negative   cuckoo.Stats `json:"negative"`
	DiskFound  uint64       `json:"disk_found"` // look-ups that the disk answered
	DiskAbsent uint64       `json:"disk_absent"`
	DiskFailed uint64       `json:"disk_failed"`
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

// Lookup finds the id of a key, of which nothing is kept. A key that the disk
// could not be asked for counts as unknown: defining it again does no harm.
func (d *Directory) Lookup(key series.Key) (series.ID, bool) {
	id, ok, err := d.find(key)
	if err != nil {
		d.logger.Error("directory: look-up failed", "error", err)
	}
	return id, ok
}

// find asks the caches, then the disk.
func (d *Directory) find(key series.Key) (series.ID, bool, error) {
	l := d.lookups
	if l.present == nil {
		return d.findOnDisk(key)
	}
	fingerprint := l.present.KeyString(string(key))
	if id, ok := l.present.Get(fingerprint); ok {
		return series.ID(id), true, nil
	}
	if l.whole.Load() {
		return 0, false, nil
	}
	if l.absent != nil {
		if _, ok := l.absent.Get(fingerprint); ok {
			return 0, false, nil
		}
	}
	stripe := l.stripe(fingerprint)
	touched := stripe.Load()
	id, ok, err := d.findOnDisk(key)
	if l.afterDisk != nil {
		l.afterDisk()
	}
	if err == nil {
		l.fill(fingerprint, id, ok, touched)
	}
	return id, ok, err
}

func (l *lookups) stripe(fingerprint cuckoo.Key) *atomic.Uint64 {
	return &l.touched[fingerprint.Hi%touchStripes]
}

// fill caches what the disk said of a key when its stripe had been touched so
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

// define makes new series known to the caches. It is called when the disk has
// them, under the partition's lock: whoever is told of one finds it here.
func (l *lookups) define(partition, first int, fresh []newSeries) {
	if l.present == nil {
		return
	}
	l.filling.Lock()
	defer l.filling.Unlock()
	for i, s := range fresh {
		fingerprint := l.present.KeyString(string(s.key))
		l.stripe(fingerprint).Add(1)
		if l.absent != nil {
			l.absent.Delete(fingerprint)
		}
		l.add(fingerprint, series.NewID(partition, uint32(first+i)))
	}
}

// add is called with filling held.
func (l *lookups) add(fingerprint cuckoo.Key, id series.ID) {
	if l.whole.Load() {
		if l.present.Insert(fingerprint, uint64(id)) == nil {
			return
		}
		l.whole.Store(false)
	}
	l.present.Put(fingerprint, uint64(id))
}

func (d *Directory) findOnDisk(key series.Key) (series.ID, bool, error) {
	var buffer [512]byte
	value, closer, err := d.db.Get(appendKeyKey(buffer[:0], key))
	if errors.Is(err, pebble.ErrNotFound) {
		d.lookups.diskAbsent.Add(1)
		return 0, false, nil
	}
	if err != nil {
		d.lookups.diskFailed.Add(1)
		return 0, false, fmt.Errorf("look series %.200s up: %w", key.Format(), err)
	}
	defer closer.Close()
	_, id, err := decodeKeyValue(value)
	if err != nil {
		d.lookups.diskFailed.Add(1)
		return 0, false, fmt.Errorf("key record of %.200s: %w", key.Format(), err)
	}
	d.lookups.diskFound.Add(1)
	return id, true, nil
}

// CacheStats returns the figures of the caches.
func (d *Directory) CacheStats() CacheStats {
	l := d.lookups
	s := CacheStats{DiskFound: l.diskFound.Load(), DiskAbsent: l.diskAbsent.Load(), DiskFailed: l.diskFailed.Load()}
	if l.present != nil {
		s.Positive = l.present.Stats()
	}
	if l.absent != nil {
		s.Negative = l.absent.Stats()
	}
	return s
}
