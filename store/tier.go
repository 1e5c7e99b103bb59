package store

import (
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/common/model"
)

// Tier is one resolution at which every series is kept, and for how long.
type Tier struct {
	Resolution time.Duration // length of a segment; whole seconds
	Retention  time.Duration // how far back buckets are kept
}

// DefaultTiers is istatd's scheme, kept at well under its size.
const DefaultTiers = "10s:10d,5m:1y,1h:6y"

// MaxTiers bounds how often one point is stored.
const MaxTiers = 8

// maxWindows bounds how many windows of windowSegments a tier keeps, and so how
// many files a backfill can have open at once: 11 years of 10 s.
const maxWindows = 4096

// ParseTiers reads "10s:10d,5m:1y,1h:6y": resolution and retention of each tier,
// finest first. Each resolution must be a multiple of the one before and each
// retention must be longer.
func ParseTiers(s string) ([]Tier, error) {
	var tiers []Tier
	for _, field := range strings.Split(s, ",") {
		resolution, retention, ok := strings.Cut(strings.TrimSpace(field), ":")
		if !ok {
			return nil, fmt.Errorf("tier %q: want resolution:retention, like 10s:10d", field)
		}
		r, err := model.ParseDuration(resolution)
		if err != nil {
			return nil, fmt.Errorf("tier %q: resolution: %w", field, err)
		}
		k, err := model.ParseDuration(retention)
		if err != nil {
			return nil, fmt.Errorf("tier %q: retention: %w", field, err)
		}
		tiers = append(tiers, Tier{Resolution: time.Duration(r), Retention: time.Duration(k)})
	}
	return tiers, checkTiers(tiers)
}

func checkTiers(tiers []Tier) error {
	if len(tiers) == 0 || len(tiers) > MaxTiers {
		return fmt.Errorf("want 1 to %d tiers, not %d", MaxTiers, len(tiers))
	}
	for i, t := range tiers {
		if t.Resolution < time.Second || t.Resolution%time.Second != 0 {
			return fmt.Errorf("tier %s: the resolution must be whole seconds", t)
		}
		if t.Retention < t.Resolution {
			return fmt.Errorf("tier %s: the retention is shorter than the resolution", t)
		}
		if t.Retention/t.Resolution > maxWindows*windowSegments {
			return fmt.Errorf("tier %s: the retention is more than %d times the resolution", t, maxWindows*windowSegments)
		}
		if i == 0 {
			continue
		}
		finer := tiers[i-1]
		if t.Resolution <= finer.Resolution || t.Resolution%finer.Resolution != 0 {
			return fmt.Errorf("tier %s: the resolution must be a multiple of the finer tier's %s", t, model.Duration(finer.Resolution))
		}
		if t.Retention <= finer.Retention {
			return fmt.Errorf("tier %s: the retention must be longer than the finer tier's %s", t, model.Duration(finer.Retention))
		}
	}
	return nil
}

// String is the tier as ParseTiers reads it.
func (t Tier) String() string {
	return model.Duration(t.Resolution).String() + ":" + model.Duration(t.Retention).String()
}
