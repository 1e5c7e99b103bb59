package web

import (
	"net/http"
	"strings"
	"time"

	"carillon/cuckoo"
	"carillon/directory/location"
)

func (f *fake) directoryStats(*http.Request) any {
	f.mu.Lock()
	defer f.mu.Unlock()
	return success(f.stats)
}

func (f *fake) setDirectory(stats any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stats = stats
}

// directoryStats and seriesCaches are what GET /api/v1/directory/stats answers.
type directoryStats struct {
	Location *location.Stats `json:"location"`
	Feed     struct {
		Revision uint64 `json:"revision"`
		Last     uint64 `json:"last"`
		Live     bool   `json:"live"`
		Reason   string `json:"reason"`
	} `json:"feed"`
	Series *seriesCaches `json:"series,omitempty"`
}

type seriesCaches struct {
	Positive   cuckoo.Stats `json:"positive"`
	Negative   cuckoo.Stats `json:"negative"`
	DiskFound  uint64       `json:"disk_found"`
	DiskAbsent uint64       `json:"disk_absent"`
}

// fakeDirectory is a directory at work, or one without entries where there are no names either.
func fakeDirectory(names int) directoryStats {
	var d directoryStats
	d.Feed.Live = true
	if names == 0 {
		d.Location = &location.Stats{Changes: map[location.Op]location.ChangeStats{}}
		return d
	}
	d.Feed.Revision, d.Feed.Last = 2_000_412, 2_000_412
	d.Location = &location.Stats{
		Revision: 2_000_412, Entries: 1_999_007, Servers: 12, NextID: 3_000_001, DiskBytes: 187 << 20, Lists: 31,
		Changes: map[location.Op]location.ChangeStats{
			location.Create: {Done: 2_000_100, Refused: 41}, location.Replace: {Done: 12}, location.Update: {Done: 204, Refused: 3},
			location.Delete: {Done: 1093}, location.NewID: {Done: 7}, location.TakeLock: {Done: 20, Refused: 5}, location.ReleaseLock: {Done: 19},
			location.RegisterServer: {Done: 13}, location.UnregisterServer: {Done: 1},
		},
		Names: location.SpaceStats{
			DiskFound: 210_000, DiskAbsent: 5000, Bad: 12,
			Positive: table(18, 239_511, 41_790_040, 0, 40), SlotBytes: 31 << 20, Fills: 209_900, StaleDrops: 40,
			Negative: table(16, 4211, 995_000, 0, 900), NegativeFills: 5000, NegativeDrops: 900, RefusedFills: 3,
		},
		IDs: location.SpaceStats{
			DiskFound: 80_000, DiskAbsent: 60,
			Positive: table(18, 79_800, 320_000, 120, 80), SlotBytes: 31 << 20, Fills: 80_000, StaleDrops: 0, Squeezed: 4,
		},
	}
	d.Series = &seriesCaches{Positive: table(20, 154, 184_219_000, 0, 0), Negative: table(16, 9, 0, 0, 154), DiskAbsent: 154}
	return d
}

// table is a cuckoo table's figures.
func table(bits, entries int, hits, evictions, invalidations uint64) cuckoo.Stats {
	slots := 1 << bits
	return cuckoo.Stats{
		Lookups: hits + hits/8, Hits: hits, Misses: hits / 8, Inserts: uint64(entries) + evictions, Evictions: evictions, Invalidations: invalidations,
		Entries: entries, Slots: slots, Load: float64(entries) / float64(slots), Bytes: 24 * slots,
	}
}

// fakeEntry knows one entry, by its name and by its ids.
func fakeEntry(r *http.Request) any {
	entry := location.Entry{
		Name: "volume.home.anna", IDs: location.IDs{RW: 536870915, RO: 1<<63 + 1}, Flags: 0x21, Version: 2_000_398, Modified: time.Now().Add(-5 * time.Minute).UnixMilli(),
		Sites: []location.Site{{Server: "anvil", Partition: 0, Flags: 4}, {Server: "tenor-2", Partition: 3}},
		Lock:  location.Lock{Owner: hostile, Kind: 2, Expires: time.Now().Add(10 * time.Minute).UnixMilli()},
	}
	switch name := r.PathValue("name"); {
	case name == entry.Name, name == "536870915", name == "9223372036854775809":
		return success(entry)
	case strings.Contains(name, "/"):
		return apiError("bad name: name \"" + name + "\" has '/' at byte 1, want letters, digits, '.', '_' and '-'")
	}
	return notFound("not found")
}
