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

// TestFaultFullDisk plays the history once for each call to the file system, and lets the
// disk be full from that call on for a while. Everything added can be read all the
// time, and once there is room the store goes on by itself; only where making
// something durable failed it stays stopped, and is as after a crash.
func TestFaultFullDisk(t *testing.T) {
	sc := script{tiers: testTiers(t, "10s:1h,1m:1d,10m:10d"), seals: 11, everything: true, models: map[played]*naive{}}
	t.Parallel()
	retried := 0
	for failAt := sc.callsToOpen(t) + 1; ; failAt += stride(3) {
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
	var done played
	for seal := 1; seal <= sc.seals && s.Err() == nil; seal++ {
		if fs.full {
			if fullFor++; fullFor > 2 {
				fs.full = false
			}
		}
		one := sc.run(s, seal-1, seal)
		done.deleted, done.imported = done.deleted || one.deleted, done.imported || one.imported
		done.seals = seal // it can be read, sealed or not
		waits := s.Work().Waiting != nil
		if waited = waited || waits; !waits && seal < sc.seals {
			continue
		}
		if err := sc.model(done).differs(s, nil, math.MinInt64, math.MaxInt64); err != nil && s.Err() == nil {
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
	done.seals = int(s.Sealed())
	_ = stop(s)
	return reached, waited, sc.recovers(config, done)
}

// TestFaultFlippedBits flips a bit of each file, at many places, between two runs of the
// history. What is read afterwards is what was added, or an error, or nothing where
// Work reports the damage; the store always opens, goes on, and merges around it.
func TestFaultFlippedBits(t *testing.T) {
	t.Parallel()
	sc := script{tiers: testTiers(t, "10s:6h,1m:1d,10m:10d"), seals: 6, everything: true, models: map[played]*naive{}}
	whole := newMemFS()
	s, err := newStore(testConfig(whole, sc.tiers))
	if err != nil {
		t.Fatal(err)
	}
	is := sc.run(s, 0, sc.seals)
	if err := stop(s); err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range whole.names {
		names = append(names, name)
	}
	slices.Sort(names)
	rng := rand.New(rand.NewPCG(1, 2))
	for range 1600 / stride(2) {
		name := names[rng.IntN(len(names))]
		bit := rng.IntN(8 * len(whole.names[name].data))
		if err := sc.flipOnce(whole, is, name, bit); err != nil {
			t.Fatalf("with bit %d of byte %d of %s flipped: %v", bit%8, bit/8, name, err)
		}
	}
}

func (sc script) flipOnce(whole *memFS, is played, name string, bit int) error {
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
	unhurt := !strings.HasSuffix(name, pagesSuffix) // the others are there twice
	if err := sc.neverWrong(s, is, s.Work().Damaged > 0, unhurt); err != nil {
		return err
	}
	then := sc.run(s, sc.seals, sc.seals+6)
	if err := s.Err(); err != nil {
		return fmt.Errorf("going on: %w", err)
	}
	is.seals = then.seals
	if err := sc.neverWrong(s, is, s.Work().Damaged > 0, unhurt); err != nil {
		return fmt.Errorf("having gone on: %w", err)
	}
	return nil
}

// TestFaultFlippedCalls flips a bit of what goes through each call to the file system, on its
// way to the disk or back. The store goes on, or stops and says why; reopened, it has all
// that was reported, or an error or a report where the bit was.
func TestFaultFlippedCalls(t *testing.T) {
	t.Parallel()
	sc := script{tiers: testTiers(t, "10s:1h,1m:1d,10m:10d"), seals: 11, everything: true, models: map[played]*naive{}}
	for failAt := 1; ; failAt += stride(2) {
		fs := newMemFS()
		fs.failAt, fs.flips = failAt, rand.New(rand.NewPCG(1, uint64(failAt)))
		if err := sc.flipCall(fs); err != nil {
			t.Fatalf("with a bit flipped in call %d: %v", failAt, err)
		}
		if fs.failAt > 0 && fs.calls < failAt {
			return
		}
	}
}

func (sc script) flipCall(fs *memFS) error {
	config := testConfig(fs, sc.tiers)
	var is played
	reported := false
	s, err := newStore(config)
	if err == nil {
		is = sc.run(s, 0, sc.seals)
		if err := s.Err(); err != nil && !corrupted(err) && !strings.Contains(err.Error(), "format version") {
			return fmt.Errorf("the store has stopped: %w", err)
		}
		reported = s.Work().Damaged > 0
		_ = stop(s)
	}
	if s, err = newStore(config); err != nil { // of a bit that is well on the disk
		s, err = newStore(config)
	}
	if err != nil {
		return fmt.Errorf("reopening: %w", err)
	}
	defer func() { _ = stop(s) }()
	is.seals = int(s.Sealed())
	return sc.neverWrong(s, is, reported || s.Work().Damaged > 0, false)
}

// neverWrong reads all tiers. Of a damage that nobody has reported nothing shows but
// errors. Of one that was, buckets are missing, and in the coarser tiers may lack what
// could not be read any more; nothing is there that was not added. With unhurt nothing is
// damaged at all.
func (sc script) neverWrong(s *Store, is played, reported, unhurt bool) error {
	now := sc.model(is)
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
			if (unhurt || !reported) && len(got) != len(want) {
				return fmt.Errorf("series %d tier %d: %d buckets, not %d, and no report", number, tier, len(got), len(want))
			}
			resolution := s.resolution(tier)
			for _, b := range got {
				i := from(want, b.Start(resolution)) // that of its segment
				if i < len(want) && (same(kindOf(number), want[i], b) || !unhurt && reported && tier > 0 && partOf(&want[i], &b)) {
					continue
				}
				return fmt.Errorf("series %d tier %d: a wrong bucket %v", number, tier, b)
			}
		}
	}
	return nil
}

// partOf tells whether a bucket may be of some of the samples of a whole one.
func partOf(whole, b *bucket.Bucket) bool {
	return b.Count < whole.Count && b.FirstTime >= whole.FirstTime && b.LastTime <= whole.LastTime &&
		b.Min >= whole.Min && b.Max <= whole.Max
}

// TestLossesAreRemembered: what the coarser tiers lack, since a file of the finest one was damaged,
// is reported after a restart too, for as long as they would have it.
func TestLossesAreRemembered(t *testing.T) {
	fs := newMemFS()
	config := testConfig(fs, testTiers(t, "10s:1h,1m:1d"))
	s, err := newStore(config)
	if err != nil {
		t.Fatal(err)
	}
	reopen := func() {
		if err := stop(s); err != nil {
			t.Fatal(err)
		}
		if s, err = newStore(config); err != nil {
			t.Fatal(err)
		}
	}
	s.AddSamples([]uint32{0}, []int64{noon}, []float64{1})
	if err := s.Seal(noon, 1, none); err != nil {
		t.Fatal(err)
	}
	drive(s)
	fs.names[s.current.files[0][0].path].data[headerBytes+3] ^= 1
	for _, step := range []struct {
		now     int64
		damaged uint64
	}{{noon, 0}, {noon + 2*hour, 1}, {noon + 20*hour, 1}, {noon + 2*day, 0}} {
		s.Maintain(step.now)
		drive(s)
		reopen()
		if work := s.Work(); work.Damaged != step.damaged || s.Err() != nil {
			t.Errorf("after %s: %d damages, %q, %v", showTime(epoch+step.now-noon), work.Damaged, work.Damages, s.Err())
		}
	}
	if err := stop(s); err != nil {
		t.Fatal(err)
	}
}

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
