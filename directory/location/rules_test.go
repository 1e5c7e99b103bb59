package location

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// One test a rule of the caches.

func TestCachesFillByUse(t *testing.T) {
	d := openTest(t)
	create(t, d, "a", IDs{RW: 7})
	create(t, d, "elsewhere", IDs{RW: 1000})
	fs := d.fs
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = openWith(t, configOn(fs))
	if s := d.Stats(); s.Names.Positive.Entries+s.IDs.Positive.Entries != 0 {
		t.Fatalf("%d names and %d ids are cached before the first look-up", s.Names.Positive.Entries, s.IDs.Positive.Entries)
	}
	for _, name := range []string{"a", "7", "absent", "8"} {
		look := func() { _, _ = d.Get(name) }
		wantFromDisk(t, d, 1, look)
		wantFromDisk(t, d, 0, look)
	}
}

func TestStalePositivesAreDroppedByTheReadThatFindsThem(t *testing.T) {
	d := openPart(t)
	create(t, d, "a", IDs{RW: 7})
	mustGet(t, d, "a")
	mustGet(t, d, "7")
	do(t, d, Change{Op: Update, Name: "a", Patch: Patch{SetFlags: 4}})
	s := d.Stats()
	if s.Names.Positive.Entries != 1 || s.IDs.Positive.Entries != 1 || s.Names.StaleDrops != 0 {
		t.Fatalf("the change dropped entries itself: %+v", s.Names)
	}
	for _, name := range []string{"a", "7"} {
		wantFromDisk(t, d, 1, func() {
			if e := mustGet(t, d, name); e.Flags != 4 {
				t.Fatalf("flags %d, want those of the update", e.Flags)
			}
		})
	}
	s = d.Stats()
	if s.Names.StaleDrops != 1 || s.IDs.StaleDrops != 1 {
		t.Fatalf("%d names and %d ids dropped, want 1 and 1", s.Names.StaleDrops, s.IDs.StaleDrops)
	}
}

func TestStalePositiveOfADeletedEntry(t *testing.T) {
	d := openTest(t)
	create(t, d, "a", IDs{RW: 7, RO: 8})
	for _, name := range []string{"a", "7", "8"} {
		mustGet(t, d, name)
	}
	do(t, d, Change{Op: Delete, Name: "a"})
	mustBeAbsent(t, d, "a", "7", "8")
	if s := d.Stats(); s.Names.Positive.Entries+s.IDs.Positive.Entries != 0 {
		t.Fatal("the deleted entry is still cached")
	}
}

func TestNegativesAreDroppedInTheStepThatChanges(t *testing.T) {
	entry := Entry{Name: "new", IDs: IDs{RW: 70}}
	steps := []struct {
		name   string
		change Change
		now    []string // absent before, there after
	}{
		{"create", Change{Op: Create, Entry: entry}, []string{"new", "70"}},
		{"rename by replace", Change{Op: Replace, Name: "old", Entry: entry}, []string{"new", "70"}},
		{"rename by update", Change{Op: Update, Name: "old", Patch: Patch{Name: ptr("new")}}, []string{"new"}},
		{"ids by update", Change{Op: Update, Name: "old", Patch: Patch{RO: ptr(uint64(71)), BK: ptr(uint64(72))}}, []string{"71", "72"}},
	}
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			d := openTest(t)
			old := create(t, d, "old", IDs{RW: 7})
			mustBeAbsent(t, d, step.now...)
			wantFromDisk(t, d, 0, func() { mustBeAbsent(t, d, step.now...) })
			if step.change.Op == Replace {
				step.change.Version = old.Version
			}
			do(t, d, step.change)
			s := d.Stats()
			if left := s.Names.Negative.Entries + s.IDs.Negative.Entries; left != 0 {
				t.Fatalf("%d absences are left when the change counts as applied", left)
			}
			for _, name := range step.now {
				mustGet(t, d, name)
			}
		})
	}
}

func TestLostNegativeFillIsRefused(t *testing.T) {
	for _, name := range []string{"a", "7"} {
		t.Run(name, func(t *testing.T) {
			d := openPart(t)
			d.beforeFill = func() { // the reader found nothing, and is overtaken
				d.beforeFill = nil
				create(t, d, "a", IDs{RW: 7})
			}
			mustBeAbsent(t, d, name)
			if s := d.Stats(); s.Names.RefusedFills+s.IDs.RefusedFills != 1 || s.Names.Negative.Entries+s.IDs.Negative.Entries != 0 {
				t.Fatalf("the late absence was cached: %+v %+v", s.Names, s.IDs)
			}
			mustGet(t, d, name)
		})
	}
}

func TestLostPositiveFillIsRefused(t *testing.T) {
	d := openPart(t)
	create(t, d, "a", IDs{RW: 7})
	d.beforeFill = func() {
		d.beforeFill = nil
		do(t, d, Change{Op: Update, Name: "a", Patch: Patch{SetFlags: 1}})
	}
	if e := mustGet(t, d, "a"); e.Flags != 0 {
		t.Fatal("the reader was to read before the update")
	}
	if s := d.Stats(); s.Names.RefusedFills != 1 {
		t.Fatalf("the old entry was cached: %+v", s.Names)
	}
	if e := mustGet(t, d, "a"); e.Flags != 1 {
		t.Fatal("an old entry is served")
	}
}

// A fill between commit and publish is in time, and goes with the rest.
func TestFillBetweenCommitAndPublish(t *testing.T) {
	d := openTest(t)
	mustBeAbsent(t, d, "a")
	key := d.names.key(query{name: "a"})
	began := d.Revision()
	tx := &transaction{db: d.db, batch: d.db.NewIndexedBatch(), state: d.state, servers: d.servers.Load()}
	c := Change{Op: Create, Entry: Entry{Name: "a"}}
	if _, err := tx.applyAll([]Numbered{{Revision: began + 1, Change: c}}); err != nil {
		t.Fatal(err)
	}
	if err := tx.commit(); err != nil {
		t.Fatal(err)
	}
	d.names.fill(key, began, nil)
	d.publish(tx)
	mustGet(t, d, "a")
}

// A cache that has every name answers for all others, and every way in which it may
// cease to have them ends that.
func TestWholeCacheKnowsWhatIsAbsent(t *testing.T) {
	d := openTest(t)
	create(t, d, "a", IDs{RW: 7})
	create(t, d, "b", IDs{RW: 8})
	fs := d.fs
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = openWith(t, configOn(fs))
	mustGet(t, d, "a")
	wantWhole(t, d, false)
	mustGet(t, d, "b")
	wantWhole(t, d, true)
	for _, change := range []Change{
		{Op: Create, Entry: Entry{Name: "c"}},
		{Op: Update, Name: "a", Patch: Patch{SetFlags: 4}},
		{Op: Update, Name: "b", Patch: Patch{Name: ptr("d")}},
		{Op: Delete, Name: "a"},
	} {
		do(t, d, change)
		wantWhole(t, d, true)
		wantFromDisk(t, d, 0, func() { mustBeAbsent(t, d, "e", "f") })
		if name := change.Entry.Name; name != "" {
			mustGet(t, d, name)
			do(t, d, Change{Op: Delete, Name: name})
		}
		if change.Patch.Name != nil {
			mustGet(t, d, "d")
			mustBeAbsent(t, d, "b")
		}
	}
	d.ServeNegatives(false)
	wantFromDisk(t, d, 2, func() { mustBeAbsent(t, d, "g", "h") })
	d.ServeNegatives(true)
	for i := range 100 { // more than the cache has room for
		create(t, d, fmt.Sprintf("n%d", i), IDs{})
	}
	wantWhole(t, d, false)
	for i := range 100 {
		mustGet(t, d, fmt.Sprintf("n%d", i))
	}
}

func wantWhole(t *testing.T, d *Directory, want bool) {
	t.Helper()
	if s := d.Stats(); s.Names.Whole != want {
		t.Fatalf("whole is %v with %d of %d entries cached", s.Names.Whole, s.Names.Positive.Entries, s.Entries)
	}
}

// What a reader caches between a commit and its publication may be of an entry that
// is not counted yet, in place of one that is.
func TestSpaceIsNotWholeBetweenCommitAndPublish(t *testing.T) {
	d := openPart(t)
	tx := &transaction{db: d.db, batch: d.db.NewIndexedBatch(), state: d.state, servers: d.servers.Load()}
	if _, err := tx.applyAll([]Numbered{{Revision: d.Revision() + 1, Change: Change{Op: Create, Entry: Entry{Name: "a"}}}}); err != nil {
		t.Fatal(err)
	}
	d.names.suspend()
	if err := tx.commit(); err != nil {
		t.Fatal(err)
	}
	mustGet(t, d, "a")
	wantWhole(t, d, false)
	mustGet(t, d, "elsewhere")
	d.publish(tx)
	wantWhole(t, d, true)
}

func TestRestoreEmptiesAllFourCaches(t *testing.T) {
	d := openTest(t)
	create(t, d, "kept", IDs{RW: 7})
	if err := d.Backup("backup"); err != nil {
		t.Fatal(err)
	}
	revision := d.Revision()
	create(t, d, "lost", IDs{RW: 8})
	do(t, d, Change{Op: Delete, Name: "kept"})
	for _, name := range []string{"lost", "8", "kept", "7", "never", "9"} {
		_, _ = d.Get(name)
	}
	if err := d.Restore("backup"); err != nil {
		t.Fatal(err)
	}
	s := d.Stats()
	for what, n := range map[string]int{
		"names": s.Names.Positive.Entries, "absent names": s.Names.Negative.Entries,
		"ids": s.IDs.Positive.Entries, "absent ids": s.IDs.Negative.Entries,
	} {
		if n != 0 {
			t.Errorf("%d %s are cached", n, what)
		}
	}
	if d.Revision() != revision {
		t.Errorf("revision %d, want the backup's %d", d.Revision(), revision)
	}
	mustGet(t, d, "kept")
	mustGet(t, d, "7")
	mustBeAbsent(t, d, "lost", "8")
	// Fills of the restored database are not measured by the other one's revisions.
	wantFromDisk(t, d, 0, func() { mustBeAbsent(t, d, "lost", "8") })
	wantFromDisk(t, d, 0, func() { mustGet(t, d, "kept") })
}

func TestFailedCommitChangesNoCache(t *testing.T) {
	fs := newFailingFS(vfs.NewMem())
	d := openPartOn(t, fs)
	create(t, d, "a", IDs{RW: 7})
	mustGet(t, d, "a")
	mustBeAbsent(t, d, "b", "8")
	revision := d.Revision()
	fs.fail.Store(true)
	_, err := d.Apply(revision+1, Change{Op: Replace, Name: "a", Version: revision, Entry: Entry{Name: "b", IDs: IDs{RW: 8}}})
	if !errors.Is(err, ErrStopped) || !errors.Is(err, errInjected) {
		t.Fatalf("Apply: %v, want it stopped by the injected error", err)
	}
	fs.fail.Store(false)
	if d.Revision() != revision {
		t.Fatalf("revision %d after a failed commit, want %d", d.Revision(), revision)
	}
	if e := mustGet(t, d, "a"); e.IDs.RW != 7 {
		t.Fatalf("got %+v", e)
	}
	mustBeAbsent(t, d, "b", "8")
	// What the disk has nobody knows, so nobody is told; and nothing is tried again.
	if _, err := d.Get("c"); !errors.Is(err, ErrStopped) {
		t.Fatalf("look-up past the caches: %v, want ErrStopped", err)
	}
	if _, err := d.Apply(revision+2, Change{Op: NewID, Count: 1}); !errors.Is(err, ErrStopped) {
		t.Fatalf("Apply after a failed commit: %v, want ErrStopped", err)
	}
	_ = d.Close() // what Pebble makes of it is logged
	d = openWith(t, configOn(fs))
	if got := d.Revision(); got != revision && got != revision+1 {
		t.Fatalf("revision %d after the restart", got)
	}
	_, errA := d.Get("a")
	_, errB := d.Get("b")
	if (errA == nil) == (errB == nil) {
		t.Fatalf("a: %v, b: %v; want exactly one of them there", errA, errB)
	}
}

func TestNegativeNeedsPositive(t *testing.T) {
	for _, caches := range []Caches{{AbsentNames: 6}, {Names: 6, AbsentIDs: 6}} {
		config := configOn(vfs.NewMem())
		config.Caches = caches
		if _, err := Open(config); err == nil {
			t.Errorf("%+v was taken", caches)
		}
	}
}

func TestCachesMayBeOff(t *testing.T) {
	for _, caches := range []Caches{{}, {Names: 6}, {IDs: 6}, {Names: 6, AbsentNames: 6}} {
		t.Run(fmt.Sprintf("%+v", caches), func(t *testing.T) {
			config := configOn(vfs.NewMem())
			config.Caches = caches
			d := openWith(t, config)
			create(t, d, "a", IDs{RW: 7})
			for range 2 {
				mustGet(t, d, "a")
				mustGet(t, d, "7")
				mustBeAbsent(t, d, "b", "8")
				ids, found := make([]IDs, 4), make([]bool, 4)
				if err := d.ResolveIDs([]string{"a", "7", "b", "8"}, ids, found); err != nil || !found[0] || !found[1] || found[2] || found[3] {
					t.Fatal(err, ids, found)
				}
			}
		})
	}
}

func TestServeNegativesOff(t *testing.T) {
	d := openTest(t)
	mustBeAbsent(t, d, "a")
	d.ServeNegatives(false)
	wantFromDisk(t, d, 2, func() {
		mustBeAbsent(t, d, "a")
		_ = d.ResolveIDs([]string{"a"}, make([]IDs, 1), make([]bool, 1))
	})
	if !d.Stats().NegativesOff {
		t.Fatal("and does not say so")
	}
	d.ServeNegatives(true)
	wantFromDisk(t, d, 0, func() { mustBeAbsent(t, d, "a") })
}

// An entry of any size is cached, and more large ones than there is room for push
// each other out, and only each other.
func TestLargeEntriesShareTheirSlots(t *testing.T) {
	d := openTest(t)
	sites := make([]Site, MaxSites)
	for i := range sites {
		sites[i] = Site{Server: []string{"s1", "s2"}[i%2], Partition: uint32(i), Flags: ^uint32(i)}
	}
	create(t, d, "small", IDs{RW: 1})
	mustGet(t, d, "small")
	for i := range 2 * minLarge {
		name := strings.Repeat("x", MaxName-2) + fmt.Sprintf("%02d", i)
		want := create(t, d, name, IDs{}, sites...)
		mustGet(t, d, name)
		wantFromDisk(t, d, 0, func() {
			if got := mustGet(t, d, name); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("got %+v, want %+v", got, want)
			}
		})
	}
	if s := d.Stats(); s.Names.Squeezed != minLarge || s.Names.Positive.Entries != minLarge+1 {
		t.Fatalf("%d squeezed out, %d cached", s.Names.Squeezed, s.Names.Positive.Entries)
	}
	wantFromDisk(t, d, 0, func() { mustGet(t, d, "small") })
}

// However many entries go through it, the cache holds what it has room for, and no
// slot is lost.
func TestCacheIsBounded(t *testing.T) {
	d := openTest(t)
	for i := range 500 {
		create(t, d, fmt.Sprintf("n%d", i), IDs{})
	}
	for range 4 {
		for i := range 500 {
			mustGet(t, d, fmt.Sprintf("n%d", i))
		}
	}
	p := d.names.positive
	if inUse := int(p.small.used) - len(p.small.free); inUse != p.table.Len() || inUse > 1<<allCaches.Names {
		t.Fatalf("%d slots in use for %d entries", inUse, p.table.Len())
	}
}

// betweenReads runs something before the second reading of a look-up by id.
type betweenReads struct {
	pebble.Reader
	reads int
	then  func()
}

func (b *betweenReads) Get(key []byte) ([]byte, io.Closer, error) {
	if b.reads++; b.reads == 2 {
		b.then()
	}
	return b.Reader.Get(key)
}

func TestIDMovesBetweenTheTwoReads(t *testing.T) {
	d := openTest(t)
	create(t, d, "first", IDs{RW: 7})
	read := func(then func()) (record, error) {
		var r record
		err := readRecord(&betweenReads{Reader: d.db, then: then}, query{id: 7}, &r)
		return r, err
	}
	r, err := read(func() {
		do(t, d, Change{Op: Update, Name: "first", Patch: Patch{RW: ptr(uint64(8))}})
		create(t, d, "second", IDs{RW: 7})
	})
	if err != nil || r.name.String() != "second" {
		t.Errorf("got %q with ids %v, %v; the id had moved to another entry", &r.name, r.ids, err)
	}
	if r, err = read(func() { do(t, d, Change{Op: Delete, Name: "second"}) }); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %q, %v; the entry had gone", &r.name, err)
	}
}
