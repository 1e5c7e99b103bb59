package store

import (
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"carillon/bucket"
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
		t, err := ParseTier(field)
		if err != nil {
			return nil, err
		}
		tiers = append(tiers, t)
	}
	return tiers, checkTiers(tiers)
}

// ParseTier reads one tier, like 10s:10d, by itself.
func ParseTier(s string) (Tier, error) {
	resolution, retention, ok := strings.Cut(strings.TrimSpace(s), ":")
	if !ok {
		return Tier{}, fmt.Errorf("tier %q: want resolution:retention, like 10s:10d", s)
	}
	r, err := model.ParseDuration(resolution)
	if err != nil {
		return Tier{}, fmt.Errorf("tier %q: resolution: %w", s, err)
	}
	k, err := model.ParseDuration(retention)
	if err != nil {
		return Tier{}, fmt.Errorf("tier %q: retention: %w", s, err)
	}
	return Tier{Resolution: time.Duration(r), Retention: time.Duration(k)}, nil
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

// retained is what a version knows of retention rules (Config.Keep). By the tiers' own
// retentions it drops whole files, and the horizons in the manifest say so for good. A
// rule ends single series, earlier, by hiding them and leaving them out of what is
// merged; and it may be gone, or another, at the next start.
//
// What must never happen is that a coarser bucket is made anew from a finest tier
// which has lost a part of it. While the rules stay, a series' own horizon only goes
// forward, as the clock does. For the time that they may have been others, shortened
// is how far any rule ever ended any series. Data so late that they lie before it are
// merged into the coarser tiers, where those before the horizon go too.
type retained struct {
	clock     int64 // milliseconds, on the coarsest tier's beat; never goes back
	shortened int64 // likewise
	partial   int64 // shortened as of Open
}

// horizon is the time before which a tier keeps nothing of a series. A rule cannot end
// what the coarser tiers do not have yet.
func (v *version) horizon(config *Config, number uint32, tier int) int64 {
	horizon := v.horizons[tier]
	if config.Keep == nil {
		return horizon
	}
	keep := config.Keep(number)
	if tier >= len(keep) || keep[tier] == 0 {
		return horizon
	}
	return max(horizon, min(bucket.Floor(v.retained.clock-keep[tier].Milliseconds(), config.beat()), v.watermark))
}

// whole is the time from which on the finest tier has all that there is of a series:
// from there on coarser buckets are made from it, and what comes late before it is
// merged into them. It is not before the horizon, and never goes back.
func (v *version) whole(config *Config, number uint32) int64 {
	return max(v.horizon(config, number, 0), v.retained.partial)
}

// shorten notes that the finest tier of a series ends at its horizon for good. The
// version must not be committed yet.
func (v *version) shorten(config *Config, number uint32) {
	if horizon := v.horizon(config, number, 0); horizon > v.horizons[0] {
		v.retained.shortened = max(v.retained.shortened, horizon)
	}
}

// beat is the coarsest tier's resolution in milliseconds.
func (c *Config) beat() int64 { return c.Tiers[len(c.Tiers)-1].Resolution.Milliseconds() }
