package server

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"

	"carillon/store"
)

// diskCollector shows the disk, and the work behind the stores, as metrics.
type diskCollector struct {
	disk *disk

	bytes, max, free, accepting, droppedBytes, droppedBuckets, keptSince *prometheus.Desc
	working, waiting, mergeWants, rollupLag, damaged                     *prometheus.Desc
}

func newDiskCollector(d *disk) *diskCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("carillon_"+name, help, labels, nil)
	}
	return &diskCollector{
		disk:           d,
		bytes:          desc("disk_bytes", "Bytes of the data directory.", "part"),
		max:            desc("disk_max_bytes", "What --disk-max allows; 0 for no bound."),
		free:           desc("disk_free_bytes", "Bytes that are free on the data directory's file system."),
		accepting:      desc("disk_accepting", "1 while there is room for points, 0 while they are refused."),
		droppedBytes:   desc("tier_dropped_early_bytes_total", "Bytes of page files that --disk-max dropped before their time, since the start.", "tier"),
		droppedBuckets: desc("tier_dropped_early_buckets_total", "Buckets in them.", "tier"),
		keptSince:      desc("tier_kept_since_seconds", "Time before which the tier keeps nothing, since the epoch.", "tier"),
		working:        desc("store_working", "1 for what the store of a partition does at the moment.", "partition", "activity"),
		waiting:        desc("store_waiting_for_room", "1 while a seal waits for room on the disk.", "partition"),
		mergeWants:     desc("store_merge_wants_bytes", "Room that files wait for to be merged.", "partition"),
		rollupLag:      desc("store_rollup_lag_seconds", "Age of the oldest segment that is not in the coarser tiers.", "partition"),
		damaged:        desc("store_damages", "What could not be read in the background since the start.", "partition"),
	}
}

// Describe implements prometheus.Collector.
func (c *diskCollector) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, out) }

// Collect implements prometheus.Collector.
func (c *diskCollector) Collect(out chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, kind, value, labels...)
	}
	status := c.disk.status()
	for part, bytes := range map[string]int64{
		"directory": status.Parts.Directory, "journal": status.Parts.Journal, "store": status.Parts.Store, "other": status.Parts.Other,
	} {
		send(c.bytes, prometheus.GaugeValue, float64(bytes), part)
	}
	send(c.max, prometheus.GaugeValue, float64(status.MaxBytes))
	send(c.free, prometheus.GaugeValue, float64(status.FreeBytes))
	send(c.accepting, prometheus.GaugeValue, oneIf(status.Full == ""))
	for tier, of := range c.disk.sumDropped() {
		name := model.Duration(c.disk.tiers[tier].Resolution).String()
		send(c.droppedBytes, prometheus.CounterValue, float64(of.Bytes), name)
		send(c.droppedBuckets, prometheus.CounterValue, float64(of.Buckets), name)
	}
	for tier, horizon := range c.disk.partitions.Horizons() {
		name := model.Duration(c.disk.tiers[tier].Resolution).String()
		send(c.keptSince, prometheus.GaugeValue, float64(max(horizon, 0))/1000, name)
	}
	for i, s := range c.disk.stores {
		work, partition := s.Work(), strconv.Itoa(i)
		for _, activity := range store.Activities() {
			send(c.working, prometheus.GaugeValue, oneIf(work.Activity == activity), partition, string(activity))
		}
		send(c.waiting, prometheus.GaugeValue, oneIf(work.Waiting != nil), partition)
		send(c.mergeWants, prometheus.GaugeValue, float64(work.MergeWants), partition)
		send(c.rollupLag, prometheus.GaugeValue, rollupLag(c.disk.now(), work), partition)
		send(c.damaged, prometheus.GaugeValue, float64(work.Damaged), partition)
	}
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// rollupLag is how long ago the oldest segment is that the coarser tiers do not have,
// in seconds; 0 if they have all.
func rollupLag(now time.Time, work store.Work) float64 {
	if work.Unrolled == 0 {
		return 0
	}
	return now.Sub(time.UnixMilli(work.Watermark)).Seconds()
}
