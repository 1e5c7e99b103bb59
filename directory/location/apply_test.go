package location

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
)

// dump is everything a database holds, but for the state record.
func dump(t fataler, d *Directory) map[string]string {
	all := make(map[string]string)
	iter, err := d.db.NewIter(&pebble.IterOptions{LowerBound: []byte{nameSpace}, UpperBound: []byte{endOfSpaces}})
	if err != nil {
		t.Fatal(err)
	}
	for valid := iter.First(); valid; valid = iter.Next() {
		all[string(iter.Key())] = string(iter.Value())
	}
	if err := errors.Join(iter.Error(), iter.Close()); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestOperations(t *testing.T) {
	d := openTest(t)
	sites := []Site{{"s1", 2, 1}, {"s2", 3, 4}, {"s1", 2, 8}}
	a := create(t, d, "a", IDs{RW: 7, BK: 9}, sites...)
	want := Entry{Name: "a", IDs: IDs{RW: 7, BK: 9}, Sites: sites, Version: 3, Modified: 1000}
	if diff := cmp.Diff(want, a); diff != "" {
		t.Fatal(diff)
	}
	for _, name := range []string{"a", "a.readonly", "a.backup", "7", "9", "7.readonly", "009"} {
		if diff := cmp.Diff(want, mustGet(t, d, name)); diff != "" {
			t.Fatal(name, diff)
		}
	}
	mustBeAbsent(t, d, "b", "8", "0", "", "99999999999999999999999", "a.readonly.backup", ".readonly")
	if e, err := d.GetByID(9); err != nil || e.Name != "a" {
		t.Fatal(e, err)
	}

	do(t, d, Change{Op: Replace, Time: 2000, Name: "7", Version: 3, Entry: Entry{Name: "b", IDs: IDs{RO: 7}, Flags: 5}})
	want = Entry{Name: "b", IDs: IDs{RO: 7}, Flags: 5, Version: 4, Modified: 2000}
	if diff := cmp.Diff(want, mustGet(t, d, "7")); diff != "" {
		t.Fatal(diff)
	}
	mustBeAbsent(t, d, "a", "9")

	result := do(t, d, Change{Op: Update, Time: 3000, Name: "b", Patch: Patch{
		Name: ptr("c"), RW: ptr(uint64(70)), RO: ptr(uint64(0)), SetFlags: 8, ClearFlags: 1, AddSites: sites,
	}})
	want = Entry{Name: "c", IDs: IDs{RW: 70}, Flags: 12, Sites: sites, Version: 5, Modified: 3000}
	if diff := cmp.Diff(want, result.Entry); diff != "" {
		t.Fatal(diff)
	}
	do(t, d, Change{Op: Update, Name: "c", Patch: Patch{RemoveSites: []Place{{"s1", 2}}, AddSites: []Site{{"s1", 9, 0}}}})
	if diff := cmp.Diff([]Site{{"s2", 3, 4}, {"s1", 9, 0}}, mustGet(t, d, "c").Sites); diff != "" {
		t.Fatal(diff)
	}
	if gone := do(t, d, Change{Op: Delete, Name: "c"}).Entry; gone.Name != "c" {
		t.Fatalf("deleted %+v", gone)
	}
	mustBeAbsent(t, d, "b", "c", "7", "70")
	if left := dump(t, d); len(left) != 2 || d.Stats().Entries != 0 {
		t.Fatalf("left behind: %q, %d entries; want the two servers", left, d.Stats().Entries)
	}
}

func TestNewIDsAreFresh(t *testing.T) {
	d := openTest(t)
	create(t, d, "a", IDs{RW: 3, RO: math.MaxUint64})
	for _, step := range []struct{ count, first uint32 }{{2, 1}, {1, 4}, {3, 5}} {
		if first := do(t, d, Change{Op: NewID, Count: step.count}).FirstID; first != uint64(step.first) {
			t.Fatalf("%d new ids begin at %d, want %d", step.count, first, step.first)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = openWith(t, configOn(d.fs))
	if first := do(t, d, Change{Op: NewID, Count: 1}).FirstID; first != 8 {
		t.Fatalf("after a restart the next id is %d, want 8", first)
	}
	d.state.nextID = math.MaxUint64 - 1
	if r := try(t, d, Change{Op: NewID, Count: 2}); !errors.Is(r.Err, ErrNoIDs) {
		t.Fatalf("at the end of all ids: %v", r.Err)
	}
}

func TestLocks(t *testing.T) {
	d := openTest(t)
	create(t, d, "a", IDs{RW: 7})
	lock := Change{Op: TakeLock, Time: 1000, Name: "a", Owner: "me", LockKind: 3, Expires: 2000}
	if got := do(t, d, lock).Entry.Lock; got != (Lock{"me", 3, 2000}) {
		t.Fatalf("lock %+v", got)
	}
	if got := mustGet(t, d, "7").Lock; got != (Lock{"me", 3, 2000}) {
		t.Fatalf("lock %+v", got)
	}
	set := Patch{SetFlags: 1}
	steps := []struct {
		change Change
		want   error
	}{
		{Change{Op: Update, Time: 1500, Name: "a", Owner: "you", Patch: set}, ErrLocked},
		{Change{Op: Update, Time: 1500, Name: "a", Patch: set}, ErrLocked},
		{Change{Op: Delete, Time: 1999, Name: "a", Owner: "you"}, ErrLocked},
		{Change{Op: TakeLock, Time: 1999, Name: "a", Owner: "you", Expires: 9000}, ErrLocked},
		{Change{Op: ReleaseLock, Time: 1999, Name: "a", Owner: "you"}, ErrLocked},
		{Change{Op: Update, Time: 1500, Name: "a", Owner: "me", Patch: set}, nil},
		{Change{Op: TakeLock, Time: 1600, Name: "a", Owner: "me", Expires: 3000}, nil},
		{Change{Op: TakeLock, Time: 2999, Name: "a", Owner: "you", Expires: 4000}, ErrLocked},
		{Change{Op: TakeLock, Time: 3000, Name: "a", Owner: "you", Expires: 4000}, nil},
		{Change{Op: ReleaseLock, Time: 3500, Name: "a", Owner: "you"}, nil},
		{Change{Op: ReleaseLock, Time: 3500, Name: "a", Owner: "you"}, nil},
		{Change{Op: Update, Time: 3500, Name: "a", Patch: set}, nil},
		{Change{Op: TakeLock, Time: 3500, Name: "a", Expires: 4000}, ErrBadChange},
		{Change{Op: TakeLock, Time: 3500, Name: "a", Owner: "me", Expires: 3500}, ErrBadChange},
		{Change{Op: TakeLock, Time: 3500, Name: "a", Owner: "me", Expires: 3500 + MaxLockMillis + 1}, ErrBadChange},
		{Change{Op: TakeLock, Time: 3500, Name: "a", Owner: strings.Repeat("m", MaxOwner+1), Expires: 4000}, ErrBadChange},
	}
	for i, step := range steps {
		if r := try(t, d, step.change); !errors.Is(r.Err, step.want) {
			t.Fatalf("step %d: %v, want %v", i, r.Err, step.want)
		}
	}
	if got := mustGet(t, d, "a").Lock; got != (Lock{}) {
		t.Fatalf("lock %+v is left", got)
	}
}

func TestRefusedChangesChangeNothingButTheRevision(t *testing.T) {
	d := openTest(t)
	create(t, d, "a", IDs{RW: 7}, Site{Server: "s1"})
	create(t, d, "b", IDs{RW: 8})
	do(t, d, Change{Op: RegisterServer, Name: "s3"})
	do(t, d, Change{Op: UnregisterServer, Name: "s3"})
	newEntry := func(e Entry) Change { return Change{Op: Create, Entry: e} }
	tests := []struct {
		name   string
		change Change
		want   error
		part   string
	}{
		{"exists", newEntry(Entry{Name: "a"}), ErrExists, "a"},
		{"name missing", newEntry(Entry{}), ErrBadEntry, "0 bytes"},
		{"name too long", newEntry(Entry{Name: strings.Repeat("n", MaxName+1)}), ErrBadEntry, "65 bytes"},
		{"bad character", newEntry(Entry{Name: "a/b"}), ErrBadEntry, "'/' at byte 1"},
		{"digits only", newEntry(Entry{Name: "123"}), ErrBadEntry, "digits only"},
		{"dots", newEntry(Entry{Name: ".."}), ErrBadEntry, "cannot be named in a URL"},
		{"suffix", newEntry(Entry{Name: "c.readonly"}), ErrBadEntry, "suffix"},
		{"14 sites", newEntry(Entry{Name: "c", Sites: make([]Site, MaxSites+1)}), ErrBadEntry, "14 sites"},
		{"id twice", newEntry(Entry{Name: "c", IDs: IDs{RW: 5, BK: 5}}), ErrBadEntry, "id 5 twice"},
		{"id taken", newEntry(Entry{Name: "c", IDs: IDs{BK: 7}}), ErrIDTaken, "7 is a's"},
		{"unknown server", newEntry(Entry{Name: "c", Sites: []Site{{Server: "s9"}}}), ErrUnknownServer, "s9"},
		{"unregistered server", newEntry(Entry{Name: "c", Sites: []Site{{Server: "s3"}}}), ErrUnknownServer, "s3"},
		{"time", Change{Op: Create, Time: -1, Entry: Entry{Name: "c"}}, ErrBadChange, "1970"},
		{"operation", Change{Op: opCount}, ErrBadChange, "does not exist"},
		{"replace nothing", Change{Op: Replace, Name: "c", Version: 3, Entry: Entry{Name: "c"}}, ErrNotFound, "c"},
		{"replace blindly", Change{Op: Replace, Name: "a", Entry: Entry{Name: "a"}}, ErrWrongVersion, "must name"},
		{"replace another version", Change{Op: Replace, Name: "a", Version: 2, Entry: Entry{Name: "a"}}, ErrWrongVersion, "version 3, not 2"},
		{"rename to a taken name", Change{Op: Update, Name: "a", Patch: Patch{Name: ptr("b")}}, ErrExists, "b"},
		{"rename to a bad name", Change{Op: Update, Name: "a", Patch: Patch{Name: ptr("")}}, ErrBadEntry, "0 bytes"},
		{"update to a taken id", Change{Op: Update, Name: "a", Patch: Patch{RO: ptr(uint64(8))}}, ErrIDTaken, "b's"},
		{"update another version", Change{Op: Update, Name: "a", Version: 9}, ErrWrongVersion, "not 9"},
		{"remove no site", Change{Op: Update, Name: "a", Patch: Patch{RemoveSites: []Place{{"s1", 1}}}}, ErrBadChange, "no site"},
		{"add too many sites", Change{Op: Update, Name: "a", Patch: Patch{AddSites: make([]Site, MaxSites)}}, ErrBadEntry, "14 sites"},
		{"delete nothing", Change{Op: Delete, Name: "99"}, ErrNotFound, "id 99"},
		{"delete another version", Change{Op: Delete, Name: "a", Version: 9}, ErrWrongVersion, "not 9"},
		{"no ids", Change{Op: NewID}, ErrBadChange, "0 ids"},
		{"too many ids", Change{Op: NewID, Count: MaxNewIDs + 1}, ErrBadChange, "1025 ids"},
		{"lock nothing", Change{Op: TakeLock, Name: "c", Owner: "me", Expires: 1}, ErrNotFound, "c"},
		{"register twice", Change{Op: RegisterServer, Name: "s1"}, ErrExists, "s1"},
		{"register a bad name", Change{Op: RegisterServer, Name: "s 1"}, ErrBadChange, "' ' at byte 1"},
		{"register a long name", Change{Op: RegisterServer, Name: strings.Repeat("s", MaxServer+1)}, ErrBadChange, "65 bytes"},
		{"unregister nothing", Change{Op: UnregisterServer, Name: "s9"}, ErrUnknownServer, "s9"},
		{"unregister a server in use", Change{Op: UnregisterServer, Name: "s1"}, ErrServerInUse, "a has a site"},
	}
	before := dump(t, d)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			revision, next := d.Revision(), d.state
			r := try(t, d, test.change)
			if !errors.Is(r.Err, test.want) || !strings.Contains(r.Err.Error(), test.part) {
				t.Fatalf("refused with %v, want %v that says %q", r.Err, test.want, test.part)
			}
			next.revision = revision + 1
			if d.Revision() != revision+1 || r.Revision != revision+1 || d.state != next {
				t.Fatalf("revision %d, state %+v; want %+v", d.Revision(), d.state, next)
			}
			if diff := cmp.Diff(before, dump(t, d)); diff != "" {
				t.Fatal("the database changed", diff)
			}
		})
	}
	revision := d.Revision()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if d = openWith(t, configOn(d.fs)); d.Revision() != revision {
		t.Fatalf("revision %d after a restart, want %d", d.Revision(), revision)
	}
}

func TestRevisionsRise(t *testing.T) {
	d := openTest(t)
	if _, err := d.Apply(2, Change{Op: NewID, Count: 1}); !errors.Is(err, ErrApplied) {
		t.Fatalf("revision 2 again: %v, want ErrApplied", err)
	}
	// A batch with one wrong revision is not applied at all.
	changes := []Numbered{{Revision: 10, Change: Change{Op: Create, Entry: Entry{Name: "a"}}}, {Revision: 10, Change: Change{Op: NewID, Count: 1}}}
	if _, err := d.ApplyAll(changes); !errors.Is(err, ErrApplied) || d.Revision() != 2 {
		t.Fatalf("%v, revision %d", err, d.Revision())
	}
	mustBeAbsent(t, d, "a")
	changes[1].Revision = 20
	if r, err := d.ApplyAll(changes); err != nil || r[1].FirstID != 1 || d.Revision() != 20 {
		t.Fatalf("%v, %+v, revision %d", err, r, d.Revision())
	}
	if _, err := d.ApplyAll(make([]Numbered, MaxChanges+1)); err == nil {
		t.Fatal("no bound")
	}
	if _, err := d.ApplyAll(nil); err != nil {
		t.Fatal(err)
	}
}

// A change of a batch sees the ones before it, and the caches forget all of them.
func TestChangesOfABatchSeeEachOther(t *testing.T) {
	d := openTest(t)
	mustBeAbsent(t, d, "a", "b", "7")
	results, err := d.ApplyAll([]Numbered{
		{3, Change{Op: RegisterServer, Name: "s4"}},
		{4, Change{Op: Create, Entry: Entry{Name: "a", IDs: IDs{RW: 7}, Sites: []Site{{Server: "s4"}}}}},
		{5, Change{Op: Create, Entry: Entry{Name: "b", IDs: IDs{RW: 7}}}},
		{6, Change{Op: UnregisterServer, Name: "s4"}},
		{7, Change{Op: Update, Name: "7", Version: 4, Patch: Patch{Name: ptr("b")}}},
		{8, Change{Op: NewID, Count: 7}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []error{nil, nil, ErrIDTaken, ErrServerInUse, nil, nil} {
		if !errors.Is(results[i].Err, want) {
			t.Errorf("change %d: %v, want %v", i, results[i].Err, want)
		}
	}
	if results[5].FirstID != 8 {
		t.Errorf("new ids begin at %d, want 8: an entry has 7", results[5].FirstID)
	}
	mustBeAbsent(t, d, "a")
	if e := mustGet(t, d, "b"); e.IDs.RW != 7 || e.Sites[0].Server != "s4" {
		t.Errorf("got %+v", e)
	}
}

func TestServersKeepTheirNumbers(t *testing.T) {
	d := openTest(t)
	do(t, d, Change{Op: UnregisterServer, Name: "s1"})
	if got := d.Servers(); !slices.Equal(got, []string{"s2"}) {
		t.Fatal(got)
	}
	do(t, d, Change{Op: RegisterServer, Name: "s3"})
	do(t, d, Change{Op: RegisterServer, Name: "s1"})
	create(t, d, "a", IDs{}, Site{Server: "s1"}, Site{Server: "s3"})
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = openWith(t, configOn(d.fs))
	if got := d.Servers(); !slices.Equal(got, []string{"s1", "s2", "s3"}) {
		t.Fatal(got)
	}
	if e := mustGet(t, d, "a"); e.Sites[0].Server != "s1" || e.Sites[1].Server != "s3" {
		t.Fatalf("got %+v", e)
	}
}

func TestLookupsOfNamesThatCannotBe(t *testing.T) {
	d := openPart(t)
	for _, name := range []string{"a b", strings.Repeat("n", MaxName+1), "a\x00", "é"} {
		if _, err := d.Get(name); !errors.Is(err, ErrBadName) {
			t.Errorf("Get(%q): %v, want ErrBadName", name, err)
		}
		if _, found, err := d.ResolveID(name); found || err != nil {
			t.Errorf("ResolveID(%q): %v, %v, want it not found", name, found, err)
		}
	}
	if n := d.Stats().Names.Bad; n != 8 {
		t.Errorf("%d counted, want 8", n)
	}
}

func TestChangeKeepsItsMeaningThroughJSON(t *testing.T) {
	want := Numbered{Revision: 9, Change: Change{
		Op: Update, Time: 5, Name: "a", Version: 8, Owner: "me", LockKind: 2, Expires: 77, Count: 3,
		Entry: Entry{Name: "b", IDs: IDs{1, 2, 3}, Sites: []Site{{"s", 1, 2}}, Flags: 3},
		Patch: Patch{Name: ptr(""), RW: ptr(uint64(0)), AddSites: []Site{{"s", 1, 2}}, RemoveSites: []Place{{"s", 1}}},
	}}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Numbered
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
	if err := json.Unmarshal([]byte(`{"change":{"op":"explode"}}`), &got); err == nil {
		t.Fatal("an unknown operation was read")
	}
}

func TestBackupAndRestore(t *testing.T) {
	d := openTest(t)
	create(t, d, "a", IDs{RW: 7}, Site{Server: "s1"})
	if err := d.Backup("b1"); err != nil {
		t.Fatal(err)
	}
	if err := d.Backup("b1"); err == nil {
		t.Fatal("a backup was written over")
	}
	want := dump(t, d)
	do(t, d, Change{Op: RegisterServer, Name: "later"})
	create(t, d, "b", IDs{})
	changed := dump(t, d)
	for _, bad := range []string{"nowhere", testDir} {
		if err := d.Restore(bad); err == nil {
			t.Fatalf("%s was restored", bad)
		}
		if diff := cmp.Diff(changed, dump(t, d)); diff != "" {
			t.Fatal("a failed restore changed the directory", diff)
		}
	}
	for range 2 {
		if err := d.Restore("b1"); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, dump(t, d)); diff != "" {
			t.Fatal(diff)
		}
	}
	create(t, d, "after", IDs{}, Site{Server: "s1"})
	revision := d.Revision()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = openWith(t, configOn(d.fs))
	mustGet(t, d, "after")
	mustGet(t, d, "7")
	if d.Revision() != revision {
		t.Fatalf("revision %d, want %d", d.Revision(), revision)
	}
	if folders, err := d.generations(); err != nil || len(folders) != 1 {
		t.Fatalf("databases left: %v %v", folders, err)
	}
}

// What a Restore leaves behind when the power goes is removed at the next Open.
func TestHalfARestoreIsRemoved(t *testing.T) {
	d := openTest(t)
	create(t, d, "a", IDs{})
	if err := errors.Join(d.Backup("b"), d.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := vfs.Clone(d.fs, d.fs, "b", testDir+"/db-2"); err != nil {
		t.Fatal(err)
	}
	d = openWith(t, configOn(d.fs))
	mustGet(t, d, "a")
	if folders, err := d.generations(); err != nil || len(folders) != 1 {
		t.Fatalf("databases left: %v %v", folders, err)
	}
}
