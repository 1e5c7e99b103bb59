package store

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"carillon/bucket"
)

// TestFullDisk plays the history once for each call to the file system, and lets the
// disk be full from that call on for a while. Everything added can be read all the
// time, and once there is room the store goes on by itself; only where making
// something durable failed it stays stopped, and is as after a crash.
func TestFullDisk(t *testing.T) {
	sc := script{tiers: testTiers(t, "10s:1h,1m:1d,10m:10d"), seals: 8}
	t.Parallel()
	step := 3
	if testing.Short() {
		step = 23
	}
	retried := 0
	for failAt := sc.callsToOpen(t) + 1; ; failAt += step {
		fs := newMemFS()
		fs.failAt, fs.fills = failAt, true
		reached, waited, err := sc.fillOnce(fs)
		if err != nil {
			t.Fatalf("with a full disk from call %d on: %v", failAt, err)
		}
		if !reached {
			break
		}
		if waited {
			retried++
		}
	}
	if retried == 0 {
		t.Error("no seal has waited for room")
	}
}

func (sc script) callsToOpen(t *testing.T) int {
	fs := newMemFS()
	s, err := newStore(testConfig(fs, sc.tiers))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stop(s) }()
	return fs.calls
}

func (sc script) fillOnce(fs *memFS) (reached, waited bool, err error) {
	config := testConfig(fs, sc.tiers)
	s, err := newStore(config)
	if err != nil {
		return false, false, err
	}
	fullFor := 0
	for seal := 1; seal <= sc.seals && s.Err() == nil; seal++ {
		if fs.full {
			if fullFor++; fullFor > 2 {
				fs.full = false
			}
		}
		sc.run(s, seal-1, seal)
		waited = waited || s.Work().Waiting != nil
		if err := sc.model(seal).differs(s, nil, math.MinInt64, math.MaxInt64); err != nil && s.Err() == nil {
			return true, waited, fmt.Errorf("after seal %d: %w", seal, err)
		}
	}
	reached = fs.calls >= fs.failAt
	fs.full, fs.failAt = false, 0
	if s.Err() == nil {
		sc.run(s, sc.seals, sc.seals+1) // the seal that waited
		sc.run(s, sc.seals+1, sc.seals+2)
		if sealed := s.Sealed(); sealed < uint64(sc.seals) || s.Work().Waiting != nil {
			return true, waited, fmt.Errorf("sealed %d with room again: %v", sealed, s.Work().Waiting)
		}
	} else if !fs.synced {
		return true, waited, fmt.Errorf("the store has stopped: %w", s.Err())
	}
	reported := int(s.Sealed())
	_ = stop(s)
	return reached, waited, sc.recovers(config, reported)
}

// TestFlippedBits flips a bit of each file, at many places, between two runs of the
// history. What is read afterwards is what was added, or an error, or nothing where
// Work reports the damage; the store always opens, goes on, and merges around it.
func TestFlippedBits(t *testing.T) {
	t.Parallel()
	sc := script{tiers: testTiers(t, "10s:6h,1m:1d,10m:10d"), seals: 6}
	places := 400
	if testing.Short() {
		places = 60
	}
	whole := newMemFS()
	s, err := newStore(testConfig(whole, sc.tiers))
	if err != nil {
		t.Fatal(err)
	}
	sc.run(s, 0, sc.seals)
	if err := stop(s); err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range whole.names {
		names = append(names, name)
	}
	slices.Sort(names)
	rng := rand.New(rand.NewPCG(1, 2))
	for range places {
		name := names[rng.IntN(len(names))]
		bit := rng.IntN(8 * len(whole.names[name].data))
		if err := sc.flipOnce(whole, name, bit); err != nil {
			t.Fatalf("with bit %d of byte %d of %s flipped: %v", bit%8, bit/8, name, err)
		}
	}
}

func (sc script) flipOnce(whole *memFS, name string, bit int) error {
	fs := newMemFS()
	fs.dirs = whole.dirs
	for n, node := range whole.names {
		data := slices.Clone(node.data)
		if n == name {
			data[bit/8] ^= 1 << (bit % 8)
		}
		fs.names[n] = &memNode{data: data, synced: data}
		fs.durable[n] = fs.names[n]
	}
	config := testConfig(fs, sc.tiers)
	report, err := verify(fs, config.Dir)
	if err != nil || len(report.Problems) != 1 || report.Problems[0].File != name {
		return fmt.Errorf("verify: %w, %v", err, report.Problems)
	}
	s, err := newStore(config)
	if err != nil {
		return fmt.Errorf("opening: %w", err)
	}
	defer func() { _ = stop(s) }()
	before := sc.model(sc.seals)
	if err := sc.neverWrong(s, before, nil, strings.HasSuffix(name, manifestName)); err != nil {
		return err
	}
	sc.run(s, sc.seals, sc.seals+6)
	if err := s.Err(); err != nil {
		return fmt.Errorf("going on: %w", err)
	}
	if err := sc.neverWrong(s, sc.model(sc.seals+6), before, strings.HasSuffix(name, manifestName)); err != nil {
		return fmt.Errorf("having gone on: %w", err)
	}
	return nil
}

// neverWrong reads all tiers. A bucket is as in the model, or, where coarser ones could
// not be made anew with what came later, as it was before the damage; it is missing
// only if the damage is reported. With unhurt nothing may be missing at all.
func (sc script) neverWrong(s *Store, now, before *naive, unhurt bool) error {
	damaged := s.Work().Damaged > 0
	for number := range now.added {
		view := s.View([]uint32{number}, nil)
		defer view.Close()
		for tier := range sc.tiers {
			got, err := view.Read(number, tier, math.MinInt64, math.MaxInt64, nil)
			if err != nil && !unhurt && corrupted(err) {
				continue
			}
			if err != nil {
				return err
			}
			want := now.read(number, tier, view.version.horizons[tier], math.MinInt64, math.MaxInt64)
			var old []bucket.Bucket
			if before != nil {
				old = before.read(number, tier, view.version.horizons[tier], math.MinInt64, math.MaxInt64)
			}
			if (unhurt || !damaged) && len(got) != len(want) {
				return fmt.Errorf("series %d tier %d: %d buckets, not %d, and no report", number, tier, len(got), len(want))
			}
			for _, b := range got {
				is := func(m bucket.Bucket) bool { return same(kindOf(number), m, b) }
				if !slices.ContainsFunc(want, is) && (unhurt || tier == 0 || !slices.ContainsFunc(old, is)) {
					return fmt.Errorf("series %d tier %d: a wrong bucket %v", number, tier, b)
				}
			}
		}
	}
	return nil
}

// noon leaves half a day in a file of 10 s.
const noon = scriptStart/day*day + 12*hour

// TestMergingAroundDamage: files due to be merged, one of them with a flipped bit. The
// store goes on, says so, and merges what comes later.
func TestMergingAroundDamage(t *testing.T) {
	fs := newMemFS()
	config := testConfig(fs, testTiers(t, "10s:1d"))
	s, err := newStore(config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stop(s) }()
	sealed := uint64(0)
	seal := func() {
		for i := range int64(fullStrip / 2) {
			at := noon + (int64(sealed)*fullStrip/2+i)*10*second
			s.AddSamples([]uint32{0}, []int64{at}, []float64{float64(i)})
		}
		sealed++
		if err := s.Seal(scriptStart, sealed, none); err != nil {
			t.Fatal(err)
		}
		drive(s)
	}
	seal()
	seal()
	damaged := s.current.files[0][0]
	fs.names[damaged.path].data[headerBytes+20] ^= 1
	seal()
	if s.Err() != nil || s.Work().Damaged != 1 || len(s.current.files[0]) != 3 {
		t.Fatalf("error %v, work %+v, %d files", s.Err(), s.Work(), len(s.current.files[0]))
	}
	seal()
	if s.Err() != nil || s.Work().Damaged != 1 || len(s.current.files[0]) != 2 || s.current.files[0][0] != damaged {
		t.Fatalf("error %v, work %+v, %d files", s.Err(), s.Work(), len(s.current.files[0]))
	}
	view := s.View([]uint32{0}, nil)
	defer view.Close()
	got, err := view.Read(0, 0, damaged.last+10*second, math.MaxInt64, nil)
	if err != nil || len(got) != 3*fullStrip/2 {
		t.Errorf("behind the damage: %d buckets, %v", len(got), err)
	}
	if _, err := view.Read(0, 0, damaged.first, damaged.last, nil); !corrupted(err) {
		t.Errorf("of the damaged file: %v", err)
	}
}
