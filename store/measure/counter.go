package measure

import (
	"context"
	"fmt"
	"math"
	"time"

	"carillon/bucket"
	"carillon/figure"
	"carillon/store"
)

// Age is a number of series, and how long they have been measured.
type Age struct {
	Series int
	Lasts  time.Duration // a multiple of sealAged
}

const (
	// fullAge is that of the coarsest default tier, from which on nothing grows.
	fullAge = 6 * 365 * day

	// sealAged is how much a seal brings to a store that ages: as much as files that
	// are merged have of a series in the end.
	sealAged = 2 * time.Hour
)

// counter is what a series takes in all tiers at full age: its points go through a store
// one after the other, at their times, and are rolled up, merged and dropped as those of
// a server. A shorter age tells what a bucket of each tier takes, and that is
// scaled up to the buckets of full age.
func (r *run) counter(ctx context.Context) (_ []figure.Figure, err error) {
	a := r.Scale.Counter
	s, closeStore, err := r.openOne("counter", unsynced{})
	if err != nil {
		return nil, err
	}
	defer closeStore(&err)
	m := mix{seed: r.Seed, start: beginning}
	if err := r.age(ctx, s, m, a); err != nil {
		return nil, err
	}
	if err := r.checkTiers(s, m, a); err != nil {
		return nil, err
	}
	tiers, err := store.ParseTiers(store.DefaultTiers)
	if err != nil {
		return nil, err
	}
	var total float64
	note := fmt.Sprintf("%d series", a.Series)
	if a.Lasts < fullAge {
		note += fmt.Sprintf(" for %.0f days, scaled up to full age", a.Lasts.Hours()/24)
	}
	for i, stats := range s.Stats() {
		perBucket := float64(stats.Bytes) / float64(stats.Buckets)
		bytes := perBucket * float64(tiers[i].Retention/tiers[i].Resolution)
		if a.Lasts >= fullAge {
			bytes = float64(stats.Bytes) / float64(a.Series)
		}
		total += bytes
		note += fmt.Sprintf("; %s: %.2f B/bucket, %.3f MB", tiers[i], perBucket, bytes/1e6)
	}
	return []figure.Figure{{
		ID: "store.mb_per_counter", Value: total / 1e6, Unit: megabytes, Better: figure.Lower, Goal: 0.8, Floor: 1.2, Note: note,
	}}, nil
}

func (r *run) age(ctx context.Context, s *fed, m mix, a Age) error {
	all := m.all(a.Series)
	seals := uint64(a.Lasts / sealAged)
	for i := range seals {
		r.Progress("years into a store", i, seals)
		s.feed(all, int(sealAged.Milliseconds()/step))
		if err := s.seal(ctx); err != nil {
			return err
		}
	}
	r.Progress("years into a store", seals, seals)
	return s.settle(ctx)
}

// checkTiers compares what the tiers have with what is made of the points again: for a series
// of each sort every bucket, to the bit, and for the others how many samples are in them.
func (r *run) checkTiers(s *fed, m mix, a Age) error {
	view := s.View(nil, nil)
	defer view.Close()
	horizons := s.Horizons()
	var got []bucket.Bucket
	for number := range uint32(a.Series) {
		r.Progress("read them again", uint64(number), uint64(a.Series))
		var want [][]bucket.Bucket
		if int(number) < perHost {
			want = m.rolled(number, int(a.Lasts.Milliseconds()/step))
		}
		for tier, horizon := range horizons {
			var err error
			if got, err = view.Read(number, tier, math.MinInt64, math.MaxInt64, got[:0]); err != nil {
				return err
			}
			if want != nil {
				err = sameBuckets(got, want[tier], horizon)
			} else {
				err = sameCount(got, s.now-max(horizon, m.start))
			}
			if err != nil {
				return fmt.Errorf("series %d, tier %d: %w", number, tier, err)
			}
		}
	}
	r.Progress("read them again", uint64(a.Series), uint64(a.Series))
	return nil
}

// rolled is the buckets of a series in each tier, by the definition: of the finest, the points;
// of the others, what merging those of the tier before makes, rounded.
func (m mix) rolled(number uint32, points int) [][]bucket.Bucket {
	tiers := []int64{step, 300_000, 3_600_000}
	made := make([][]bucket.Bucket, len(tiers))
	p := m.points(number)
	for range points {
		made[0] = append(made[0], bucket.Of(p.next()))
	}
	for tier := 1; tier < len(tiers); tier++ {
		for i := range made[tier-1] {
			b := &made[tier-1][i]
			n := len(made[tier])
			if n > 0 && made[tier][n-1].Start(tiers[tier]) == b.Start(tiers[tier]) {
				made[tier][n-1].Merge(kindOf(number), b)
			} else {
				made[tier] = append(made[tier], *b)
			}
		}
		for i := range made[tier] {
			made[tier][i].Round()
		}
	}
	return made
}

// sameBuckets compares a tier with what it should have from its horizon on.
func sameBuckets(got, want []bucket.Bucket, horizon int64) error {
	for len(want) > 0 && want[0].FirstTime < horizon {
		want = want[1:]
	}
	if len(got) != len(want) {
		return fmt.Errorf("%d buckets instead of %d: %w", len(got), len(want), ErrWrongAnswer)
	}
	for i := range got {
		if got[i] != want[i] {
			return fmt.Errorf("%+v instead of %+v: %w", got[i], want[i], ErrWrongAnswer)
		}
	}
	return nil
}

// sameCount makes sure that buckets have a sample for each step of a time, but for
// one at its ends.
func sameCount(got []bucket.Bucket, lasts int64) error {
	var count uint64
	for i := range got {
		count += got[i].Count
	}
	if want := lasts / step; int64(count) < want-1 || int64(count) > want+1 {
		return fmt.Errorf("%d samples instead of %d: %w", count, want, ErrWrongAnswer)
	}
	return nil
}
