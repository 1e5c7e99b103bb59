package partition

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"

	"carillon/store"
)

// Collector shows what the partitions do as metrics.
type Collector struct {
	set *Set

	aligned, series, sealed, applied, head, repeated, corrupt, bytes, files, buckets, written *prometheus.Desc
}

// NewCollector makes a collector to register.
func NewCollector(set *Set) *Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("carillon_"+name, help, labels, nil)
	}
	return &Collector{
		set:      set,
		aligned:  desc("points_aligned_total", "Points by what the quantizer made of them, since the start.", "reason"),
		series:   desc("series", "Series defined.", "partition"),
		applied:  desc("partition_applied_sequence", "Journal message up to which everything can be read.", "partition"),
		sealed:   desc("partition_sealed_sequence", "Journal message up to which everything is in synced files.", "partition"),
		head:     desc("partition_head_buckets", "Buckets in memory that are not in files yet.", "partition"),
		repeated: desc("partition_repeated_parts_total", "Parts of requests that were sent again, and counted once.", "partition"),
		corrupt:  desc("partition_damaged_messages_total", "Journal messages that could not be decoded.", "partition"),
		bytes:    desc("tier_bytes", "Bytes of page files.", "tier"),
		files:    desc("tier_files", "Page files.", "tier"),
		buckets:  desc("tier_buckets", "Buckets in page files.", "tier"),
		written:  desc("store_written_bytes_total", "Bytes of page files written since the start, by what for: all, over those sealed, is the write amplification.", "for"),
	}
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.aligned, c.series, c.applied, c.sealed, c.head, c.repeated, c.corrupt, c.bytes, c.files, c.buckets, c.written} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, kind, value, labels...)
	}
	type tier struct{ bytes, files, buckets float64 }
	aligned := make(map[string]float64)
	tiers := make([]tier, len(c.set.tiers))
	var written store.Written
	for _, p := range c.set.Stats() {
		partition := strconv.Itoa(p.Number)
		send(c.series, prometheus.GaugeValue, float64(p.Series), partition)
		send(c.applied, prometheus.GaugeValue, float64(p.Applied), partition)
		send(c.sealed, prometheus.GaugeValue, float64(p.Sealed), partition)
		send(c.head, prometheus.GaugeValue, float64(p.HeadBuckets), partition)
		send(c.repeated, prometheus.CounterValue, float64(p.RepeatedParts), partition)
		send(c.corrupt, prometheus.CounterValue, float64(p.Corrupt), partition)
		for reason, n := range p.Counts.ByReason() {
			aligned[reason] += float64(n)
		}
		written.Add(p.Written)
		for i, t := range p.Tiers {
			tiers[i].bytes += float64(t.Bytes)
			tiers[i].files += float64(t.Files)
			tiers[i].buckets += float64(t.Buckets)
		}
	}
	for reason, n := range aligned {
		send(c.aligned, prometheus.CounterValue, n, reason)
	}
	send(c.written, prometheus.CounterValue, float64(written.Sealed), "sealing")
	send(c.written, prometheus.CounterValue, float64(written.Rolled), "rollup")
	send(c.written, prometheus.CounterValue, float64(written.Merged), "merging")
	for i, t := range tiers {
		name := model.Duration(c.set.tiers[i].Resolution).String()
		send(c.bytes, prometheus.GaugeValue, t.bytes, name)
		send(c.files, prometheus.GaugeValue, t.files, name)
		send(c.buckets, prometheus.GaugeValue, t.buckets, name)
	}
}
