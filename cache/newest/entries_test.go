package newest

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"carillon/cache"
	"carillon/directory/location"
)

// published is a directory and its entries in a cache.
type published struct {
	t         *testing.T
	cache     *cache.Cache
	entries   *Entries
	directory *location.Directory
}

func openPublished(t *testing.T, disk vfs.FS) *published {
	t.Helper()
	p := &published{t: t, cache: newCache(t, 8<<20)}
	p.entries = NewEntries(p.cache)
	var err error
	p.directory, err = location.Open(location.Config{Dir: "location", FS: disk, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Follower: p.entries})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.directory.Close() })
	return p
}

func (p *published) do(change location.Change) location.Result {
	p.t.Helper()
	change.Time = start
	result, err := p.directory.Apply(p.directory.Revision()+1, change)
	if err != nil {
		p.t.Fatal(err)
	}
	return result
}

func (p *published) create(name string, ids location.IDs) {
	p.t.Helper()
	if r := p.do(location.Change{Op: location.Create, Entry: location.Entry{Name: name, IDs: ids}}); r.Err != nil {
		p.t.Fatal(r.Err)
	}
}

// fill stores all that Run would.
func (p *published) fill() {
	p.t.Helper()
	for more := true; more; {
		var err error
		if more, err = p.entries.page(p.directory); err != nil {
			p.t.Fatal(err)
		}
	}
}

// items is what is in the cache under the prefix.
func (p *published) items() map[string]string {
	items := make(map[string]string)
	p.cache.Each(func(i cache.Item) bool {
		if name, ok := strings.CutPrefix(string(i.Key()), DirectoryPrefix); ok {
			items[name] = string(i.AppendValue(nil))
		}
		return true
	})
	return items
}

// check compares the cache with the directory, item by item.
func (p *published) check() {
	p.t.Helper()
	want := make(map[string]string)
	page, err := p.directory.List(location.Filter{}, "", location.MaxList)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, entry := range page.Entries {
		value, _ := json.Marshal(entry)
		for _, key := range []string{entry.Name, fmt.Sprint(entry.IDs.RW), fmt.Sprint(entry.IDs.RO), fmt.Sprint(entry.IDs.BK)} {
			if key != "0" {
				want[key] = string(value)
			}
		}
	}
	if got := p.items(); !maps.Equal(got, want) {
		p.t.Errorf("the cache has %d items, want %d:\n%v\nwant\n%v", len(got), len(want), got, want)
	}
}

func ptr[T any](v T) *T { return &v }

func TestEntriesFollowChanges(t *testing.T) {
	p := openPublished(t, vfs.NewMem())
	p.do(location.Change{Op: location.RegisterServer, Name: "s1"})
	p.create("home", location.IDs{RW: 7, RO: 8})
	want := `{"name":"home","ids":{"rw":7,"ro":8},"version":2,"modified":1700000000000}`
	if got := p.items(); len(got) != 3 || got["home"] != want || got["7"] != want || got["8"] != want {
		t.Errorf("after create: %v", got)
	}
	p.create("other", location.IDs{BK: 9})
	for _, change := range []location.Change{
		{Op: location.Update, Name: "home", Patch: location.Patch{Name: ptr("house"), RW: ptr(uint64(8)), RO: ptr(uint64(0)), AddSites: []location.Site{{Server: "s1", Partition: 3}}}},
		{Op: location.Replace, Name: "other", Version: 3, Entry: location.Entry{Name: "home", IDs: location.IDs{RW: 9, RO: 7}}},
		{Op: location.TakeLock, Name: "home", Owner: "me", Expires: start + 1000},
		{Op: location.Delete, Name: "house"},
		{Op: location.ReleaseLock, Name: "home", Owner: "me"},
	} {
		if r := p.do(change); r.Err != nil {
			t.Fatalf("%s: %v", change.Op, r.Err)
		}
		p.check()
	}
	for _, change := range []location.Change{
		{Op: location.Create, Entry: location.Entry{Name: "home"}}, {Op: location.Delete, Name: "nobody"}, {Op: location.NewID, Count: 1},
	} {
		p.do(change)
		p.check()
	}
	p.do(location.Change{Op: location.Delete, Name: "home"})
	if got := p.items(); len(got) != 0 {
		t.Errorf("in the end: %v", got)
	}
}

func TestEntriesThatWereThereAndRestore(t *testing.T) {
	disk, backup := vfs.NewMem(), "backup"
	p := openPublished(t, disk)
	const before = 3 * pageEntries / 2
	for i := range before {
		p.create(fmt.Sprintf("e%04d", i), location.IDs{RW: uint64(i + 1)})
	}
	if err := p.directory.Backup(backup); err != nil {
		t.Fatal(err)
	}
	p.create("later", location.IDs{})
	if err := p.directory.Close(); err != nil {
		t.Fatal(err)
	}

	p = openPublished(t, disk)
	p.fill()
	p.check()
	if s := p.entries.Stats(); !s.Whole || s.Stored != 2*before+1 {
		t.Errorf("stats: %+v", s)
	}
	p.do(location.Change{Op: location.Delete, Name: "e0003"})
	if err := p.directory.Restore(backup); err != nil {
		t.Fatal(err)
	}
	if got := p.items(); len(got) != 0 || p.entries.Stats().Whole {
		t.Errorf("restore left %d items of the directory before", len(got))
	}
	p.fill()
	p.check()
	if _, ok := p.items()["later"]; ok {
		t.Error("an entry is there that is not in the backup")
	}
}

// TestEntriesWhileTheyAreFilled runs changes and restores beside Run, and wants a cache
// equal to the directory; and that what is acknowledged as deleted is gone at once.
func TestEntriesWhileTheyAreFilled(t *testing.T) {
	const backup = "backup"
	p := openPublished(t, vfs.NewMem())
	name := func(n int) string { return fmt.Sprintf("e%04d", n) }
	const fleet = 700
	for i := range fleet {
		p.create(name(i), location.IDs{RW: uint64(i + 1)})
	}
	if err := p.directory.Backup(backup); err != nil {
		t.Fatal(err)
	}
	p.cache.DeletePrefix([]byte(DirectoryPrefix))

	var running sync.WaitGroup
	running.Go(func() {
		if err := p.entries.Run(t.Context(), p.directory); err != nil {
			t.Error(err)
		}
	})
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 600 {
		n := random.IntN(fleet)
		switch random.IntN(3) {
		case 0:
			if r := p.do(location.Change{Op: location.Delete, Name: name(n)}); r.Err == nil {
				if _, ok := p.cache.Get(nil, []byte(DirectoryPrefix+name(n))); ok {
					t.Fatalf("%s is in the cache after its delete was acknowledged", name(n))
				}
			}
		case 1:
			p.do(location.Change{Op: location.Update, Name: name(n), Patch: location.Patch{SetFlags: uint32(i)}})
		case 2:
			p.do(location.Change{Op: location.Create, Entry: location.Entry{Name: name(n), IDs: location.IDs{RW: uint64(n + 1)}}})
		}
		if i%200 == 100 {
			if err := p.directory.Restore(backup); err != nil {
				t.Fatal(err)
			}
		}
	}
	for !p.entries.Stats().Whole {
		runtime.Gosched()
	}
	p.check()
	if err := p.directory.Close(); err != nil {
		t.Fatal(err)
	}
	p.entries.Replaced() // wakes Run, which finds it closed
	running.Wait()
}

var _ location.Follower = (*Entries)(nil)

func TestEveryIDHasAKey(t *testing.T) {
	e := NewEntries(newCache(t, 4<<20))
	var keys []string
	e.eachKey(&location.Entry{Name: "n", IDs: location.IDs{RW: 1, BK: 1<<64 - 1}}, func(key []byte) { keys = append(keys, string(key)) })
	if want := []string{"directory:n", "directory:1", "directory:18446744073709551615"}; !slices.Equal(keys, want) {
		t.Errorf("keys %v, want %v", keys, want)
	}
}
