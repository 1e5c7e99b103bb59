// Package newest keeps in a cache what is newest: of each series the bucket that was
// completed last, and the entries of the location directory. Completed segments come in
// from the partitions' loops and edits from the location directory, and go out as items
// of a cache.Cache, which any memcached client can read, by UDP from the kernel. The
// server makes one Buckets and one Entries when it is asked for a cache.
//
// docs/newest.md says what keys and values look like.
package newest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"carillon/bucket"
	"carillon/cache"
	"carillon/quantize"
	"carillon/series"
)

// Catalogue says which series there are. It is safe for concurrent use.
type Catalogue interface {
	Key(id series.ID) (series.Key, bool)
	Kind(id series.ID) series.Kind
}

// Selector is a PromQL selector: all of its matchers accept a series that it selects.
type Selector []*labels.Matcher

// ParseSelector reads a selector. It must ask for something, as in Prometheus.
func ParseSelector(text string) (Selector, error) {
	matchers, err := parser.NewParser(parser.Options{}).ParseMetricSelector(text)
	if err != nil {
		return nil, fmt.Errorf("selector %q: %w", text, err)
	}
	for _, m := range matchers {
		if !m.Matches("") {
			return matchers, nil
		}
	}
	return nil, fmt.Errorf("selector %q: it must contain at least one matcher that does not accept an absent label", text)
}

func (s Selector) selects(key series.Key) bool {
	for _, m := range s {
		if !m.Matches(key.Get(m.Name)) {
			return false
		}
	}
	return true
}

// Config is what Buckets works with.
type Config struct {
	Cache      *cache.Cache
	Catalogue  Catalogue
	Select     []Selector    // series of which any selects one; none: all series
	Format     Format        // of the values
	Resolution time.Duration // of the finest tier, whose buckets come
	// Expire is for how long after its end a bucket is there, unless a newer one comes;
	// 0 for ever, else two segments at least, so that there is no gap between two buckets.
	Expire time.Duration
}

// ErrConfig is wrapped by the errors about a Config.
var ErrConfig = errors.New("newest buckets: bad configuration")

// Buckets publishes the newest bucket of each series. Completed may be called by any
// goroutine and Stats too; keys, key, value and write belong to Run's.
type Buckets struct {
	config  Config
	waiting *queue
	counts  counts

	keys  keys
	value []byte
}

type counts struct{ stored, ended, old, refused, series, keyBytes atomic.Uint64 }

// Stats is what became of completed buckets since the start.
type Stats struct {
	Stored   uint64 `json:"stored"`
	Lost     uint64 `json:"lost"`      // more waited than there was room for: the cache was too slow
	Old      uint64 `json:"old"`       // they would have expired at once
	Refused  uint64 `json:"refused"`   // the cache had no memory for them
	Ended    uint64 `json:"ended"`     // staleness markers, which take an item away
	Waiting  int    `json:"waiting"`   // buckets not yet looked at
	Series   uint64 `json:"series"`    // that are published
	KeyBytes uint64 `json:"key_bytes"` // their keys
}

// New makes a publisher. Nothing has to be closed.
func New(config Config) (*Buckets, error) {
	if config.Expire < 0 || config.Expire != 0 && config.Expire < 2*config.Resolution {
		return nil, fmt.Errorf("%w: buckets of %s that expire after %s: want at least two of them, or 0 for never", ErrConfig, config.Resolution, config.Expire)
	}
	b := &Buckets{config: config, waiting: newQueue(maxWaitingBytes)}
	b.keys.config = &b.config
	return b, nil
}

// Completed takes a copy of completed buckets of a partition, and never waits: what the
// cache is too slow for is counted as lost.
func (b *Buckets) Completed(partition int, completed *quantize.Batch) {
	b.waiting.put(partition, completed)
}

// Run stores what comes until ctx ends.
func (b *Buckets) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.waiting.filled:
		}
		for ctx.Err() == nil {
			next := b.waiting.take()
			if next == nil {
				break
			}
			b.publish(next.partition, &next.Batch)
			b.waiting.recycle(next)
		}
	}
}

// publish stores the buckets of a batch, those of a series in order.
func (b *Buckets) publish(partition int, completed *quantize.Batch) {
	var stored, ended, old, refused uint64
	for number, one := range completed.All() {
		key, kind, ok := b.keys.of(partition, number)
		if !ok {
			continue
		}
		if over(&one) {
			ended++
			b.config.Cache.Delete(cache.Removal{Key: key})
			continue
		}
		expiry, ok := b.expiry(&one)
		if !ok {
			old++
			continue
		}
		b.value = b.config.Format.append(b.value[:0], &one, kind, b.config.Resolution.Milliseconds())
		if outcome, _ := b.config.Cache.Store(cache.Write{Key: key, Value: b.value, Expiry: expiry}); outcome == cache.Stored {
			stored++
		} else {
			refused++
		}
	}
	b.counts.stored.Add(stored)
	b.counts.ended.Add(ended)
	b.counts.old.Add(old)
	b.counts.refused.Add(refused)
	b.counts.series.Store(b.keys.selected)
	b.counts.keyBytes.Store(b.keys.bytes)
}

// over tells that a series ended in the bucket: its last sample, if there is one, is older than the marker
// that says so.
func over(b *bucket.Bucket) bool {
	return b.Count == 0 || b.StaleTime != 0 && b.StaleTime >= b.LastTime
}

// expiry is the Unix second at which the bucket expires, 0 for never; false if it has.
func (b *Buckets) expiry(one *bucket.Bucket) (second uint32, ok bool) {
	if b.config.Expire == 0 {
		return 0, true
	}
	resolution := b.config.Resolution.Milliseconds()
	at := (one.Start(resolution) + resolution + b.config.Expire.Milliseconds() + 999) / 1000
	return uint32(at), at > int64(b.config.Cache.Now())
}

// Stats may be called at any time.
func (b *Buckets) Stats() Stats {
	waiting, lost := b.waiting.state()
	return Stats{
		Stored: b.counts.stored.Load(), Lost: lost, Old: b.counts.old.Load(), Refused: b.counts.refused.Load(),
		Ended: b.counts.ended.Load(), Waiting: waiting, Series: b.counts.series.Load(), KeyBytes: b.counts.keyBytes.Load(),
	}
}
