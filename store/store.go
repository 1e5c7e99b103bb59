// Package store keeps one partition's buckets: those of the finest tier come in
// as the quantizer completes them, and go out merged at any tier, whether they
// are still in memory or in the store's immutable page files. The partition's
// loop owns a Store and calls it; queries read through the Views it hands out. A
// worker behind it writes the files, makes the coarser tiers from the finest one,
// merges small files into larger ones and drops what is out of retention.
package store

import (
	"errors"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"carillon/bucket"
	"carillon/series"
)

// DefaultRollupDelay is how long the coarser tiers wait for late data.
const DefaultRollupDelay = time.Hour

// GCPercent is how much garbage the heap of a program with stores should hold, in per cent of what is in use. The road of a known
// point makes none, and what there is most of lies outside the heap: so to collect more often than Go does by itself costs little and
// saves memory. At 25 a new series took 4 % more CPU, for 20 MB less at half a million of them.
const GCPercent = 60

// Config says where a store lives and what it needs from its owner.
type Config struct {
	Dir   string // the partition's folder; made if it is missing
	Tiers []Tier // finest first

	// Kind tells how the buckets of a series merge. Any goroutine calls it.
	Kind func(number uint32) series.Kind
	// SyncDirectory makes the series numbers given out so far durable. The worker
	// calls it before it commits files that refer to them.
	SyncDirectory func() error

	// Keep is how long the tiers keep a series, where a retention rule makes that
	// shorter; nil, or 0 for a tier, leaves it at the tier's own retention. It must
	// not change while the store is open. Any goroutine calls it.
	Keep func(number uint32) []time.Duration

	RollupDelay time.Duration // 0 means DefaultRollupDelay
	// Merging bounds the memory and the cores that merging files takes: of the stores
	// that share the channel as many do it at once as it holds. Nil sets no bound.
	Merging chan struct{}
	// Room is asked before page files are written; nil sets no bound.
	Room   Room
	FS     FS // nil means OS
	Logger *slog.Logger
}

// Store is one partition's buckets.
//
// Two goroutines share the work. The owner, who calls Add, Seal, View and the
// Head methods, is the only one to touch the open head. Seal freezes that head
// and hands it to the worker, who turns it into files, and is the only one to
// make versions, the sets of live files. What the two pass each other stands
// behind mu: the current version, and the frozen head that this version does not
// contain yet. They change in one step when a seal is committed, so a View finds
// each bucket in exactly one of files, frozen head and open head.
type Store struct {
	config Config
	head   *head // the owner's
	worker *worker

	seals     chan sealing  // at most one waits
	ticks     chan int64    // of Maintain; at most one waits
	deletes   chan deleting // at most one waits
	imports   chan importing
	committed chan struct{} // of Committed
	stopped   chan struct{} // closed when the worker has returned

	written written

	workspaces sync.Pool // of *workspace

	mu      sync.Mutex
	current *version
	sealing *head
	err     error // why the worker stopped
	closing bool
	work    Work

	dropping []int64 // by tier: what DropBefore asked for
	dropped  []Dropped
}

// sealing is what Seal asks of the worker.
type sealing struct {
	now     int64
	through uint64
	head    *head
}

var errSealing = errors.New("a seal is still under way")

// Add takes a finest-tier bucket: a completed segment, or a late revision of one.
// Buckets of a segment merge in the order they are added, which is the log's.
// Owner only.
func (s *Store) Add(number uint32, b *bucket.Bucket) { s.head.add(number, b) }

// AddSamples takes many such buckets that are one sample, or one staleness marker,
// each, as bucket.Of makes them: the i-th is of series numbers[i]. Owner only.
func (s *Store) AddSamples(numbers []uint32, times []int64, values []float64) {
	s.head.addSamples(numbers, times, values)
}

// HeadBuckets is how many buckets were added since the last Seal. Owner only.
func (s *Store) HeadBuckets() int { return s.head.count }

// HeadBytes estimates the memory of those, and of a head that is being sealed.
// Owner only.
func (s *Store) HeadBytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.head.bytes() + s.sealing.bytes()
}

// Seal has everything added so far, and the open segments, written to files, and
// returns at once; Committed tells when that is done. It stands at a journal
// position: all of the journal up to through, and nothing behind it, has been
// added or is in the open segments. The owner must start those segments afresh:
// what comes later for them is added, and merges, as buckets of its own.
//
// The time now, in milliseconds, decides what is out of retention and how far the
// coarser tiers go. Seal fails after the store has failed (Err), or while Sealing;
// then nothing has happened. Owner only.
func (s *Store) Seal(now int64, through uint64, open iter.Seq2[uint32, bucket.Bucket]) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	if s.sealing != nil {
		return errSealing
	}
	for number, b := range open {
		s.head.add(number, &b)
	}
	s.sealing, s.head = s.head, newHead()
	s.seals <- sealing{now: now, through: through, head: s.sealing}
	return nil
}

// Sealing tells whether a seal is under way. It stays true after one has failed.
// Any goroutine.
func (s *Store) Sealing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sealing != nil
}

// Committed receives after a seal was committed, and after the store has failed;
// Sealed and Err tell which. Signals that nobody took meanwhile are one.
func (s *Store) Committed() <-chan struct{} { return s.committed }

// Sealed is the journal position through which everything is in durable files:
// the journal may be trimmed to it, and a start replays from behind it. Any
// goroutine.
func (s *Store) Sealed() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current.sealed
}

// Err is why the store takes no further seal, nil as long as all is well. What is
// sealed and what is in the head can still be read; the way out is to find the
// cause and start anew. Any goroutine.
func (s *Store) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Maintain pokes the worker to do, unless it is busy, what time alone asks for:
// roll up, drop what is out of retention, merge files. It never waits. The time
// is in milliseconds. Any goroutine.
func (s *Store) Maintain(now int64) {
	select {
	case s.ticks <- now:
	default: // one is waiting already
	}
}

// TierStats sums up the files of one tier.
type TierStats struct {
	Bytes   int64
	Files   int
	Buckets uint64
	Oldest  int64 // start of the oldest segment, milliseconds; 0 without files
}

// Stats is one TierStats a tier, finest first. Any goroutine.
func (s *Store) Stats() []TierStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := make([]TierStats, len(s.current.files))
	for i, files := range s.current.files {
		for n, f := range files {
			if n == 0 || f.first < stats[i].Oldest {
				stats[i].Oldest = f.first
			}
			stats[i].Files++
			stats[i].Bytes += f.size
			stats[i].Buckets += f.buckets
		}
	}
	return stats
}

// Written is how many bytes of page files were written, and for what.
type Written struct {
	Sealed int64 `json:"sealed"` // from memory to the finest tier
	Rolled int64 `json:"rolled"` // from the finest tier to coarser ones
	Merged int64 `json:"merged"` // from files to larger ones
}

// Add sums up what several stores have written.
func (w *Written) Add(more Written) {
	w.Sealed += more.Sealed
	w.Rolled += more.Rolled
	w.Merged += more.Merged
}

// Amplification is how many bytes were written for each that was sealed; 0 before the
// first.
func (w Written) Amplification() float64 {
	if w.Sealed == 0 {
		return 0
	}
	return float64(w.Sealed+w.Rolled+w.Merged) / float64(w.Sealed)
}

type written struct{ sealed, rolled, merged atomic.Int64 }

// Written is what was written since Open. Any goroutine.
func (s *Store) Written() Written {
	return Written{Sealed: s.written.sealed.Load(), Rolled: s.written.rolled.Load(), Merged: s.written.merged.Load()}
}

// Bytes is the size of all live files. Any goroutine.
func (s *Store) Bytes() int64 {
	var bytes int64
	for _, t := range s.Stats() {
		bytes += t.Bytes
	}
	return bytes
}

// Close lets the worker finish a seal that is under way and waits for it. What is
// in the head is not written: the journal still has it. Views made before may be
// used and closed afterwards. The error is Err.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	close(s.seals)
	<-s.stopped
	s.head.release()
	s.sealing.release()
	s.release(s.current)
	return s.err
}

// release gives a version back. That an old file could not be removed hurts
// nobody: the next Open tries again.
func (s *Store) release(v *version) {
	if err := v.release(); err != nil {
		s.config.Logger.Warn("letting go of page files that are no longer needed", "dir", s.config.Dir, "error", err)
	}
}

// resolution is the length of a tier's segments in milliseconds.
func (s *Store) resolution(tier int) int64 { return s.config.Tiers[tier].Resolution.Milliseconds() }
