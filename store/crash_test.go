package store

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"carillon/bucket"
)

// script is a fixed history: what is added before each seal, with late data, data
// too old for the finest tier, and enough seals for rollups, merges and expiry.
type script struct {
	tiers []Tier
	seals int
}

const scriptStart = 1_700_000_000_000

func (sc script) now(seal int) int64 { return scriptStart + int64(seal)*15*minute }

func (sc script) added(seal int) (added []bucket.Bucket, numbers []uint32) {
	for number := range uint32(3) {
		for i := range int64(6) {
			ages := []int64{second, 3 * minute, 14 * minute, 40 * minute, 50 * minute, 5 * hour}
			// Each seal has milliseconds of its own, so that nothing is a duplicate.
			time := sc.now(seal) - ages[i] - int64(seal)
			added = append(added, bucket.Of(time, float64(i)+float64(seal)))
			numbers = append(numbers, number*3) // gauges: late data leave resets alone
		}
	}
	return added, numbers
}

// run plays the history from behind a seal, and stops when the store does.
func (sc script) run(s *Store, from, to int) {
	for seal := from + 1; seal <= to && s.Err() == nil; seal++ {
		added, numbers := sc.added(seal)
		for i := range added {
			s.Add(numbers[i], &added[i])
		}
		s.Maintain(sc.now(seal))
		drive(s)
		if s.Seal(sc.now(seal), uint64(seal), none) == nil {
			drive(s)
		}
	}
}

// model is what the store must hold when a seal is the last one.
func (sc script) model(seals int) *naive {
	m := newNaive(sc.tiers)
	for seal := 1; seal <= seals; seal++ {
		added, numbers := sc.added(seal)
		for i := range added {
			m.add(numbers[i], added[i])
		}
	}
	return m
}

// TestCrash plays the history once for each call to the file system, and lets that
// call fail: alone, as an I/O error, or as the beginning of a crash. Reopened, the
// store is as after the last seal it reported, or as after the next one, and goes
// on from there. With -short it is one call in eleven.
func TestCrash(t *testing.T) {
	sc := script{tiers: testTiers(t, "10s:1h,1m:1d,10m:10d"), seals: 10}
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprintf("crash=%v", crash), func(t *testing.T) {
			t.Parallel()
			step := 1
			if testing.Short() {
				step = 11
			}
			for failAt := 1; ; failAt += step {
				fs := newMemFS()
				fs.failAt, fs.crash = failAt, crash
				if reached, err := sc.failOnce(fs, crash, failAt); err != nil {
					t.Fatalf("with a failure at call %d: %v", failAt, err)
				} else if !reached {
					return
				}
			}
		})
	}
}

func (sc script) failOnce(fs *memFS, crash bool, seed int) (reached bool, err error) {
	config := testConfig(fs, sc.tiers)
	reported := 0
	s, err := newStore(config)
	if err == nil {
		sc.run(s, 0, sc.seals)
		reported = int(s.Sealed())
		if reported < sc.seals && s.Err() == nil {
			return true, errors.New("the failure was swallowed")
		}
		_ = stop(s)
	}
	reached = fs.calls >= seed
	if crash {
		fs.restart(rand.New(rand.NewPCG(1, uint64(seed))))
	}
	fs.failAt, fs.dead = 0, false
	return reached, sc.recovers(config, reported)
}

func (sc script) recovers(config Config, reported int) error {
	s, err := newStore(config)
	if err != nil {
		return fmt.Errorf("reopening: %w", err)
	}
	defer func() { _ = stop(s) }()
	sealed := int(s.Sealed())
	if sealed != reported && sealed != reported+1 {
		return fmt.Errorf("sealed %d after %d were reported", sealed, reported)
	}
	if err := sc.model(sealed).differs(s, nil, math.MinInt64, math.MaxInt64); err != nil {
		return fmt.Errorf("after reopening at %d: %w", sealed, err)
	}
	live := 0
	for _, tier := range s.Stats() {
		live += tier.Files
	}
	if on := config.FS.(*memFS).pages(); on != live {
		return fmt.Errorf("%d page files, but %d live ones", on, live)
	}
	report, err := verify(config.FS, config.Dir)
	if err != nil || len(report.Problems) > 0 {
		return fmt.Errorf("verifying: %w, %v", err, report.Problems)
	}
	sc.run(s, sealed, sealed+1)
	if err := s.Err(); err != nil {
		return fmt.Errorf("going on: %w", err)
	}
	if err := sc.model(sealed+1).differs(s, nil, math.MinInt64, math.MaxInt64); err != nil {
		return fmt.Errorf("going on from %d: %w", sealed, err)
	}
	return nil
}

// TestStickyError: after an error nothing is sealed any more, everything can still
// be read, and the owner hears of it.
func TestStickyError(t *testing.T) {
	sc := script{tiers: testTiers(t, "10s:1h,1m:1d")}
	config := testConfig(newMemFS(), sc.tiers)
	broken := errors.New("no directory")
	fail := false
	config.SyncDirectory = func() error {
		if fail {
			return broken
		}
		return nil
	}
	s, err := newStore(config)
	if err != nil {
		t.Fatal(err)
	}
	sc.run(s, 0, 1)
	<-s.Committed()
	fail = true
	sc.run(s, 1, 2)
	<-s.Committed()
	if !errors.Is(s.Err(), broken) || !s.Sealing() || s.Sealed() != 1 {
		t.Errorf("error %v, sealing %v, sealed %d", s.Err(), s.Sealing(), s.Sealed())
	}
	if err := sc.model(2).differs(s, nil, math.MinInt64, math.MaxInt64); err != nil {
		t.Error(err)
	}
	fail = false
	if err := s.Seal(sc.now(3), 3, none); !errors.Is(err, broken) {
		t.Errorf("the next seal: %v", err)
	}
	if err := stop(s); !errors.Is(err, broken) {
		t.Errorf("close: %v", err)
	}
}
