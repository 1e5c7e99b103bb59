package httpapi

import (
	"github.com/prometheus/client_golang/prometheus"

	"carillon/cuckoo"
	"carillon/directory/location"
)

// collector shows the figures of Stats as metrics.
type collector struct {
	config Config

	lookups, entriesCached, slots, bytes, inserts, evictions, invalidations, kicks *prometheus.Desc // by cache
	slotBytes, stale, squeezed, refusedFills                                       *prometheus.Desc // by cache
	disk, changes                                                                  *prometheus.Desc
	lists, entries, servers, diskBytes, indexBytes, stopped, negativesOff          *prometheus.Desc
	revision, feedLast, feedLive, feedDamaged                                      *prometheus.Desc
}

func newCollector(config Config) *collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("carillon_directory_"+name, help, labels, nil)
	}
	return &collector{
		config:        config,
		lookups:       desc("cache_lookups_total", "Look-ups in a cache since the start.", "cache", "outcome"),
		entriesCached: desc("cache_entries", "Entries in a cache.", "cache"),
		slots:         desc("cache_slots", "Entries that a cache has room for.", "cache"),
		bytes:         desc("cache_bytes", "Bytes of a cache's table.", "cache"),
		inserts:       desc("cache_inserts_total", "Entries that came into a cache.", "cache"),
		evictions:     desc("cache_evictions_total", "Entries that left a cache to make room.", "cache"),
		invalidations: desc("cache_invalidations_total", "Entries dropped from a cache because they were no longer right.", "cache"),
		kicks:         desc("cache_kicks_total", "Entries moved within a cache to make room.", "cache"),
		slotBytes:     desc("cache_slot_bytes", "Bytes of the location entries that a cache's table refers to.", "cache"),
		stale:         desc("cache_stale_drops_total", "Entries dropped by the read that found them out of date.", "cache"),
		squeezed:      desc("cache_squeezed_total", "Large entries dropped for want of large slots.", "cache"),
		refusedFills:  desc("cache_refused_fills_total", "Fills that were refused because they lost a race with a change.", "cache"),
		disk:          desc("disk_lookups_total", "Look-ups that no cache answered.", "by", "outcome"),
		changes:       desc("changes_total", "Changes applied.", "operation", "outcome"),
		lists:         desc("lists_total", "Pages of entries listed."),
		entries:       desc("entries", "Entries of the location directory."),
		servers:       desc("servers", "Registered servers."),
		diskBytes:     desc("disk_bytes", "Bytes of the location directory on disk."),
		indexBytes:    desc("series_index_bytes", "Bytes of memory that all series with their labels take."),
		stopped:       desc("stopped", "1 after a commit failed: nothing is applied any more."),
		negativesOff:  desc("negatives_off", "1 while absences are not answered from cache, because the feed is not live."),
		revision:      desc("revision", "Revision of the last change applied here."),
		feedLast:      desc("feed_last_revision", "Revision of the last change known to be in the feed."),
		feedDamaged:   desc("feed_damaged_messages_total", "Messages of the feed that could not be decoded."),
		feedLive:      desc("feed_live", "1 while the feed is provably live."),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.lookups, c.entriesCached, c.slots, c.bytes, c.inserts, c.evictions, c.invalidations, c.kicks,
		c.slotBytes, c.stale, c.squeezed, c.refusedFills, c.disk, c.changes,
		c.lists, c.entries, c.servers, c.diskBytes, c.indexBytes, c.stopped, c.negativesOff, c.revision, c.feedLast, c.feedLive, c.feedDamaged,
	} {
		out <- d
	}
}

// sender is where the metrics of one collection go.
type sender chan<- prometheus.Metric

func (out sender) gauge(d *prometheus.Desc, value float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func (out sender) count(d *prometheus.Desc, n uint64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(metrics chan<- prometheus.Metric) {
	out, s := sender(metrics), c.config.stats()
	d := &s.Directory
	c.space(out, "name", "names", &d.Names)
	c.space(out, "id", "ids", &d.IDs)
	if s.Series != nil {
		c.cache(out, "series", &s.Series.Positive)
		c.cache(out, "absent_series", &s.Series.Negative)
		out.count(c.disk, s.Series.IndexFound, "series", "found")
		out.count(c.disk, s.Series.IndexAbsent, "series", "absent")
		out.gauge(c.indexBytes, float64(s.Series.IndexBytes))
	}
	for op, n := range d.Changes {
		out.count(c.changes, n.Done, op.String(), "done")
		out.count(c.changes, n.Refused, op.String(), "refused")
	}
	out.count(c.changes, d.UnknownChange, "unknown", "refused")
	out.count(c.lists, d.Lists)
	out.gauge(c.entries, float64(d.Entries))
	out.gauge(c.servers, float64(d.Servers))
	out.gauge(c.diskBytes, float64(d.DiskBytes))
	out.gauge(c.stopped, truth(d.Stopped != ""))
	out.gauge(c.negativesOff, truth(d.NegativesOff))
	out.gauge(c.revision, float64(d.Revision))
	out.gauge(c.feedLast, float64(s.Feed.Last))
	out.count(c.feedDamaged, s.Feed.Damaged)
	out.gauge(c.feedLive, truth(s.Feed.Live))
}

// space sends what belongs to look-ups by name, or by id.
func (c *collector) space(out sender, by, cache string, s *location.SpaceStats) {
	absent := "absent_" + cache
	c.cache(out, cache, &s.Positive)
	c.cache(out, absent, &s.Negative)
	out.gauge(c.slotBytes, float64(s.SlotBytes), cache)
	out.count(c.stale, s.StaleDrops, cache)
	out.count(c.squeezed, s.Squeezed, cache)
	out.count(c.refusedFills, s.RefusedFills, absent)
	out.count(c.disk, s.DiskFound, by, "found")
	out.count(c.disk, s.DiskAbsent, by, "absent")
	out.count(c.disk, s.Bad, by, "bad")
	out.count(c.disk, s.Failed, by, "failed")
}

func (c *collector) cache(out sender, name string, s *cuckoo.Stats) {
	out.count(c.lookups, s.Hits, name, "hit")
	out.count(c.lookups, s.Misses, name, "miss")
	out.gauge(c.entriesCached, float64(s.Entries), name)
	out.gauge(c.slots, float64(s.Slots), name)
	out.gauge(c.bytes, float64(s.Bytes), name)
	out.count(c.inserts, s.Inserts, name)
	out.count(c.evictions, s.Evictions, name)
	out.count(c.invalidations, s.Invalidations, name)
	out.count(c.kicks, s.Kicks, name)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
