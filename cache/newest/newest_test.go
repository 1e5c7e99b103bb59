package newest

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"carillon/bucket"
	"carillon/cache"
	"carillon/quantize"
)

// fixture is a publisher whose batches are stored at once.
type fixture struct {
	*Buckets
	t     *testing.T
	cache *cache.Cache
}

func newFixture(t *testing.T, change func(*Config)) *fixture {
	t.Helper()
	config := Config{
		Cache:      newCache(t, 4<<20),
		Catalogue:  catalogue{keyOf("__name__", "a.b"), keyOf("__name__", "up", "host", "web1"), keyOf("__name__", "events")},
		Resolution: 10 * time.Second, Expire: time.Minute,
	}
	change(&config)
	b, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{b, t, config.Cache}
}

func (f *fixture) complete(number uint32, b bucket.Bucket) {
	f.Completed(0, &quantize.Batch{Wholes: []quantize.Whole{{Series: number, Bucket: b}}})
	f.drain()
}

func (f *fixture) drain() {
	for next := f.waiting.take(); next != nil; next = f.waiting.take() {
		f.publish(next.partition, &next.Batch)
		f.waiting.recycle(next)
	}
}

// has is the value under a key, "" if there is none.
func (f *fixture) has(key string) string {
	section := f.cache.Read()
	defer section.Done()
	item, ok := section.Get([]byte(key))
	if !ok {
		return ""
	}
	return string(item.AppendValue(nil))
}

func (f *fixture) want(key, value string) {
	f.t.Helper()
	if got := f.has(key); got != value {
		f.t.Errorf("%s is %q, want %q", key, got, value)
	}
}

func TestNewestWins(t *testing.T) {
	f := newFixture(t, func(*Config) {})
	f.Completed(0, &quantize.Batch{Numbers: []uint32{0, 1, 0, 2}, Times: []int64{start, start + 1, start + 10_000, start}, Values: []float64{1, 2, 3, 5}})
	f.drain()
	f.want("a.b", "1700000010 3 1 3 3 3 0")
	f.want(`up{host="web1"}`, "1700000000.001 2 1 2 2 2 0")
	f.want("events", "1700000000 5 1 0.5 5 5 0")
	f.complete(0, several(start+20_000, 3, 7))
	f.want("a.b", "1700000022 9 3 8 7 9 0.816496580927726")
	if s := f.Stats(); s.Stored != 5 || s.Series != 3 || s.Waiting != 0 || s.Lost+s.Old+s.Refused+s.Ended != 0 || s.KeyBytes < chunkBytes {
		t.Errorf("stats: %+v", s)
	}
}

func TestUnknownSeriesIsAskedForAgain(t *testing.T) {
	f := newFixture(t, func(*Config) {})
	f.complete(3, bucket.Of(start, 1)) // the directory's readers do not have it yet
	f.config.Catalogue = append(f.config.Catalogue.(catalogue), keyOf("__name__", "late"))
	f.complete(3, bucket.Of(start, 2))
	f.want("late", "1700000000 2 1 2 2 2 0")
}

func TestSelectors(t *testing.T) {
	var selectors []Selector
	for _, text := range []string{`{__name__=~"a\\..*"}`, `{host="web1"}`} {
		s, err := ParseSelector(text)
		if err != nil {
			t.Fatal(err)
		}
		selectors = append(selectors, s)
	}
	f := newFixture(t, func(c *Config) { c.Select = selectors })
	for number := range uint32(3) {
		f.complete(number, bucket.Of(start, 1))
		f.complete(number, bucket.Of(start+10_000, 2))
	}
	f.want("a.b", "1700000010 2 1 2 2 2 0")
	f.want(`up{host="web1"}`, "1700000010 2 1 2 2 2 0")
	f.want("events", "")
	if s := f.Stats(); s.Stored != 4 || s.Series != 2 {
		t.Errorf("stats: %+v", s)
	}
	for _, bad := range []string{"", "{", `{a=""}`, `{a=~".*"}`, "sum(a)"} {
		if _, err := ParseSelector(bad); err == nil || !strings.Contains(err.Error(), "selector") {
			t.Errorf("selector %q: %v", bad, err)
		}
	}
}

// TestEnds: an item goes at a staleness marker, or when it has not been replaced for Expire
// after the end of its bucket.
func TestEnds(t *testing.T) {
	f := newFixture(t, func(*Config) {})
	f.complete(0, bucket.Of(start, 1))
	f.complete(0, bucket.Of(start+10_000, math.Float64frombits(bucket.StaleNaN)))
	f.want("a.b", "")
	ended := bucket.Of(start+20_000, 4)
	ended.StaleTime = start + 25_000
	f.complete(0, ended)
	f.want("a.b", "")
	resumed := bucket.Of(start+39_000, 5)
	resumed.StaleTime = start + 31_000
	f.complete(0, resumed)
	f.want("a.b", "1700000039 5 1 5 5 5 0")

	f.cache.Tick(start/1000 + 40 + 59)
	f.want("a.b", "1700000039 5 1 5 5 5 0")
	f.cache.Tick(start/1000 + 40 + 60)
	f.want("a.b", "")
	f.complete(0, bucket.Of(start+39_500, 6)) // as when a journal is replayed
	f.want("a.b", "")
	if s := f.Stats(); s.Stored != 2 || s.Ended != 2 || s.Old != 1 {
		t.Errorf("stats: %+v", s)
	}
}

func TestNoExpiry(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Expire = 0 })
	f.complete(0, bucket.Of(start-1e9, 1))
	f.cache.Tick(start/1000 + 1e6)
	f.want("a.b", "1699000000 1 1 1 1 1 0")
}

func TestBadConfig(t *testing.T) {
	for _, expire := range []time.Duration{-1, time.Second, 19 * time.Second} {
		if _, err := New(Config{Resolution: 10 * time.Second, Expire: expire}); !errors.Is(err, ErrConfig) {
			t.Errorf("expire %s: %v", expire, err)
		}
	}
}

// TestSlowCacheLoses fills the queue while nobody takes: the writer goes on, and what was
// lost is counted.
func TestSlowCacheLoses(t *testing.T) {
	f := newFixture(t, func(*Config) {})
	f.waiting = newQueue(1000)
	for i := range int64(100) {
		f.Completed(0, &quantize.Batch{Numbers: []uint32{0}, Times: []int64{start + 1000*i}, Values: []float64{float64(i)}})
	}
	if s := f.Stats(); s.Waiting != 50 || s.Lost != 50 {
		t.Errorf("stats: %+v", s)
	}
	f.drain()
	f.want("a.b", "1700000049 49 1 49 49 49 0")
	f.complete(0, several(start, 2, 7)) // there is room again
	if s := f.Stats(); s.Waiting != 0 || s.Lost != 50 || s.Stored != 51 {
		t.Errorf("stats: %+v", s)
	}
}

// TestFullCacheRefuses: where nothing is evicted and there is no memory for a new value, the
// old one must not stay either.
func TestFullCacheRefuses(t *testing.T) {
	const fleet = 40_000
	f := newFixture(t, func(c *Config) {
		c.Cache = newCacheWith(t, 4<<20, cache.Config{Keep: true})
		c.Catalogue = labelled(fleet)
	})
	for _, step := range fleetStep(fleet, 1, start) {
		f.Completed(0, &step)
	}
	f.drain()
	if s := f.Stats(); s.Stored+s.Refused != fleet || s.Stored == 0 || s.Refused == 0 {
		t.Errorf("stats: %+v", s)
	}
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, func(*Config) {})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			f.Run(ctx)
		}()
		for i := range int64(3) {
			f.Completed(0, &quantize.Batch{Numbers: []uint32{0}, Times: []int64{start + i}, Values: []float64{float64(i)}})
			synctest.Wait()
			if s := f.Stats(); s.Stored != uint64(i+1) || s.Waiting != 0 {
				t.Errorf("stats after %d: %+v", i, s)
			}
		}
		cancel()
		<-ended
		f.want("a.b", "1700000000.002 2 1 2 2 2 0")
	})
}

// TestPublishingAllocatesNothing keeps half a million buckets a step cheap.
func TestPublishingAllocatesNothing(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Catalogue = labelled(1000); c.Expire = 0 })
	steps := fleetStep(1000, 1, start)
	f.publish(0, &steps[0])
	if n := testing.AllocsPerRun(10, func() {
		f.Completed(0, &steps[0])
		next := f.waiting.take()
		f.publish(0, &next.Batch)
		f.waiting.recycle(next)
	}); n > 5 { // of a thousand buckets: the queue's slice, and what the cache's recycler needs now and then
		t.Errorf("a batch of %d buckets makes %g allocations", steps[0].Len(), n)
	}
}
