package server

import (
	"encoding/json"
	"net/http"

	"carillon/cache"
	"carillon/cache/newest"
	"carillon/cache/xdp"
)

// hotKeysShown is how many keys the cache's answer has of those that are asked for most.
const hotKeysShown = 50

// cacheAnswer is what GET /api/v1/cache says, for people and for the page.
type cacheAnswer struct {
	TCP       string             `json:"tcp,omitempty"` // addresses
	UDP       string             `json:"udp,omitempty"`
	Kernel    *kernelAnswer      `json:"kernel"`   // null where no driver answers
	Cache     cache.Stats        `json:"cache"`    // memory and items; hits and misses of user space
	Commands  map[string]uint64  `json:"commands"` // of user space, named as stats names them
	Hot       []hotKey           `json:"hot"`
	Latency   latencyAnswer      `json:"latency"`
	Newest    newest.Stats       `json:"newest"`
	Directory *newest.EntryStats `json:"directory"` // null if entries are not published
}

type kernelAnswer struct {
	Interface string            `json:"interface"`
	Mode      string            `json:"mode"`
	Hits      uint64            `json:"hits"`
	Misses    uint64            `json:"misses"`
	Passed    map[string]uint64 `json:"passed"`          // on to user space, by reason
	Error     string            `json:"error,omitempty"` // why the counters could not be read
}

type hotKey struct {
	Key   string `json:"key"`
	Count uint64 `json:"count"` // estimated; it halves every minute
}

// latencyAnswer is how long user space took from receiving requests, all that came together,
// to handing their replies to the system, of a sample.
type latencyAnswer struct {
	Buckets    []latencyBucket `json:"buckets"`
	SumSeconds float64         `json:"sum_seconds"`
}

type latencyBucket struct {
	UpToSeconds *float64 `json:"up_to_seconds"` // null: no bound
	Rounds      uint64   `json:"rounds"`
}

// ServeHTTP answers GET /api/v1/cache.
func (k *caching) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": k.answer()}) // an error is the client's: it went away
}

func (k *caching) answer() cacheAnswer {
	a := cacheAnswer{
		Kernel: k.kernel(), Cache: k.node.Cache().Stats(), Commands: make(map[string]uint64), Hot: []hotKey{}, Newest: k.buckets.Stats(),
	}
	a.TCP, a.UDP = k.addresses()
	k.node.Server().Counters(func(name string, value uint64) { a.Commands[name] = value })
	for _, key := range k.node.Cache().Hot(hotKeysShown) {
		a.Hot = append(a.Hot, hotKey(key))
	}
	buckets, sum := k.node.Server().Latency()
	a.Latency.SumSeconds = sum.Seconds()
	for _, b := range buckets {
		one := latencyBucket{Rounds: b.Rounds}
		if b.UpTo != 0 {
			seconds := b.UpTo.Seconds()
			one.UpToSeconds = &seconds
		}
		a.Latency.Buckets = append(a.Latency.Buckets, one)
	}
	if k.entries != nil {
		stats := k.entries.Stats()
		a.Directory = &stats
	}
	return a
}

func (k *caching) kernel() *kernelAnswer {
	counters, ok, err := k.node.Kernel()
	if !ok {
		return nil
	}
	mode, _ := k.node.Mode()
	a := &kernelAnswer{
		Interface: k.iface, Mode: mode.String(), Hits: counters[xdp.Hit], Misses: counters[xdp.Miss], Passed: make(map[string]uint64),
	}
	if err != nil {
		a.Error = err.Error()
	}
	for outcome := xdp.Miss + 1; outcome < xdp.Outcomes; outcome++ {
		a.Passed[outcome.String()] = counters[outcome]
	}
	return a
}
