package query

import (
	"time"

	"carillon/series"
	"carillon/store"
)

// Retention tells where series are kept for a shorter time than the tiers say. It is
// safe for concurrent use.
type Retention interface {
	// Keep is how long each tier keeps a series; nil, or 0 for a tier, is the tier's
	// own retention.
	Keep(id series.ID) []time.Duration
	// Shortest is the shortest of these for each tier.
	Shortest() []time.Duration
}

// cohort is series that are kept equally long, so that the same tiers answer for them.
type cohort struct {
	planner
	ids []series.ID
}

// cohorts divides ids, which stay in order. Without retention rules there is one.
func (p planner) cohorts(retention Retention, ids []series.ID) []cohort {
	if retention == nil {
		return []cohort{{p, ids}}
	}
	var all []cohort
	index := make(map[[store.MaxTiers]time.Duration]int)
	for _, id := range ids {
		var keep [store.MaxTiers]time.Duration
		copy(keep[:], retention.Keep(id))
		at, ok := index[keep]
		if !ok {
			at = len(all)
			index[keep] = at
			all = append(all, cohort{planner: p.under(keep[:])})
		}
		all[at].ids = append(all[at].ids, id)
	}
	return all
}

// under is the planner for series that are kept for a shorter time.
func (p planner) under(keep []time.Duration) planner {
	tiers := make([]store.Tier, len(p.tiers))
	for i, t := range p.tiers {
		if i < len(keep) && keep[i] != 0 {
			t.Retention = min(t.Retention, keep[i])
		}
		tiers[i] = t
	}
	p.tiers = tiers
	return p
}
