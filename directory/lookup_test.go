package directory

import (
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"carillon/series"
)

// wantIndex checks how many look-ups have reached the index so far.
func wantIndex(t *testing.T, d *Directory, found, absent uint64) {
	t.Helper()
	if s := d.CacheStats(); s.IndexFound != found || s.IndexAbsent != absent {
		t.Errorf("the index found %d and missed %d, want %d and %d", s.IndexFound, s.IndexAbsent, found, absent)
	}
}

func lookUp(t *testing.T, d *Directory, k series.Key, want bool) {
	t.Helper()
	if _, ok := d.Lookup(k); ok != want {
		t.Errorf("Lookup(%s): %v, want %v", k.Format(), ok, want)
	}
}

func TestCachesAreFilledByUse(t *testing.T) {
	fs := vfs.NewMem()
	d := openMem(t, fs, 2)
	known, unknown := key(t, series.MetricName, "known"), key(t, series.MetricName, "unknown")
	define(t, d, known)
	closeNow(t, d)

	d = openMem(t, fs, 2)
	wantIndex(t, d, 0, 0) // nothing is read at the start
	for range 3 {
		lookUp(t, d, known, true)
		lookUp(t, d, unknown, false)
	}
	wantIndex(t, d, 1, 1)
	if s := d.CacheStats(); s.Positive.Entries != 1 || s.Negative.Entries != 1 {
		t.Errorf("caches hold %d and %d", s.Positive.Entries, s.Negative.Entries)
	}
}

func TestDefiningDropsTheNegativeAtOnce(t *testing.T) {
	d := openMem(t, vfs.NewMem(), 2)
	k := key(t, series.MetricName, "late")
	lookUp(t, d, k, false)
	lookUp(t, d, k, false)
	wantIndex(t, d, 0, 1)
	define(t, d, k)
	lookUp(t, d, k, true)
	if s := d.CacheStats(); s.Negative.Entries != 0 {
		t.Errorf("%d negatives are left", s.Negative.Entries)
	}
}

// TestSlowNegativeFillIsRefused forces the race: a look-up reads "absent", the
// key is defined, and only then does the look-up come to fill the cache.
func TestSlowNegativeFillIsRefused(t *testing.T) {
	d := openMem(t, vfs.NewMem(), 2)
	k := key(t, series.MetricName, "raced")
	d.lookups.afterIndex = func() {
		d.lookups.afterIndex = nil
		define(t, d, k)
	}
	lookUp(t, d, k, false) // what it read was true when it read
	lookUp(t, d, k, true)
	if s := d.CacheStats(); s.Negative.Entries != 0 {
		t.Error("a late absent was cached over a newer create")
	}
}

func TestFailedDefinitionChangesNoCache(t *testing.T) {
	d := openMem(t, vfs.NewMem(), 2)
	k := keyIn(t, 1, 2, "wrong")
	lookUp(t, d, k, false)
	before := d.CacheStats()
	if _, err := d.Define(0, []series.Definition{{Key: k}}); err == nil {
		t.Fatal("a key of another partition was defined")
	}
	after := d.CacheStats()
	if after.Positive.Entries != before.Positive.Entries || after.Negative.Entries != before.Negative.Entries {
		t.Errorf("caches changed: %+v, %+v", before, after)
	}
}

func TestCachesMayBeOff(t *testing.T) {
	for _, c := range []Caches{{}, {Series: 6}} {
		d, err := open(vfs.NewMem(), testDir, 2, c, quiet())
		if err != nil {
			t.Fatal(err)
		}
		k := key(t, series.MetricName, "x")
		lookUp(t, d, k, false)
		define(t, d, k)
		lookUp(t, d, k, true)
		closeNow(t, d)
	}
	for c, want := range map[Caches]string{{Absent: 6}: "needs the one of the present", {Series: 99}: "cache of series", {Series: 6, Absent: 1}: "cache of absent series"} {
		if _, err := open(vfs.NewMem(), testDir, 2, c, quiet()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want %q", c, err, want)
		}
	}
}

// TestEvictedSeriesAreFound has many more series than the cache has room.
func TestEvictedSeriesAreFound(t *testing.T) {
	d, err := open(vfs.NewMem(), testDir, 2, Caches{Series: 5, Absent: 5}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer closeNow(t, d)
	keys := named(t, 500)
	ids := define(t, d, keys...)
	for i, k := range keys {
		if id, ok := d.Lookup(k); !ok || id != ids[i] {
			t.Fatalf("%s: %d, %v; want %d", k.Format(), id, ok, ids[i])
		}
	}
	if s := d.CacheStats(); s.Positive.Evictions == 0 || s.IndexFound == 0 {
		t.Errorf("nothing was evicted: %+v", s)
	}
}
