package store

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"carillon/bucket"
)

func TestParseTiers(t *testing.T) {
	tiers := testTiers(t, DefaultTiers)
	var back []string
	for _, tier := range tiers {
		back = append(back, tier.String())
	}
	if got := strings.Join(back, ","); got != DefaultTiers {
		t.Errorf("%s came back as %s", DefaultTiers, got)
	}
	for _, bad := range []string{
		"", "10s", "10s:", ":1d", "500ms:1d", "10s:5s", "10s:1d,15s:2d", "10s:1d,10s:2d", "10s:2d,1m:1d",
		"1s:10y", "1s:1d,2s:2d,4s:3d,8s:4d,16s:5d,32s:6d,64s:7d,128s:8d,256s:9d",
	} {
		if _, err := ParseTiers(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func sameBits(a, b bucket.Bucket) bool {
	if a == b { // the sign of a zero that a marker has for a sum means nothing
		return true
	}
	bits := func(b bucket.Bucket) [11]uint64 {
		f := math.Float64bits
		return [11]uint64{
			uint64(b.FirstTime), uint64(b.LastTime), f(b.First), f(b.Last), b.Count,
			f(b.Sum), f(b.Min), f(b.Max), f(b.M2), f(b.Resets), uint64(b.StaleTime),
		}
	}
	return bits(a) == bits(b)
}

// TestResets: what a counter lost to resets is exact at every tier.
func TestResets(t *testing.T) {
	tiers := testTiers(t, "10s:10d,5m:100d,1h:200d")
	s, err := newStore(testConfig(newMemFS(), tiers))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stop(s) }()
	const counter = 1
	m := newNaive(tiers)
	for i := range int64(3000) {
		b := bucket.Of(20*day+i*7*second, float64(i*i%977))
		s.Add(counter, &b)
		m.add(counter, b)
		if i%250 == 0 {
			if err := s.Seal(b.LastTime, uint64(i), none); err != nil {
				t.Fatal(err)
			}
			drive(s)
		}
	}
	if err := m.differs(s, nil, 0, math.MaxInt64); err != nil {
		t.Fatal(err)
	}
	if hourly := m.read(counter, 2, 0, 0, math.MaxInt64); hourly[0].Resets == 0 {
		t.Error("the test has no resets")
	}
}

// TestRetention: files go when their last segment is too old, and old views keep
// what they saw.
func TestRetention(t *testing.T) {
	tiers := testTiers(t, "10s:1d,1m:3d")
	fs := newMemFS()
	s, err := newStore(testConfig(fs, tiers))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stop(s) }()
	b := bucket.Of(100*day, 1)
	s.Add(0, &b)
	if err := s.Seal(100*day+3*hour, 1, none); err != nil {
		t.Fatal(err)
	}
	drive(s)
	view := s.View([]uint32{0}, nil)
	var files []int
	for _, now := range []int64{100*day + 23*hour, 102 * day, 104 * day} {
		s.Maintain(now)
		drive(s)
		files = append(files, s.Stats()[0].Files, s.Stats()[1].Files)
	}
	if want := []int{1, 1, 0, 1, 0, 0}; !slices.Equal(files, want) {
		t.Errorf("files of the two tiers as time goes by: %v, not %v", files, want)
	}
	for tier := range tiers {
		if got, err := view.Read(0, tier, 0, math.MaxInt64, nil); err != nil || len(got) != 1 {
			t.Errorf("an old view of tier %d: %v, %v", tier, got, err)
		}
	}
	if fs.pages() != 2 {
		t.Errorf("%d page files are there for the view, not 2", fs.pages())
	}
	view.Close()
	if fs.pages() != 0 {
		t.Errorf("%d page files are left", fs.pages())
	}
}

// TestMergeFiles: many seals of one window leave few files.
func TestMergeFiles(t *testing.T) {
	tiers := testTiers(t, "10s:10d,1m:100d")
	s, err := newStore(testConfig(newMemFS(), tiers))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stop(s) }()
	m := newNaive(tiers)
	const seals = 2*mergeMost + 2
	for i := range int64(seals) {
		for number := range uint32(3) {
			for _, time := range []int64{100*day + i*minute, 100*day - i*minute, 89*day - i*minute} {
				b := bucket.Of(time+int64(number)+i*7, float64(i))
				s.Add(number*3, &b)
				m.add(number*3, b)
			}
		}
		if err := s.Seal(100*day+2*hour, uint64(i), none); err != nil {
			t.Fatal(err)
		}
		drive(s)
	}
	if err := m.differs(s, nil, 0, math.MaxInt64); err != nil {
		t.Fatal(err)
	}
	for i, tier := range s.Stats() {
		if tier.Files >= 2*mergeMost {
			t.Errorf("tier %d has %d files after %d seals", i, tier.Files, seals)
		}
	}
}

// TestOpenRefuses: what does not fit is an error, not a loss.
func TestOpenRefuses(t *testing.T) {
	config := testConfig(OS{}, testTiers(t, "10s:1d,1m:10d"))
	config.Dir = filepath.Join(t.TempDir(), "0")
	sc := script{tiers: config.Tiers}
	s, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	b := bucket.Of(scriptStart, 1)
	s.Add(0, &b)
	if err := s.Seal(sc.now(1), 1, none); err != nil {
		t.Fatal(err)
	}
	<-s.Committed()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	refused := func(what string, config Config) {
		t.Helper()
		if _, err := Open(config); err == nil {
			t.Errorf("%s was taken", what)
		}
	}
	other := config
	other.Tiers = testTiers(t, "20s:1d,1m:10d")
	refused("another resolution", other)
	other.Tiers = testTiers(t, "10s:1d")
	refused("a tier less", other)

	manifest := filepath.Join(config.Dir, manifestName)
	if err := os.Rename(manifest, manifest+".away"); err != nil {
		t.Fatal(err)
	}
	refused("a folder without its manifest", config)
	if err := os.Rename(manifest+".away", manifest); err != nil {
		t.Fatal(err)
	}
	page := filePath(config.Dir, config.Tiers[0], 1)
	if err := os.Rename(page, page+".away"); err != nil {
		t.Fatal(err)
	}
	refused("a store without one of its files", config)
	if err := os.Rename(page+".away", page); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(manifest, []byte("nonsense"), 0o640); err != nil {
		t.Fatal(err)
	}
	refused("a damaged manifest", config)
	if _, err := Open(config); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a damaged manifest: %v", err)
	}
}

// TestConcurrent lets readers use views while the owner adds and seals, on a real
// disk with a real worker; for the race detector.
func TestConcurrent(t *testing.T) {
	config := testConfig(OS{}, testTiers(t, "10s:1h,1m:1d"))
	config.Dir = filepath.Join(t.TempDir(), "0")
	s, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	const rounds, numbers = 60, 4
	var readers sync.WaitGroup
	now := int64(scriptStart)
	for round := range int64(rounds) {
		now += minute
		for number := range uint32(numbers) {
			for i := range int64(5) {
				b := bucket.Of(now+10*i*second, 1)
				s.Add(number*3, &b)
			}
		}
		view := s.View([]uint32{0, 3, 6, 9}, nil)
		readers.Go(func() {
			defer view.Close()
			readAll(t, view, numbers, 5*(round+1))
		})
		s.Maintain(now)
		if !s.Sealing() {
			if err := s.Seal(now, uint64(round), none); err != nil {
				t.Error(err)
			}
		}
	}
	waitSealed(t, s)
	readers.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	report, err := verify(OS{}, config.Dir)
	if err != nil || len(report.Problems) > 0 || report.Buckets == 0 {
		t.Errorf("verify: %+v, %v", report, err)
	}
}

func readAll(t *testing.T, view *View, numbers uint32, samples int64) {
	for number := range numbers {
		for tier := range 2 {
			buckets, err := view.Read(number*3, tier, 0, math.MaxInt64, nil)
			if err != nil {
				t.Error(err)
			}
			var count uint64
			for _, b := range buckets {
				count += b.Count
			}
			if count != uint64(samples) && count != 0 {
				t.Errorf("series %d, tier %d: %d samples, not %d", number*3, tier, count, samples)
			}
		}
	}
}

func waitSealed(t *testing.T, s *Store) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for s.Sealing() && s.Err() == nil {
		select {
		case <-s.Committed():
		case <-deadline:
			t.Fatal("the seal takes more than ten seconds")
		}
	}
}
