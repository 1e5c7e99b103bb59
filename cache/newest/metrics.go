package newest

import "github.com/prometheus/client_golang/prometheus"

// collector shows what is published as metrics.
type collector struct {
	buckets *Buckets
	entries *Entries // nil without a directory

	outcomes, waiting, series, keyBytes, items *prometheus.Desc
}

// NewCollector makes a collector of both publishers; entries may be nil.
func NewCollector(buckets *Buckets, entries *Entries) prometheus.Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("carillon_cache_newest_"+name, help, labels, nil)
	}
	return &collector{
		buckets:  buckets,
		entries:  entries,
		outcomes: desc("buckets_total", "Completed buckets by what became of them in the cache.", "outcome"),
		waiting:  desc("waiting_buckets", "Completed buckets that wait for the cache."),
		series:   desc("series", "Series of which buckets are published."),
		keyBytes: desc("key_bytes", "Memory for their keys."),
		items:    desc("directory_items_total", "Items of directory entries by what became of them in the cache.", "outcome"),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, out) }

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, value uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
	}
	gauge := func(d *prometheus.Desc, value float64) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value)
	}
	s := c.buckets.Stats()
	count(c.outcomes, s.Stored, "stored")
	count(c.outcomes, s.Lost, "lost")
	count(c.outcomes, s.Old, "old")
	count(c.outcomes, s.Refused, "refused")
	count(c.outcomes, s.Ended, "ended")
	gauge(c.waiting, float64(s.Waiting))
	gauge(c.series, float64(s.Series))
	gauge(c.keyBytes, float64(s.KeyBytes))
	if c.entries == nil {
		return
	}
	e := c.entries.Stats()
	count(c.items, e.Stored, "stored")
	count(c.items, e.Deleted, "deleted")
	count(c.items, e.Refused, "refused")
}
