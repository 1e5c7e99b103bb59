package measure

import (
	"fmt"

	"carillon/figure"
)

const (
	perSecond = "look-ups/s"
	times     = "x"
	percent   = "%"
	reads     = "reads"
)

func figures(load loadResult, old oldCost, disk uncachedCost, memory cachedCost) []figure.Figure {
	sizes := fmt.Sprintf("%.0f MB of files, %.0f MB of block cache", disk.diskBytes/1e6, disk.blockCacheBytes/1e6)
	return []figure.Figure{
		{
			ID: "directory.hit_ratio", Value: disk.hit.seconds() / memory.hit.seconds(), Unit: times, Better: figure.Higher, Goal: 200, Floor: 40,
			Note: fmt.Sprintf("%.2f µs by Pebble, %.0f ns cached; %s", disk.hit.seconds()*1e6, memory.hit.seconds()*1e9, sizes),
		},
		{
			ID: "directory.negative_ratio", Value: disk.miss.seconds() / memory.miss.seconds(), Unit: times, Better: figure.Higher, Goal: 100, Floor: 40,
			Note: fmt.Sprintf("%.2f µs by Pebble, %.0f ns cached", disk.miss.seconds()*1e6, memory.miss.seconds()*1e9),
		},
		{
			ID: "directory.lookups_per_core", Value: memory.hit.perSecond(), Unit: perSecond, Better: figure.Higher, Goal: 12e6, Floor: 6e6,
			Note: fmt.Sprintf("ids by name, one by one, random order; %.4f %% went to disk", memory.diskShare*100),
		},
		{
			ID: "directory.negative_lookups_per_core", Value: memory.miss.perSecond(), Unit: perSecond, Better: figure.Higher, Goal: 20e6, Floor: 8e6,
			Note: wholeness(memory.whole),
		},
		{
			ID: "directory.negative_part_lookups_per_core", Value: memory.missOfPart.perSecond(), Unit: perSecond,
			Note: fmt.Sprintf("the same while one entry was not cached: %d cached absences answer", memory.absences),
		},
		{
			ID: "directory.batch_lookups_per_core", Value: memory.batch.perSecond(), Unit: perSecond, Better: figure.Higher, Goal: 25e6, Floor: 12e6,
			Note: fmt.Sprintf("%d names a batch, all present", batchNames),
		},
		{
			ID: "directory.batch_mixed_lookups_per_core", Value: memory.batchMixed.perSecond(), Unit: perSecond,
			Note: "the same, every second name absent, by chance",
		},
		{
			ID: "directory.mixed_lookups_per_core", Value: memory.mixed.perSecond(), Unit: perSecond,
			Note: "one by one, every second name absent, by chance",
		},
		{
			ID: "directory.entry_lookups_per_core", Value: memory.entry.perSecond(), Unit: perSecond,
			Note: fmt.Sprintf("present ones, the whole entry with its %d sites", sitesEach),
		},
		{
			ID: "cuckoo.load4", Value: load.lowest * 100, Unit: percent, Better: figure.Higher, Goal: 97, Floor: 95,
			Note: fmt.Sprintf("lowest of %d seeds, %d slots; the mean is %.2f %%", load.seeds, load.slots, load.mean*100),
		},
		{
			ID: "directory.old_reads_per_lookup", Value: old.reads, Unit: reads,
			Note: fmt.Sprintf("%d buckets, %d entries, half of the names absent: %.0f if present, %.0f if not", oldBuckets, old.entries, old.hitReads, old.missReads),
		},
		{
			ID: "directory.old_lookups_per_second", Value: old.cost.perSecond(), Unit: perSecond,
			Note: "the same; every read from the system's page cache",
		},
	}
}

func wholeness(whole bool) string {
	if whole {
		return "the cache has every entry, so that a miss is the answer"
	}
	return "the cache lacks entries, so that the absent need their own"
}
