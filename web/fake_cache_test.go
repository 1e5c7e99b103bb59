package web

import (
	"net/http"

	"carillon/cache"
	"carillon/cache/newest"
)

// fakeCacheAnswer is what GET /api/v1/cache answers.
type fakeCacheAnswer struct {
	TCP       string             `json:"tcp,omitempty"`
	UDP       string             `json:"udp,omitempty"`
	Kernel    map[string]any     `json:"kernel"`
	Cache     cache.Stats        `json:"cache"`
	Commands  map[string]uint64  `json:"commands"`
	Hot       []map[string]any   `json:"hot"`
	Latency   map[string]any     `json:"latency"`
	Newest    newest.Stats       `json:"newest"`
	Directory *newest.EntryStats `json:"directory"`
}

// fakeCache is a cache at work, of which the kernel answers most; asked is how often it was asked.
func fakeCache(asked int) fakeCacheAnswer {
	reads := uint64(asked)
	class := func(number, chunk, pages int, hits uint64, used float64) cache.ClassStats {
		chunks := pages * cache.PageBytes / chunk
		return cache.ClassStats{
			Class: number, Chunk: chunk, Pages: pages, Chunks: chunks, Free: chunks / 50, Hits: hits, ItemBytes: int(used * float64(pages*cache.PageBytes)),
			Events: cache.Events{Stored: hits / 3, Evicted: hits / 900, Expired: hits / 800},
		}
	}
	a := fakeCacheAnswer{
		TCP: "10.0.3.1:11211", UDP: "10.0.3.1:11211",
		Kernel: map[string]any{
			"interface": "eth0", "mode": "native", "hits": 812_000_400 + 9100*reads, "misses": 4_100_220 + 310*reads,
			"passed": map[string]uint64{"pass_source": 17, "pass_command": 1_204_112, "pass_large": 40_310, "pass_fragment": 0, "pass_busy": 211},
		},
		Cache: cache.Stats{
			Items: 512_404, Hits: 18_204_882 + 2400*reads, Misses: 91_200 + 40*reads, Region: 256 << 20, Control: 64 << 10, Index: 8 << 20, Slabs: 121 << 20, Free: 127 << 20, Slots: 917_504,
			Classes: []cache.ClassStats{class(5, 80, 3, 20_000, 0.91), class(9, 128, 610, 9_100_000, 0.93), class(10, 144, 1201, 8_900_000, 0.89), class(31, 1616, 120, 204_000, 0.71)},
			Events:  cache.Events{Stored: 44_120_311, Evicted: 20_133, EvictedUnread: 19_004},
		},
		Commands: map[string]uint64{"cmd_get": 18_296_082, "cmd_set": 12, "get_hits": 18_204_882, "get_misses": 91_200, "bytes_read": 612 << 20, "bytes_written": 2 << 30, "datagrams": 1_244_650, "cmd_flush": 0},
		Hot: []map[string]any{
			{"key": "cpu.idle.host13", "count": 1_204_224}, {"key": `http_requests_total{code="200",host="anvil",path="/page/01"}`, "count": 600_064},
			{"key": "directory:volume.home.anna", "count": 90_112}, {"key": hostile, "count": 4096},
		},
		Newest:    newest.Stats{Stored: 44_000_000, Ended: 210, Old: 31, Waiting: 4096, Series: 500_012, KeyBytes: 36 << 20},
		Directory: &newest.EntryStats{Stored: 12_040, Deleted: 33, Whole: true},
	}
	rounds := []uint64{0, 120, 60_233, 410_700, 220_104, 30_412, 8120, 1204, 210, 44, 9, 0, 1}
	var buckets []map[string]any
	bound := 1e-6
	for i := range 22 {
		one := map[string]any{"up_to_seconds": bound, "rounds": uint64(0)}
		if i < len(rounds) {
			one["rounds"] = rounds[i]
		}
		if bound *= 2; i == 21 {
			one["up_to_seconds"] = nil
		}
		buckets = append(buckets, one)
	}
	a.Latency = map[string]any{"buckets": buckets, "sum_seconds": 6.8}
	return a
}

func (f *fake) setCache(cache any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cache = cache
}

func (f *fake) hasCache() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cache != nil
}

// cacheAnswer is a busier cache each time.
func (f *fake) cacheAnswer(*http.Request) any {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cacheAsked++
	switch f.cache.(type) {
	case nil:
		return notFound("404 page not found")
	case fakeCacheAnswer:
		if f.cache.(fakeCacheAnswer).Kernel != nil {
			return success(fakeCache(f.cacheAsked))
		}
	}
	return success(f.cache)
}

// emptyCache is one that nobody has asked yet, without an interface.
func emptyCache() fakeCacheAnswer {
	return fakeCacheAnswer{
		TCP: "127.0.0.1:11211", Cache: cache.Stats{Region: 64 << 20, Free: 63 << 20, Control: 64 << 10, Index: 1 << 20}, Commands: map[string]uint64{"cmd_get": 0},
		Hot: []map[string]any{}, Latency: map[string]any{"buckets": []any{map[string]any{"up_to_seconds": nil, "rounds": 0}}, "sum_seconds": 0},
	}
}
