package cache

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"
)

func testCache(t testing.TB, bytes int, config Config) *Cache {
	t.Helper()
	c, err := New(make([]uint64, bytes/8), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	c.Tick(1000)
	return c
}

func numbered(n int) []byte { return binary.BigEndian.AppendUint32([]byte("k"), uint32(n)) }

// TestNoKeyIsMissed has readers look for keys that stay, while others come, go, and push
// entries from bucket to bucket, and while pages split.
func TestNoKeyIsMissed(t *testing.T) {
	const stay, come = 2000, 60_000
	c := testCache(t, 16<<20, Config{})
	for i := range stay {
		c.Store(Write{Key: numbered(i), Value: []byte("stays")})
	}
	var stop atomic.Bool
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for i := 0; !stop.Load(); i++ {
				if _, ok := c.Get(nil, numbered(i%stay)); !ok {
					t.Errorf("key %d is missed", i%stay)
					return
				}
			}
		})
	}
	pages := c.slabs.pool.index
	for i := range come {
		c.Store(Write{Key: numbered(stay + i)})
		if i%3 == 0 {
			c.Delete(Removal{Key: numbered(stay + i/2)})
		}
	}
	stop.Store(true)
	readers.Wait()
	if now := c.slabs.pool.index; now < 2*pages {
		t.Errorf("%d index pages grew to %d only", pages, now)
	}
	c.Quiesce()
	if err := c.Check(); err != nil {
		t.Error(err)
	}
	if s := c.Stats(); s.Evicted > 0 {
		t.Errorf("%d were evicted", s.Evicted)
	}
}

// TestPageFillsBeforeItSplits: a page takes 98 % of its slots.
func TestPageFillsBeforeItSplits(t *testing.T) {
	c := testCache(t, 4<<20, Config{})
	pages := c.slabs.pool.index
	for n := 0; ; n++ {
		c.Store(Write{Key: numbered(n)})
		if c.slabs.pool.index > pages {
			t.Logf("split at %d of %d", n, pages*pageSlots)
			if n < pages*pageSlots*98/100 {
				t.Errorf("split at %d of %d entries", n, pages*pageSlots)
			}
			return
		}
	}
}

func TestSizes(t *testing.T) {
	for _, growth := range []float64{1.1, 1.125, 1.25, 2, 4} {
		all, err := sizes(growth)
		if err != nil {
			t.Errorf("growth %v: %v", growth, err)
			continue
		}
		for i, size := range all {
			if size%8 != 0 || i > 0 && size <= all[i-1] || PageBytes/size*size+8*(PageBytes/size) <= PageBytes {
				t.Errorf("growth %v: sizes %v, %d does not fit a page", growth, all, size)
				break
			}
		}
		if all[0] < minChunk || all[len(all)-1] != maxChunk {
			t.Errorf("growth %v: sizes %v", growth, all)
		}
	}
	for _, growth := range []float64{0, 1, 1.01, 5} {
		if all, err := sizes(growth); err == nil {
			t.Errorf("growth %v makes %d sizes", growth, len(all))
		}
	}
}

// TestReadableChunks: the kernel may take a bound for granted.
func TestReadableChunks(t *testing.T) {
	all, err := sizes(DefaultGrowth)
	if err != nil {
		t.Fatal(err)
	}
	for page := range uint32(64) {
		for _, size := range all {
			for i := range uint64(chunksIn(page, size)) {
				at := (uint64(page)*PageBytes + i*size) % valueBytes
				if size <= readableBytes && at > valueBytes-readableBytes {
					t.Fatalf("chunk %d of %d bytes of page %d begins at %d", i, size, page, at)
				}
			}
		}
	}
}
