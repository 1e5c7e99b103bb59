package receive

import (
	"carillon/cuckoo"
	"carillon/receive/remotewrite"
)

// batchSize is how many series are looked up at a time: enough to overlap, few
// enough that the bytes they were hashed from are still in the nearest caches.
const batchSize = remotewrite.BatchSeries

// lookups looks spellings up by the batch: begin, spell each, find, learn what
// turns out about the unknown ones, end. Hashing all first and looking all up at
// once lets the cache misses overlap. One goroutine owns it.
type lookups struct {
	spellings *spellings
	table     *spellingTable // of this batch
	keys      [batchSize]cuckoo.Key
	handles   [batchSize]uint64
	found     [batchSize]bool
	learnt    []spelled // at most batchSize
}

// begin starts a batch.
func (l *lookups) begin(s *spellings) { l.spellings, l.table = s, s.table.Load() }

// spell sets the i-th spelling of the batch. A nil one is never known.
func (l *lookups) spell(i int, d dialect, spelling []byte) {
	if spelling == nil {
		l.keys[i] = cuckoo.Key{}
		return
	}
	l.keys[i] = l.table.Key(spelling)
	l.keys[i].Lo ^= uint64(d)
}

// find looks the first n spellings up.
func (l *lookups) find(n int) {
	l.table.GetBatch(l.keys[:n], l.handles[:n], l.found[:n])
}

// known is the handle of the i-th spelling, if the cache has it.
func (l *lookups) known(i int) (Handle, bool) { return Handle(l.handles[i]), l.found[i] }

// learn notes whose the i-th spelling is. A series that has no id yet is learnt
// when it comes again.
func (l *lookups) learn(i int, h Handle) {
	if !h.isFresh() && l.keys[i] != (cuckoo.Key{}) {
		l.learnt = append(l.learnt, spelled{l.keys[i], h})
	}
}

// end ends a batch of n, and remembers what was learnt.
func (l *lookups) end(n int) {
	hits := 0
	for _, found := range l.found[:n] {
		if found {
			hits++
		}
	}
	l.spellings.hits.Add(uint64(hits))
	l.spellings.misses.Add(uint64(n - hits))
	l.spellings.fill(l.learnt)
	l.learnt = l.learnt[:0]
}
