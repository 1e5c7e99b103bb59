package receive

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"carillon/cuckoo"
	"carillon/slab"
)

// A spelling is the bytes by which a request says whose points follow: the label
// fields of a TimeSeries, the name and tags of a Graphite line. A sender writes a
// series the same way each time, so its spelling leads straight to its id, and
// nobody takes it apart, sorts it or asks the directory.
//
// An entry cannot become wrong. The id of a series never changes and no series is
// ever removed; that a spelling is valid, and of which series, depends on nothing
// but its bytes; and only valid spellings of series that have an id get in. So
// entries are never dropped but to make room, and a fill needs no care about what
// happened since it was looked up. Several spellings of one series, with labels in
// another order or in another protocol, have an entry each, with the same id.
//
// What would break it: numbers that are given out again, checks on labels that
// depend on more than the labels, or two dialects of which one reads bytes
// otherwise than the other.

// dialect says how a spelling is read. It is mixed into the fingerprint by an
// exclusive or, so that the same bytes in two dialects never share one, and other
// bytes no more likely than without.
type dialect uint64

const (
	labelFields  dialect = (1 + iota) << 32 // of a remote write TimeSeries
	graphiteName                            // with tags
	istatdName                              // with the * of an event
)

// Bounds of Config.SpellingBits, and the size that the cache begins with.
const (
	MinSpellingBits     = 10 // log2 of entries, 26 bytes each
	MaxSpellingBits     = 28
	DefaultSpellingBits = 23

	firstSpellingBits = 12 // 104 KiB
)

// spellings is the cache from spelling to Handle. It starts small and doubles when
// it is seven eighths full, up to its size; from there on the entries not used
// lately make room. All tables have one seed, so that a fingerprint fits each.
//
// Readers take the table there is and need no lock; one that is replaced meanwhile
// still answers right, and misses what was learnt later.
type spellings struct {
	table   atomic.Pointer[spellingTable] // replaced by the holder of filling
	seed    uint64                        // of every table; constant
	maxBits int                           // constant

	filling sync.Mutex // held by the table's writer
	bits    int        // of the table; guarded by filling

	hits, misses, evicted atomic.Uint64 // evicted is of the tables before this one
}

// spellingTable is a table and the memory it lies in, which lasts as long as somebody
// has the spellingTable.
type spellingTable struct {
	*cuckoo.Table
	memory *slab.Region
}

// spelled is what was learnt of a spelling.
type spelled struct {
	key    cuckoo.Key
	handle Handle
}

func newSpellings(maxBits int) *spellings {
	if maxBits == 0 {
		maxBits = DefaultSpellingBits
	}
	maxBits = min(max(maxBits, MinSpellingBits), MaxSpellingBits)
	s := &spellings{seed: rand.Uint64(), maxBits: maxBits, bits: min(firstSpellingBits, maxBits)}
	s.table.Store(newSpellingTable(s.bits, s.seed))
	return s
}

func newSpellingTable(bits int, seed uint64) *spellingTable {
	config := cuckoo.Config{Bits: bits, Slots: 4, Seed: seed}
	words, err := cuckoo.Words(config)
	if err == nil {
		memory := slab.NewRegion(words)
		var table *cuckoo.Table
		if table, err = cuckoo.New(memory.Words, config); err == nil {
			return &spellingTable{table, memory}
		}
	}
	panic(fmt.Sprintf("receive: table of %d bits: %v", bits, err))
}

// fill remembers what was learnt. Requests wait for each other here: to learn the same
// again with the next request costs more than the batch of another.
func (s *spellings) fill(learnt []spelled) {
	if len(learnt) == 0 {
		return
	}
	s.filling.Lock()
	defer s.filling.Unlock()
	table := s.table.Load()
	if s.bits < s.maxBits && table.Len()+len(learnt) > 7<<s.bits/8 {
		table = s.grow(table)
	}
	for _, l := range learnt {
		table.Put(l.key, uint64(l.handle))
	}
}

// grow puts a table of twice the size in place of this one. For a million entries
// it takes the order of 100 ms, once; readers go on meanwhile.
func (s *spellings) grow(table *spellingTable) *spellingTable {
	s.bits++
	larger := newSpellingTable(s.bits, s.seed)
	for key, handle := range table.All() {
		larger.Put(key, handle)
	}
	s.evicted.Add(table.Stats().Evictions)
	s.table.Store(larger)
	return larger
}

// SpellingStats are the figures of the cache of spellings since the start.
type SpellingStats struct {
	Hits      uint64 `json:"hits"`   // points, or series of a request, whose bytes led to the id
	Misses    uint64 `json:"misses"` // which were taken apart and looked up in the directory
	Evictions uint64 `json:"evictions"`
	Entries   int    `json:"entries"`
	Slots     int    `json:"slots"`    // now
	MaxSlots  int    `json:"maxSlots"` // that it may grow to
	Bytes     int    `json:"bytes"`    // of the table now
}

func (s *spellings) stats() SpellingStats {
	table := s.table.Load()
	t := table.Stats()
	runtime.KeepAlive(table) // it may be replaced meanwhile
	return SpellingStats{
		Hits: s.hits.Load(), Misses: s.misses.Load(), Evictions: s.evicted.Load() + t.Evictions,
		Entries: t.Entries, Slots: t.Slots, MaxSlots: 1 << s.maxBits, Bytes: t.Bytes,
	}
}

// register registers the metrics of the cache.
func (s *spellings) register(r prometheus.Registerer) {
	counter := func(name, help string, labels prometheus.Labels, read func(SpellingStats) uint64) {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "carillon_spellings_" + name, Help: help, ConstLabels: labels,
		}, func() float64 { return float64(read(s.stats())) }))
	}
	gauge := func(name, help string, read func(SpellingStats) int) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "carillon_spellings_" + name, Help: help,
		}, func() float64 { return float64(read(s.stats())) }))
	}
	const lookups = "Look-ups of series by their bytes as sent, by outcome."
	counter("lookups_total", lookups, prometheus.Labels{"outcome": "hit"}, func(s SpellingStats) uint64 { return s.Hits })
	counter("lookups_total", lookups, prometheus.Labels{"outcome": "miss"}, func(s SpellingStats) uint64 { return s.Misses })
	counter("evictions_total", "Spellings that made room for others.", nil, func(s SpellingStats) uint64 { return s.Evictions })
	gauge("entries", "Spellings in the cache.", func(s SpellingStats) int { return s.Entries })
	gauge("slots", "Spellings that the cache has room for now; it doubles as it fills, up to its bound.", func(s SpellingStats) int { return s.Slots })
	gauge("bytes", "Bytes of the cache's table.", func(s SpellingStats) int { return s.Bytes })
}
