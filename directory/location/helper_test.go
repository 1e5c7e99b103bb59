package location

import (
	"errors"
	"io"
	"log/slog"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const testDir = "location"

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// fataler is what testing and rapid have in common.
type fataler interface {
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// allCaches is small, so that tests see evictions.
var allCaches = Caches{Names: 6, AbsentNames: 6, IDs: 6, AbsentIDs: 6}

func configOn(fs vfs.FS) Config {
	return Config{Dir: testDir, FS: fs, Logger: quiet(), Caches: allCaches}
}

func openWith(t testing.TB, config Config) *Directory {
	t.Helper()
	d, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() }) // a second Close does nothing
	return d
}

// openTest opens a new directory with the servers s1 and s2.
func openTest(t testing.TB) *Directory {
	t.Helper()
	d := openWith(t, configOn(vfs.NewMem()))
	do(t, d, Change{Op: RegisterServer, Name: "s1"})
	do(t, d, Change{Op: RegisterServer, Name: "s2"})
	return d
}

// openPart is openTest with an entry that is in no cache, so that a miss says nothing.
func openPart(t testing.TB) *Directory { return openPartOn(t, vfs.NewMem()) }

func openPartOn(t testing.TB, fs vfs.FS) *Directory {
	t.Helper()
	d := openWith(t, configOn(fs))
	do(t, d, Change{Op: RegisterServer, Name: "s1"})
	create(t, d, "elsewhere", IDs{RW: 1000})
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return openWith(t, configOn(fs))
}

// try applies a change with the next revision.
func try(t testing.TB, d *Directory, c Change) Result {
	t.Helper()
	result, err := d.Apply(d.Revision()+1, c)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// do is try for what must not be refused.
func do(t testing.TB, d *Directory, c Change) Result {
	t.Helper()
	result := try(t, d, c)
	if result.Err != nil {
		t.Fatalf("%s %s%s: refused: %v", c.Op, c.Name, c.Entry.Name, result.Err)
	}
	return result
}

func create(t testing.TB, d *Directory, name string, ids IDs, sites ...Site) Entry {
	t.Helper()
	return do(t, d, Change{Op: Create, Time: 1000, Entry: Entry{Name: name, IDs: ids, Sites: sites}}).Entry
}

func mustGet(t testing.TB, d *Directory, name string) Entry {
	t.Helper()
	e, err := d.Get(name)
	if err != nil {
		t.Fatalf("Get(%s): %v", name, err)
	}
	return e
}

func mustBeAbsent(t testing.TB, d *Directory, names ...string) {
	t.Helper()
	for _, name := range names {
		if e, err := d.Get(name); !errors.Is(err, ErrNotFound) {
			t.Fatalf("Get(%s) = %+v, %v; want absent", name, e, err)
		}
	}
}

// fromDisk tells how many look-ups went past the caches while f ran.
func fromDisk(d *Directory, f func()) uint64 {
	count := func() uint64 {
		s := d.Stats()
		return s.Names.DiskFound + s.Names.DiskAbsent + s.IDs.DiskFound + s.IDs.DiskAbsent
	}
	before := count()
	f()
	return count() - before
}

func wantFromDisk(t *testing.T, d *Directory, want uint64, f func()) {
	t.Helper()
	if got := fromDisk(d, f); got != want {
		t.Fatalf("%d look-ups went to the disk, want %d", got, want)
	}
}

func ptr[T any](v T) *T { return &v }
