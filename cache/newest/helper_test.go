package newest

import (
	"runtime"
	"testing"

	"carillon/bucket"
	"carillon/cache"
	"carillon/series"
	"carillon/slab"
)

// start is a time in milliseconds at which a segment begins, and the cache's clock.
const start = 1_700_000_000_000

// catalogue is the series of partition 0.
type catalogue []series.Key

func (c catalogue) Key(id series.ID) (series.Key, bool) {
	if int(id.Number()) >= len(c) {
		return "", false
	}
	return c[id.Number()], true
}

// Kind makes an event of a series whose name begins with one.
func (c catalogue) Kind(id series.ID) series.Kind {
	if key, ok := c.Key(id); ok && len(key.Get(series.MetricName)) > 5 && key.Get(series.MetricName)[:5] == "event" {
		return series.Event
	}
	return series.Gauge
}

func keyOf(labels ...string) series.Key {
	var set []series.Label
	for i := 0; i < len(labels); i += 2 {
		set = append(set, series.Label{Name: labels[i], Value: labels[i+1]})
	}
	key, err := series.NewKey(set)
	if err != nil {
		panic(err)
	}
	return key
}

func newCache(t testing.TB, bytes int) *cache.Cache { return newCacheWith(t, bytes, cache.Config{}) }

func newCacheWith(t testing.TB, bytes int, config cache.Config) *cache.Cache {
	t.Helper()
	region := slab.NewRegion(bytes / 8)
	c, err := cache.New(region.Words, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		runtime.KeepAlive(region)
	})
	c.Tick(start / 1000)
	return c
}

// several is a bucket of so many samples, a second apart.
func several(at int64, samples int, value float64) bucket.Bucket {
	var b bucket.Bucket
	for i := range samples {
		one := bucket.Of(at+1000*int64(i), value+float64(i))
		b.Merge(series.Gauge, &one)
	}
	return b
}
