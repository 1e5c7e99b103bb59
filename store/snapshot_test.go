package store

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"carillon/bucket"
)

func openDisk(t *testing.T, dir string) *Store {
	t.Helper()
	config := testConfig(OS{}, testTiers(t, "10s:1h,1m:1d"))
	config.Dir = dir
	s, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// contents is what a store has of a series in all tiers.
func contents(t *testing.T, s *Store, number uint32) []bucket.Bucket {
	t.Helper()
	v := s.View([]uint32{number}, nil)
	defer v.Close()
	var all []bucket.Bucket
	for tier := range s.config.Tiers {
		var err error
		if all, err = v.Read(number, tier, 0, math.MaxInt64, all); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// TestSnapshot copies a snapshot's files after the store has gone on, and finds in
// the copy what the store had.
func TestSnapshot(t *testing.T) {
	s := openDisk(t, filepath.Join(t.TempDir(), "000"))
	seal := func(through uint64, from int64) {
		t.Helper()
		for i := range int64(100) {
			b := bucket.Of(from+10_000*i, float64(i))
			s.Add(7, &b)
		}
		if err := s.Seal(from+1_000_000, through, func(func(uint32, bucket.Bucket) bool) {}); err != nil {
			t.Fatal(err)
		}
		<-s.Committed()
	}
	const start = 1_700_000_000_000
	seal(5, start)
	if err := s.Delete(Deletion{Numbers: []uint32{7}, From: start, To: start + 20_000}); err != nil {
		t.Fatal(err)
	}
	snapshot := s.Snapshot()
	want := contents(t, s, 7)
	seal(9, start+1_000_000)
	if err := s.Delete(Deletion{Numbers: []uint32{7}, From: 0, To: math.MaxInt64}); err != nil {
		t.Fatal(err)
	}

	copied := filepath.Join(t.TempDir(), "copy")
	for _, f := range snapshot.Files() {
		data := f.Content
		if f.From != "" {
			var err error
			if data, err = os.ReadFile(f.From); err != nil {
				t.Fatal(err)
			}
		}
		if int64(len(data)) != f.Size || checksum(data) != f.CRC {
			t.Errorf("%s: %d bytes with checksum %08x, not %d with %08x", f.Path, len(data), checksum(data), f.Size, f.CRC)
		}
		to := filepath.Join(copied, f.Path)
		if err := os.MkdirAll(filepath.Dir(to), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, data, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if snapshot.Sealed() != 5 {
		t.Errorf("sealed through %d, want 5", snapshot.Sealed())
	}
	snapshot.Release()
	if err := MoveSealed(copied, 12); err != nil {
		t.Fatal(err)
	}
	c := openDisk(t, copied)
	if c.Sealed() != 12 {
		t.Errorf("the copy is sealed through %d, want 12", c.Sealed())
	}
	if have := contents(t, c, 7); !slices.Equal(have, want) || len(want) < 97 {
		t.Errorf("the copy has\n%v\nwant\n%v", have, want)
	}
	if report, err := verify(OS{}, copied); err != nil || len(report.Problems) > 0 {
		t.Errorf("verify: %v, %v", err, report.Problems)
	}
}
