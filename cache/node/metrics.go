package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"carillon/cache"
	"carillon/cache/xdp"
)

// headerTimeout is how long who asks for metrics may take to say so.
const headerTimeout = 10 * time.Second

// collector shows a node as metrics.
type collector struct {
	node *Node

	gets, passed, commands, latency          *prometheus.Desc
	connections, items, itemEvents, unread   *prometheus.Desc
	memory, itemBytes, chunks, chunkEvents   *prometheus.Desc
	indexSlots, memoryOutside, kernelAnswers *prometheus.Desc
}

// NewCollector makes a collector of a node. After Close it has nothing to show.
func NewCollector(n *Node) prometheus.Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("carillon_cache_"+name, help, labels, nil)
	}
	return &collector{
		node:          n,
		gets:          desc("gets_total", "Keys looked up for clients, by who answered and what.", "by", "outcome"),
		passed:        desc("kernel_passed_total", "Datagrams that the kernel program left to user space, by reason.", "reason"),
		kernelAnswers: desc("kernel_attached", "1 while a kernel program answers.", "mode"),
		commands:      desc("user_events_total", "What the server counts in user space, under the names that stats has.", "event"),
		latency:       desc("user_round_seconds", "Time from receiving requests, all that came together, to handing their replies to the system: one round in sixteen."),
		connections:   desc("connections", "Connections that are open."),
		items:         desc("items", "Items, with those that have ended and are not yet removed."),
		itemEvents:    desc("item_events_total", "What became of items.", "event"),
		unread:        desc("items_unread_total", "Items that were never read until they left.", "event"),
		memory:        desc("memory_bytes", "Memory of the region, by use.", "use"),
		memoryOutside: desc("memory_outside_bytes", "Memory of the engine beside the region."),
		itemBytes:     desc("item_bytes", "Bytes of items in chunks of a size.", "chunk_bytes"),
		chunks:        desc("chunks", "Chunks of a size, by state.", "chunk_bytes", "state"),
		chunkEvents:   desc("chunk_evictions_total", "Items evicted from chunks of a size.", "chunk_bytes"),
		indexSlots:    desc("index_slots", "Slots of the index."),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, out) }

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	c.node.closing.RLock()
	defer c.node.closing.RUnlock()
	if c.node.closed {
		return
	}
	stats := c.node.cache.Stats()
	c.answers(out, &stats)
	c.kernel(out)
	c.server(out)
	c.contents(out, &stats)
	for i := range stats.Classes {
		c.class(out, &stats.Classes[i])
	}
}

func count(out chan<- prometheus.Metric, d *prometheus.Desc, value uint64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
}

func gauge(out chan<- prometheus.Metric, d *prometheus.Desc, value int, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value), labels...)
}

// answers are those of user space; those of the kernel have the same name.
func (c *collector) answers(out chan<- prometheus.Metric, s *cache.Stats) {
	count(out, c.gets, s.Hits, "user", "hit")
	count(out, c.gets, s.Misses, "user", "miss")
}

func (c *collector) kernel(out chan<- prometheus.Metric) {
	counters, attached, err := c.node.Kernel()
	switch {
	case err != nil:
		out <- prometheus.NewInvalidMetric(c.passed, err)
		return
	case !attached:
		gauge(out, c.kernelAnswers, 0, "none")
		return
	}
	gauge(out, c.kernelAnswers, 1, c.node.mode.String())
	count(out, c.gets, counters[xdp.Hit], "kernel", "hit")
	count(out, c.gets, counters[xdp.Miss], "kernel", "miss")
	for outcome := xdp.Miss + 1; outcome < xdp.Outcomes; outcome++ {
		count(out, c.passed, counters[outcome], outcome.String())
	}
}

func (c *collector) server(out chan<- prometheus.Metric) {
	s := c.node.server
	s.Counters(func(name string, value uint64) { count(out, c.commands, value, name) })
	gauge(out, c.connections, s.Connections())
	buckets, sum := s.Latency()
	total, upTo := uint64(0), make(map[float64]uint64)
	for _, b := range buckets {
		total += b.Rounds
		if b.UpTo > 0 {
			upTo[b.UpTo.Seconds()] = total
		}
	}
	out <- prometheus.MustNewConstHistogram(c.latency, total, sum.Seconds(), upTo)
}

func (c *collector) contents(out chan<- prometheus.Metric, s *cache.Stats) {
	gauge(out, c.items, s.Items)
	for event, n := range map[string]uint64{
		"stored": s.Stored, "replaced": s.Replaced, "deleted": s.Deleted, "evicted": s.Evicted, "expired": s.Expired, "refused": s.OutOfSpace,
	} {
		count(out, c.itemEvents, n, event)
	}
	count(out, c.unread, s.EvictedUnread, "evicted")
	count(out, c.unread, s.ExpiredUnread, "expired")
	for use, bytes := range map[string]int{"control": s.Control, "index": s.Index, "slabs": s.Slabs, "free": s.Free} {
		gauge(out, c.memory, bytes, use)
	}
	gauge(out, c.memoryOutside, s.Heap)
	gauge(out, c.indexSlots, s.Slots)
}

func (c *collector) class(out chan<- prometheus.Metric, s *cache.ClassStats) {
	size := strconv.Itoa(s.Chunk)
	gauge(out, c.itemBytes, s.ItemBytes, size)
	gauge(out, c.chunks, s.Chunks-s.Free, size, "used")
	gauge(out, c.chunks, s.Free, size, "free")
	count(out, c.chunkEvents, s.Evicted, size)
}

// serveMetrics answers GET /metrics until ctx ends.
func (n *Node) serveMetrics(ctx context.Context) error {
	registry := prometheus.NewRegistry()
	registry.MustRegister(NewCollector(n), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(n.metrics); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}
