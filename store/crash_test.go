package store

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"carillon/bucket"
	"carillon/require"
)

// script is a fixed history: what is added before each seal, with late data, data
// too old for the finest tier, and enough seals for rollups and expiry. If it is of
// everything, there is between the seals what else a store does: files are merged by
// their size, samples are deleted and files written again without them, history is
// imported, and the oldest files are dropped early.
type script struct {
	tiers      []Tier
	seals      int
	everything bool
	models     map[played]*naive // those that were made, of the goroutine that plays it; nil keeps none
}

// When that is, in seals. What is added before those from dense on makes files that are
// worth merging.
const (
	scriptDelete = 4
	scriptDense  = 5
	scriptImport = 6
	scriptDrop   = 9
)

const scriptStart = 1_700_000_000_000

// played is how far a history has come: what a store must have.
type played struct {
	seals             int
	deleted, imported bool
}

// noon leaves half a day in a file of 10 s.
const noon = scriptStart/day*day + 12*hour

func (sc script) now(seal int) int64 { return noon + int64(seal)*15*minute }

func (sc script) added(seal int) (added []bucket.Bucket, numbers []uint32) {
	add := func(number uint32, time int64, value float64) {
		added, numbers = append(added, bucket.Of(time, value)), append(numbers, number)
	}
	for number := range uint32(3) {
		for i, age := range []int64{second, 3 * minute, 14 * minute, 40 * minute, 50 * minute, 5 * hour} {
			// Each seal has milliseconds of its own, so that nothing is a duplicate.
			add(number*3, sc.now(seal)-age-int64(seal), float64(i)+float64(seal)) // gauges: late data leave resets alone
		}
		const dense = fullStrip / mergeLeast
		for i := range int64(dense) {
			if sc.everything && seal >= scriptDense && seal < scriptDense+mergeLeast {
				add(number*3, sc.now(seal)-(dense-1-i)*10*second-500-int64(seal), float64(i%7))
			}
		}
	}
	return added, numbers
}

// deletion is of two of the series, and through segments of all tiers.
func (sc script) deletion() Deletion {
	return Deletion{Numbers: []uint32{0, 6}, From: sc.now(2) - 7*minute, To: sc.now(3)}
}

// imported is history of a series of its own, and of one that there is.
func (sc script) imported() map[uint32][]bucket.Bucket {
	buckets := map[uint32][]bucket.Bucket{}
	for _, number := range []uint32{3, 9} {
		for at := sc.now(scriptImport) - 5*day; at < sc.now(scriptImport); at += 7*hour + 5*minute {
			buckets[number] = append(buckets[number], bucket.Of(at-777, 8))
		}
	}
	return buckets
}

// run plays the history from behind a seal, and stops when the store does. It returns
// what was reported to be done.
func (sc script) run(s *Store, from, to int) (done played) {
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
		if sc.everything && s.Err() == nil {
			sc.between(s, seal, &done)
		}
	}
	done.seals = int(s.Sealed())
	return done
}

// between is what happens after a seal. A store that a seal waits in has not everything
// in its files, so nothing is deleted from it then.
func (sc script) between(s *Store, seal int, done *played) {
	switch {
	case seal == scriptDelete && int(s.Sealed()) == seal:
		done.deleted = deleteNow(s, sc.deletion()) == nil
	case seal == scriptImport:
		done.imported = importNow(s, importOf(1, sc.now(seal), 7, sc.imported())) == nil
	case seal == scriptDrop:
		for tier := range 2 {
			s.DropBefore(tier, bucket.Floor(sc.now(seal)-25*minute, s.config.beat()), sc.now(seal))
		}
		drive(s)
	}
}

// deleteNow has the worker's work of a deletion done in the test's own goroutine.
func deleteNow(s *Store, d Deletion) error {
	done := make(chan error, 1)
	s.deletes <- deleting{d, done}
	s.worker.step()
	return <-done
}

// model is what the store must hold.
func (sc script) model(is played) *naive {
	m := sc.models[is]
	if m == nil {
		m = sc.build(is)
		if sc.models != nil {
			sc.models[is] = m
		}
	}
	return m
}

func (sc script) build(is played) *naive {
	m := newNaive(sc.tiers)
	d := sc.deletion()
	for seal := 1; seal <= is.seals; seal++ {
		added, numbers := sc.added(seal)
		for i, b := range added {
			if is.deleted && seal <= scriptDelete && slices.Contains(d.Numbers, numbers[i]) && b.FirstTime >= d.From && b.FirstTime <= d.To {
				continue
			}
			m.add(numbers[i], b)
		}
	}
	if is.imported {
		for number, buckets := range sc.imported() {
			for _, b := range buckets {
				m.add(number, b)
			}
		}
	}
	return m
}

// stride is how many calls to the file system lie between two that are made to fail, at
// best. Each line of code calls in many states: with some left out each still has its turn.
func stride(best int) int {
	switch {
	case require.Wanted("faults"):
		return best
	case testing.Short():
		return 37
	}
	return 17
}

// TestFaultCrash plays the history once for each call to the file system (or each other one,
// see stride), and lets that call fail: alone, as an I/O error, or as the beginning of a
// crash. Reopened, the store is as after the last thing it reported, or as after the next
// one, and goes on from there.
func TestFaultCrash(t *testing.T) {
	sc := script{tiers: testTiers(t, "10s:1h,1m:1d,10m:10d"), seals: 11, everything: true}
	for crash, best := range map[bool]int{false: 2, true: 1} {
		t.Run(fmt.Sprintf("crash=%v", crash), func(t *testing.T) {
			t.Parallel()
			sc := sc
			sc.models = map[played]*naive{}
			for failAt := 1; ; failAt += stride(best) {
				fs := newMemFS()
				fs.failAt, fs.crash = failAt, crash
				if reached, err := sc.failOnce(fs, crash, failAt); err != nil {
					t.Fatalf("with a failure at call %d: %v", failAt, err)
				} else if !reached {
					t.Logf("%d calls", failAt)
					return
				}
			}
		})
	}
}

func (sc script) failOnce(fs *memFS, crash bool, seed int) (reached bool, err error) {
	config := testConfig(fs, sc.tiers)
	var reported played
	s, err := newStore(config)
	if err == nil {
		reported = sc.run(s, 0, sc.seals)
		if reported != (played{sc.seals, true, true}) && s.Err() == nil {
			return true, fmt.Errorf("the failure was swallowed: %+v", reported)
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

// after is what a store that was reopened has: what was reported, or one thing more.
func (sc script) after(s *Store, reported played) (is played, err error) {
	is = reported
	is.seals, is.imported = int(s.Sealed()), s.Imported(Source{1}) != Position{}
	if is.seals != reported.seals && is.seals != reported.seals+1 || reported.imported && !is.imported {
		return is, fmt.Errorf("%+v after %+v were reported", is, reported)
	}
	err = sc.model(is).differs(s, nil, math.MinInt64, math.MaxInt64)
	if err != nil && is.seals >= scriptDelete && !is.deleted {
		is.deleted = true
		if sc.model(is).differs(s, nil, math.MinInt64, math.MaxInt64) == nil {
			err = nil
		}
	}
	if err != nil {
		err = fmt.Errorf("reopened at %+v: %w", is, err)
	}
	return is, err
}

func (sc script) recovers(config Config, reported played) error {
	s, err := newStore(config)
	if err != nil {
		return fmt.Errorf("reopening: %w", err)
	}
	defer func() { _ = stop(s) }()
	is, err := sc.after(s, reported)
	if err != nil {
		return err
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
	then := sc.run(s, is.seals, is.seals+1)
	then.deleted, then.imported = then.deleted || is.deleted, then.imported || is.imported
	if err := s.Err(); err != nil {
		return fmt.Errorf("going on: %w", err)
	}
	if err := sc.model(then).differs(s, nil, math.MinInt64, math.MaxInt64); err != nil {
		return fmt.Errorf("going on from %+v: %w", is, err)
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
	if err := sc.model(played{seals: 2}).differs(s, nil, math.MinInt64, math.MaxInt64); err != nil {
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
