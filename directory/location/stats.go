package location

import (
	"sync/atomic"

	"carillon/cuckoo"
)

// operations counts what was done. What caches answered their tables count.
type operations struct {
	names, ids lookups
	lists      atomic.Uint64
	done       [opCount]atomic.Uint64
	refused    [opCount]atomic.Uint64
	unknown    atomic.Uint64 // changes of an operation that does not exist
}

// lookups counts look-ups that went to the disk.
type lookups struct{ found, absent, bad, failed atomic.Uint64 }

func (o *operations) count(changes []Numbered, results []Result) {
	for i := range changes {
		switch op := changes[i].Change.Op; {
		case op >= opCount:
			o.unknown.Add(1)
		case results[i].Err != nil:
			o.refused[op].Add(1)
		default:
			o.done[op].Add(1)
		}
	}
}

// Stats are figures since Open, taken one after the other while work goes on.
type Stats struct {
	Revision      uint64             `json:"revision"`
	Entries       uint64             `json:"entries"`
	Servers       int                `json:"servers"`
	NextID        uint64             `json:"next_id"`
	NegativesOff  bool               `json:"negatives_off"`     // see ServeNegatives
	Stopped       string             `json:"stopped,omitempty"` // why, after a failed commit
	Changes       map[Op]ChangeStats `json:"changes"`
	Lists         uint64             `json:"lists"`
	Names         SpaceStats         `json:"names"`
	IDs           SpaceStats         `json:"ids"`
	DiskBytes     uint64             `json:"disk_bytes"`
	UnknownChange uint64             `json:"unknown_changes"`
}

// ChangeStats count one operation's changes.
type ChangeStats struct {
	Done    uint64 `json:"done"`
	Refused uint64 `json:"refused"`
}

// SpaceStats are about look-ups by name, or by id.
type SpaceStats struct {
	DiskFound  uint64 `json:"disk_found"`  // look-ups that the disk answered
	DiskAbsent uint64 `json:"disk_absent"` // the same, with nothing
	Bad        uint64 `json:"bad"`         // that no name can be
	Failed     uint64 `json:"failed"`

	Positive      cuckoo.Stats `json:"positive"`
	SlotBytes     int          `json:"slot_bytes"` // of the entries themselves
	Fills         uint64       `json:"fills"`
	StaleDrops    uint64       `json:"stale_drops"` // entries dropped by the read that found them out of date
	Squeezed      uint64       `json:"squeezed"`    // large entries dropped for want of large slots
	Negative      cuckoo.Stats `json:"negative"`
	Whole         bool         `json:"whole"` // the cache has every entry, so that a miss is an absence
	NegativeFills uint64       `json:"negative_fills"`
	NegativeDrops uint64       `json:"negative_drops"` // dropped by a change
	RefusedFills  uint64       `json:"refused_fills"`  // that lost a race with a change
}

// Stats returns the figures.
func (d *Directory) Stats() Stats {
	d.applying.Lock()
	s := Stats{Revision: d.state.revision, Entries: d.state.entries, NextID: d.state.nextID}
	d.applying.Unlock()
	for _, server := range d.servers.Load().list {
		if server.registered {
			s.Servers++
		}
	}
	s.NegativesOff = d.blind.Load()
	if err := d.stopped.Load(); err != nil {
		s.Stopped = (*err).Error()
	}
	o := &d.operations
	s.Lists, s.UnknownChange = o.lists.Load(), o.unknown.Load()
	s.Changes = make(map[Op]ChangeStats, opCount)
	for op := range opCount {
		s.Changes[op] = ChangeStats{Done: o.done[op].Load(), Refused: o.refused[op].Load()}
	}
	s.Names, s.IDs = d.names.stats(&o.names), d.ids.stats(&o.ids)
	s.DiskBytes = d.diskBytes()
	return s
}

func (d *Directory) diskBytes() uint64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return 0
	}
	return d.db.Metrics().DiskSpaceUsage()
}

func (s *space) stats(l *lookups) SpaceStats {
	out := SpaceStats{DiskFound: l.found.Load(), DiskAbsent: l.absent.Load(), Bad: l.bad.Load(), Failed: l.failed.Load()}
	if s.positive == nil {
		return out
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.positive
	out.Positive = p.table.Stats()
	out.Whole = s.whole.Load() != 0
	out.SlotBytes = 8 * (len(p.small.words) + len(p.large.words) + 2*len(p.large.owners))
	out.Fills, out.StaleDrops, out.Squeezed = p.fills, p.staleDrops, p.squeezed
	out.NegativeFills, out.NegativeDrops, out.RefusedFills = s.absent, s.dropped, s.refused
	if s.negative != nil {
		out.Negative = s.negative.Stats()
	}
	return out
}
