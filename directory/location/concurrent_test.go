package location

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	concurrentNames   = 40
	concurrentReaders = 3
	concurrentChanges = 400
)

// TestNoReaderSeesThePast lets readers look names up by all roads while one writer
// creates, moves and deletes them. Each entry says in its flags at which revision
// it was written. A reader that saw revision R published before it asked must not
// be answered as of before R: not with an older entry, and not with an absence
// that had ended. The caches are too small for the entries, large enough at times,
// and always large enough.
func TestNoReaderSeesThePast(t *testing.T) {
	for _, bits := range []int{4, 5, 6} {
		t.Run(fmt.Sprintf("%d bits", bits), func(t *testing.T) { noReaderSeesThePast(t, bits) })
	}
}

func noReaderSeesThePast(t *testing.T, bits int) {
	config := configOn(vfs.NewMem())
	config.Caches = Caches{Names: bits, AbsentNames: bits, IDs: bits, AbsentIDs: bits}
	d := openWith(t, config)
	do(t, d, Change{Op: RegisterServer, Name: "s1"})
	var (
		group sync.WaitGroup
		done  atomic.Bool
		// By name: the revision of its last published change, doubled, and whether
		// it is there in the lowest bit.
		published [concurrentNames]atomic.Uint64
		begun     atomic.Uint64 // the last revision that may be applied by now
	)
	for seed := range uint64(concurrentReaders) {
		group.Go(func() {
			r := rand.New(rand.NewPCG(seed, 1))
			var v View
			for !done.Load() {
				i := r.IntN(concurrentNames)
				before := published[i].Load()
				flags, ok, err := lookSomehow(d, r, i, &v)
				after := published[i].Load()
				if err != nil {
					t.Error(err)
					return
				}
				if ok && uint64(flags) < before>>1 {
					t.Errorf("seed %d: n%d is answered as of revision %d, after %d was published", seed, i, flags, before>>1)
					return
				}
				// The writer may be one step ahead of what it has published, so an
				// absence only counts if the next change was not under way.
				if !ok && before&1 == 1 && after == before && begun.Load() == before>>1 {
					t.Errorf("seed %d: n%d is answered absent at revision %d", seed, i, d.Revision())
					return
				}
			}
		})
	}
	there := make([]bool, concurrentNames)
	r := rand.New(rand.NewPCG(7, 7))
	for range concurrentChanges {
		i := r.IntN(concurrentNames)
		revision := d.Revision() + 1
		name, flags := fmt.Sprintf("n%d", i), uint32(revision)
		c := Change{Op: Create, Entry: Entry{Name: name, IDs: IDs{RW: uint64(i) + 1}, Flags: flags, Sites: make([]Site, r.IntN(9))}}
		for j := range c.Entry.Sites {
			c.Entry.Sites[j] = Site{Server: "s1", Partition: flags, Flags: flags}
		}
		if there[i] {
			c.Op = Delete
			c.Name = name
			if r.IntN(2) == 0 {
				c.Op = Update
				c.Patch = Patch{SetFlags: flags, ClearFlags: ^flags}
			}
		}
		begun.Store(revision)
		do(t, d, c)
		there[i] = c.Op != Delete
		state := revision << 1
		if there[i] {
			state |= 1
		}
		published[i].Store(state)
	}
	done.Store(true)
	group.Wait()
}

// lookSomehow looks the i-th name up, by one of all the ways there are.
func lookSomehow(d *Directory, r *rand.Rand, i int, v *View) (flags uint32, ok bool, err error) {
	name := fmt.Sprintf("n%d", i)
	switch r.IntN(5) {
	case 0:
		err = d.Lookup(name, v)
	case 1:
		err = d.LookupID(uint64(i)+1, v)
	case 2:
		d.LookupAll([]string{name}, v, func(_ int, e error) { err = e })
	case 3:
		ids, found := make([]IDs, 1), make([]bool, 1)
		if err := d.ResolveIDs([]string{name}, ids, found); !found[0] {
			return 0, false, err
		}
		err = d.Lookup(name, v)
	default:
		if _, found, err := d.ResolveID(name); !found {
			return 0, false, err
		}
		err = d.Lookup(name, v)
	}
	if errors.Is(err, ErrNotFound) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	if string(v.Name()) != name || v.IDs().RW != uint64(i)+1 {
		return 0, false, fmt.Errorf("asked for %s, got %+v", name, v.Entry())
	}
	for j := range v.Sites() {
		if s := v.Site(j); s.Server != "s1" || s.Partition != s.Flags {
			return 0, false, fmt.Errorf("%s is torn: %+v", name, v.Entry())
		}
	}
	return v.Flags(), true, nil
}

// TestRestoreWhileReading restores again and again under readers, who must always
// see one of the two databases, and the restored one after the last time.
func TestRestoreWhileReading(t *testing.T) {
	d := openTest(t)
	create(t, d, "a", IDs{RW: 1})
	if err := d.Backup("with"); err != nil {
		t.Fatal(err)
	}
	do(t, d, Change{Op: Delete, Name: "a"})
	if err := d.Backup("without"); err != nil {
		t.Fatal(err)
	}
	var (
		group sync.WaitGroup
		done  atomic.Bool
	)
	for range concurrentReaders {
		group.Go(func() {
			var v View
			for !done.Load() {
				for _, err := range []error{d.Lookup("a", &v), d.LookupID(1, &v)} {
					if err != nil && !errors.Is(err, ErrNotFound) {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	for range 5 {
		if err := d.Restore("with"); err != nil {
			t.Fatal(err)
		}
		mustGet(t, d, "a")
		mustGet(t, d, "1")
		if err := d.Restore("without"); err != nil {
			t.Fatal(err)
		}
		mustBeAbsent(t, d, "a", "1")
	}
	done.Store(true)
	group.Wait()
}

// TestSlotsAreReadWhole lets a writer give one slot two records of one name in turn;
// a reader sees one or the other.
func TestSlotsAreReadWhole(t *testing.T) {
	slot := make([]uint64, largeWords)
	records := [2]record{}
	for i := range records {
		r := &records[i]
		*r = record{name: newText("a"), owner: newText("me"), siteCount: MaxSites, ids: [idKinds]uint64{uint64(i) + 1, uint64(i) + 1, uint64(i) + 1}}
		for j := range r.sites {
			r.sites[j] = place{uint32(i), uint32(i), uint32(i)}
		}
	}
	write(slot, &records[0])
	var (
		group sync.WaitGroup
		done  atomic.Bool
	)
	for range concurrentReaders {
		group.Go(func() {
			var (
				words [largeWords]uint64
				r     record
			)
			for !done.Load() {
				if !read(slot, query{name: "a"}, &words) {
					continue
				}
				if unpack(&words, &r); r != records[0] && r != records[1] {
					t.Errorf("read %+v", r)
					return
				}
			}
		})
	}
	for i := range 100_000 {
		write(slot, &records[i%2])
	}
	done.Store(true)
	group.Wait()
}
