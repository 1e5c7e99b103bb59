// Package importer takes in history that other systems have kept. It comes in either
// from a Catalogue, which is read a series at a time (istatd's and whisper's files,
// Prometheus's blocks), or from a Stream, which is read from its start (OpenMetrics text,
// remote-write dumps); it goes out as buckets to the stores of an idle data directory, with
// the position that this reaches, so that an interrupted import goes on. Package server
// opens the directory for it, and `carillon import` the source.
package importer

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/zeebo/xxh3"

	"carillon/bucket"
	"carillon/series"
	"carillon/store"
)

// futureTolerance is how far ahead of the clock a sample may be, as for a server.
const futureTolerance = time.Minute

// Target is an open data directory into which nothing else comes.
type Target struct {
	Stores []*store.Store // by partition
	// Lookup finds the number of a series.
	Lookup func(series.Key) (series.ID, bool)
	// KindOf is the kind that a new series of a metric has.
	KindOf func(metric string) series.Kind
	// Define returns when the series have numbers that every later start gives them, too,
	// and the kinds that the metadata say.
	Define func(context.Context, []series.Definition, []series.Metadata) error
}

// Config is what an import needs.
type Config struct {
	Target Target
	Tiers  []store.Tier // with the retentions that the server will have
	Now    time.Time
	Ledger *Ledger
	// Progress is told how far the import is, by one goroutine at a time.
	Progress func(stage string, done, total uint64)
}

// Importer imports one source after the other.
type Importer struct {
	config Config
	now    int64   // milliseconds
	since  []int64 // by tier: what is older is not for it

	commitBuckets uint64 // as the constant, but in tests
	batchSamples  int

	mu     sync.Mutex
	counts Counts
	seen   []numbers // by partition; guarded by mu, as counts are
}

// New makes an importer.
func New(config Config) *Importer {
	im := &Importer{
		config: config, now: config.Now.UnixMilli(), commitBuckets: commitBuckets, batchSamples: batchSamples,
		seen: make([]numbers, len(config.Target.Stores)),
	}
	for _, t := range config.Tiers {
		im.since = append(im.since, bucket.Floor(im.now-t.Retention.Milliseconds(), im.beat()))
	}
	return im
}

// beat is the coarsest tier's resolution in milliseconds.
func (im *Importer) beat() int64 {
	return im.config.Tiers[len(im.config.Tiers)-1].Resolution.Milliseconds()
}

// Counts is what was taken so far.
func (im *Importer) Counts() Counts {
	im.mu.Lock()
	defer im.mu.Unlock()
	return im.counts
}

// taken counts what a partition's store has committed.
func (im *Importer) taken(partition int, series []uint32, more Counts) {
	im.mu.Lock()
	defer im.mu.Unlock()
	for _, number := range series {
		if im.seen[partition].add(number) {
			im.counts.Series++
		}
	}
	im.counts.Buckets += more.Buckets
	im.counts.Samples += more.Samples
}

// admits tells whether a tier keeps what begins at a time, and counts it if not.
func (im *Importer) admits(time int64) bool {
	switch {
	case time < im.since[len(im.since)-1]:
		im.config.Ledger.Refuse(TooOld, 1, formatTime(time), "")
	case time > im.now+futureTolerance.Milliseconds():
		im.config.Ledger.Refuse(Future, 1, formatTime(time), "")
	default:
		return true
	}
	return false
}

// put imports buckets into one partition.
func (im *Importer) put(partition int, source store.Source, buckets iter.Seq2[uint32, []bucket.Bucket], through func() (store.Position, error)) error {
	err := im.config.Target.Stores[partition].Import(store.Import{
		Source: source, Now: im.now, Since: im.since, Buckets: buckets, Through: through,
	})
	if err != nil {
		return fmt.Errorf("partition %d: %w", partition, err)
	}
	return nil
}

// reach notes a position without any buckets.
func (im *Importer) reach(partition int, source store.Source, position store.Position) error {
	nothing := func(func(uint32, []bucket.Bucket) bool) {}
	return im.put(partition, source, nothing, func() (store.Position, error) { return position, nil })
}

// sourceOf is the name under which the stores remember how far a source has come.
func sourceOf(name string) store.Source { return xxh3.HashString128(name).Bytes() }

// numbers is a set of series numbers.
type numbers []uint64

// add tells whether the number is new.
func (n *numbers) add(number uint32) bool {
	word, bit := int(number/64), uint64(1)<<(number%64)
	for len(*n) <= word {
		*n = append(*n, make([]uint64, word+1-len(*n)+len(*n)/2)...)
	}
	is := (*n)[word]&bit != 0
	(*n)[word] |= bit
	return !is
}

func formatTime(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }
