package pack

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"carillon/object"
	"carillon/object/conformance"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// slowDisk takes a time for each sync of data, and counts them.
type slowDisk struct {
	took  time.Duration
	syncs atomic.Int64
}

func (d *slowDisk) MaybeError(op errorfs.Op) error {
	if op.Kind == errorfs.OpFileSyncData {
		d.syncs.Add(1)
		time.Sleep(d.took)
	}
	return nil
}

func (d *slowDisk) String() string { return "slow disk" }

// onSlowDisk runs a test with a store and with a clock of its own, which stands still while anything computes.
func onSlowDisk(t *testing.T, test func(t *testing.T, s *Store, disk *slowDisk)) {
	synctest.Test(t, func(t *testing.T) {
		disk := &slowDisk{took: time.Millisecond}
		s, err := Open(Config{Dir: "/objects", FS: errorfs.Wrap(vfs.NewMem(), disk), Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		disk.syncs.Store(0)
		test(t, s, disk)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func putOne(t *testing.T, s *Store, name string) { putVersion(t, s, name, 1) }

func putVersion(t *testing.T, s *Store, name string, version uint64) {
	if _, err := s.Put(t.Context(), name, bytes.NewReader([]byte(name)), object.Put{Version: conformance.V(version), Size: int64(len(name))}); err != nil {
		t.Error(err)
	}
}

// TestCrowdSharesSyncs: writers that put again when they are answered share each sync, also if it takes them a while.
func TestCrowdSharesSyncs(t *testing.T) {
	const writers, rounds = 8, 50
	onSlowDisk(t, func(t *testing.T, s *Store, disk *slowDisk) {
		var all sync.WaitGroup
		for w := range writers {
			all.Go(func() {
				for round := range rounds {
					putOne(t, s, fmt.Sprint(w, "/", round))
					time.Sleep(time.Duration(50+10*w) * time.Microsecond)
				}
			})
		}
		all.Wait()
		if n := disk.syncs.Load(); n > rounds+5 {
			t.Errorf("%d puts by %d writers: %d syncs, want about %d", writers*rounds, writers, n, rounds)
		}
	})
}

// TestRivalsHurryNobody: of those who write one name, one waits for the sync of the other, and the rest still share theirs.
func TestRivalsHurryNobody(t *testing.T) {
	const writers, rounds = 8, 50
	onSlowDisk(t, func(t *testing.T, s *Store, disk *slowDisk) {
		var all sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		for w := range writers {
			all.Go(func() {
				for round := range rounds {
					putOne(t, s, fmt.Sprint(w, "/", round))
					time.Sleep(time.Duration(50+10*w) * time.Microsecond)
				}
			})
		}
		var version atomic.Uint64
		var rivals sync.WaitGroup
		for range 2 {
			rivals.Go(func() {
				for ctx.Err() == nil {
					putVersion(t, s, "contended", version.Add(1))
					time.Sleep(30 * time.Microsecond)
				}
			})
		}
		all.Wait()
		cancel()
		rivals.Wait()
		if n := disk.syncs.Load(); n > rounds+rounds/5 {
			t.Errorf("%d rounds of %d writers and two rivals: %d syncs", rounds, writers, n)
		}
	})
}

// TestLonelyWriterWaitsForNobody: a put takes as long as its sync.
func TestLonelyWriterWaitsForNobody(t *testing.T) {
	onSlowDisk(t, func(t *testing.T, s *Store, disk *slowDisk) {
		for i := range 20 {
			begun := time.Now()
			putOne(t, s, fmt.Sprint(i))
			if took := time.Since(begun); took != disk.took {
				t.Errorf("put %d took %v, its sync %v", i, took, disk.took)
			}
		}
	})
}

// TestStrangersSoonStopWaiting: of puts that come at their own times, hardly any waits longer than for the sync under way and its own.
func TestStrangersSoonStopWaiting(t *testing.T) {
	const puts = 1000
	onSlowDisk(t, func(t *testing.T, s *Store, disk *slowDisk) {
		var late atomic.Int64
		var all sync.WaitGroup
		for i := range puts {
			all.Go(func() {
				begun := time.Now()
				putOne(t, s, fmt.Sprint(i))
				if time.Since(begun) > 2*disk.took {
					late.Add(1)
				}
			})
			time.Sleep(700 * time.Microsecond)
		}
		all.Wait()
		if n := late.Load(); n > puts/20 {
			t.Errorf("%d of %d puts waited for others", n, puts)
		}
	})
}
