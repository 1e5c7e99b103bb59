// Package querytest is a store in memory for tests. Samples go in one by one or as
// buckets, and are merged into tiers; it comes out as query's Catalogue and
// Buckets. Tests of query use it, and of whatever serves queries.
package querytest

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/prometheus/prometheus/model/labels"

	"carillon/bucket"
	"carillon/series"
	"carillon/store"
)

const partitions = 4

// Store keeps buckets for ever, unless they are dropped. Any goroutine may use it.
type Store struct {
	mu       sync.Mutex
	tiers    []store.Tier
	members  map[series.ID]*member
	ids      map[series.Key]series.ID
	metadata []series.Metadata
	reads    []Read
	failure  error
}

type member struct {
	key   series.Key
	kind  series.Kind
	tiers [][]bucket.Bucket // one slice a tier, sorted by time, one bucket a segment
}

// Read is one call of Store.Read.
type Read struct {
	Tier     int
	From, To int64
}

// New makes an empty store with tiers, finest first.
func New(tiers ...store.Tier) *Store {
	return &Store{tiers: tiers, members: make(map[series.ID]*member), ids: make(map[series.Key]series.ID)}
}

// Add merges one sample, or staleness marker, into all tiers.
func (s *Store) Add(key series.Key, kind series.Kind, time int64, value float64) series.ID {
	return s.AddBucket(key, kind, bucket.Of(time, value))
}

// AddBucket merges a bucket, which lies in one segment of each tier, into all tiers.
func (s *Store) AddBucket(key series.Key, kind series.Kind, b bucket.Bucket) series.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.define(key, kind)
	m := s.members[id]
	for tier, t := range s.tiers {
		resolution := t.Resolution.Milliseconds()
		buckets := m.tiers[tier]
		at, found := search(buckets, b.Start(resolution), resolution)
		if found {
			buckets[at].Merge(kind, &b)
		} else {
			m.tiers[tier] = slices.Insert(buckets, at, b)
		}
	}
	return id
}

// search finds the bucket of the segment with a start, or where it would stand.
func search(buckets []bucket.Bucket, start, resolution int64) (int, bool) {
	return slices.BinarySearchFunc(buckets, start, func(b bucket.Bucket, start int64) int {
		return cmp.Compare(b.Start(resolution), start)
	})
}

func (s *Store) define(key series.Key, kind series.Kind) series.ID {
	if id, ok := s.ids[key]; ok {
		return id
	}
	partition := key.Partition(partitions)
	var number uint32
	for id := range s.members {
		if id.Partition() == partition {
			number++
		}
	}
	m := &member{key: key, kind: kind, tiers: make([][]bucket.Bucket, len(s.tiers))}
	id := series.NewID(partition, number)
	s.ids[key], s.members[id] = id, m
	return id
}

// Drop forgets the buckets of a tier that start before a time (milliseconds).
func (s *Store) Drop(tier int, before int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.members {
		m.tiers[tier] = slices.DeleteFunc(m.tiers[tier], func(b bucket.Bucket) bool {
			return b.Start(s.tiers[tier].Resolution.Milliseconds()) < before
		})
	}
}

// Describe adds metadata.
func (s *Store) Describe(m series.Metadata) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.metadata = append(s.metadata, m)
}

// Fail makes every later Read return an error, or with nil work again.
func (s *Store) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure = err
}

// Reads is the calls of Read so far.
func (s *Store) Reads() []Read {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.reads)
}

// Tiers is as query.Buckets has it.
func (s *Store) Tiers() []store.Tier { return s.tiers }

// Settle returns at once: what is added can be read.
func (s *Store) Settle(context.Context) (string, error) { return "", nil }

// Read is as query.Buckets has it.
func (s *Store) Read(ctx context.Context, ids []series.ID, tier int, from, to int64, visit func(series.ID, []bucket.Bucket) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads = append(s.reads, Read{Tier: tier, From: from, To: to})
	if s.failure != nil {
		return s.failure
	}
	resolution := s.tiers[tier].Resolution.Milliseconds()
	for _, id := range ids {
		buckets := s.members[id].tiers[tier]
		first, _ := search(buckets, bucket.Floor(from, resolution), resolution)
		end, _ := search(buckets, to+1, resolution)
		if first >= end {
			continue
		}
		if err := visit(id, slices.Clone(buckets[first:end])); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// Sums is as query.Buckets has it, without any use of the liberty.
func (s *Store) Sums(ctx context.Context, ids []series.ID, tier int, from, to int64, visit func(series.ID, []bucket.Bucket) error) error {
	return s.Read(ctx, ids, tier, from, to, visit)
}

// Scan is as query.Buckets has it. A piece is one bucket.
func (s *Store) Scan(ctx context.Context, ids []series.ID, tier int, from, to int64, samples func(id series.ID, times []int64, values []float64) error,
	visit func(series.ID, []bucket.Bucket) error) error {
	return s.Read(ctx, ids, tier, from, to, func(id series.ID, buckets []bucket.Bucket) error {
		if times, values, ok := asSamples(buckets); ok && tier == 0 && samples != nil {
			return samples(id, times, values)
		}
		for piece := range slices.Chunk(buckets, 1) {
			if err := visit(id, piece); err != nil {
				return err
			}
		}
		return nil
	})
}

func asSamples(buckets []bucket.Bucket) (times []int64, values []float64, ok bool) {
	for _, b := range buckets {
		if b != bucket.Of(b.LastTime, b.Last) {
			return nil, nil, false
		}
		times, values = append(times, b.LastTime), append(values, b.Last)
	}
	return times, values, true
}

// Select is as query.Catalogue has it.
func (s *Store) Select(matchers ...*labels.Matcher) ([]series.ID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.selected(matchers), nil
}

func (s *Store) selected(matchers []*labels.Matcher) []series.ID {
	var ids []series.ID
next:
	for id, m := range s.members {
		for _, matcher := range matchers {
			if !matcher.Matches(m.key.Get(matcher.Name)) {
				continue next
			}
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// LabelNames is as query.Catalogue has it.
func (s *Store) LabelNames(matchers ...*labels.Matcher) ([]string, error) {
	return s.collect(matchers, func(l series.Label) (string, bool) { return l.Name, true })
}

// LabelValues is as query.Catalogue has it.
func (s *Store) LabelValues(name string, matchers ...*labels.Matcher) ([]string, error) {
	return s.collect(matchers, func(l series.Label) (string, bool) { return l.Value, l.Name == name })
}

func (s *Store) collect(matchers []*labels.Matcher, pick func(series.Label) (string, bool)) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := make(map[string]struct{})
	for _, id := range s.selected(matchers) {
		pairs, err := s.members[id].key.Labels()
		if err != nil {
			return nil, err
		}
		for _, l := range pairs {
			if text, ok := pick(l); ok {
				found[text] = struct{}{}
			}
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// Key is as query.Catalogue has it.
func (s *Store) Key(id series.ID) (series.Key, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, ok := s.members[id]
	if !ok {
		return "", false
	}
	return m.key, true
}

// Kind is as query.Catalogue has it.
func (s *Store) Kind(id series.ID) series.Kind {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m, ok := s.members[id]; ok {
		return m.kind
	}
	return series.Gauge
}

// Metadata is as query.Catalogue has it.
func (s *Store) Metadata() []series.Metadata {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.metadata)
}
