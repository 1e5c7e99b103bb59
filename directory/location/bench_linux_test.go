package location

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The benchmarks run with few entries in the tests' own time; the environment sets
// the number of the figures that count:
//
//	LOCATION_ENTRIES=2000000 go test -run '^$' -bench . ./directory/location
func benchEntries(b *testing.B) int {
	n, err := strconv.Atoi(os.Getenv("LOCATION_ENTRIES"))
	if err != nil {
		return 20_000
	}
	return n
}

func benchName(i int) string { return fmt.Sprintf("vol.%016x", uint64(i)*0x9e3779b97f4a7c15) } // 20 bytes

// benchNames are n names in random order, one behind the other in memory: fetching
// them is not what is measured.
func benchNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = benchName(i)
	}
	r := rand.New(rand.NewPCG(1, 2))
	r.Shuffle(n, func(i, j int) { names[i], names[j] = names[j], names[i] })
	packed := strings.Join(names, "")
	for i := range names {
		names[i] = packed[20*i : 20*i+20]
	}
	return names
}

// benchFull is a directory whose caches know all names: entries of two sites each,
// or as absences those of benchAbsent. They are filled past the disk.
func benchFull(b *testing.B, names []string) *Directory {
	b.Helper()
	bits := bitsFor(len(names))
	d := openWith(b, Config{Dir: b.TempDir(), Logger: quiet(), Caches: Caches{Names: bits, AbsentNames: bits}})
	r := record{siteCount: 2}
	for i, name := range names {
		r.name, r.ids = newText(name), [idKinds]uint64{uint64(i)*3 + 1, uint64(i)*3 + 2}
		d.names.fill(d.names.key(query{name: name}), 0, &r)
	}
	for _, name := range benchAbsent(names) {
		d.names.fill(d.names.key(query{name: name}), 0, nil)
	}
	s := d.Stats().Names
	b.Logf("%d entries, %d absences cached in %d MB", s.Positive.Entries, s.Negative.Entries,
		(s.Positive.Bytes+s.SlotBytes+s.Negative.Bytes)>>20)
	return d
}

// benchOnDisk is a directory on real files without caches, and with a block cache
// too small for it.
func benchOnDisk(b *testing.B, names []string) *Directory {
	b.Helper()
	d := openWith(b, Config{Dir: b.TempDir(), Logger: quiet(), BlockCacheBytes: 1 << 20})
	do(b, d, Change{Op: RegisterServer, Name: "s1"})
	sorted := slices.Sorted(slices.Values(names)) // faster to create
	var changes []Numbered
	for i, name := range sorted {
		changes = append(changes, Numbered{uint64(i) + 2, Change{Op: Create, Entry: Entry{
			Name: name, IDs: IDs{RW: uint64(i)*3 + 1, RO: uint64(i)*3 + 2},
			Sites: []Site{{Server: "s1", Partition: uint32(i % 100)}, {Server: "s1", Partition: uint32(i % 99)}},
		}}})
		if len(changes) == MaxChanges || i == len(sorted)-1 {
			if _, err := d.ApplyAll(changes); err != nil {
				b.Fatal(err)
			}
			changes = changes[:0]
		}
	}
	if err := d.db.Flush(); err != nil {
		b.Fatal(err)
	}
	return d
}

// bitsFor is the size of a cache that n entries fill to at most 0.95.
func bitsFor(n int) int {
	bits := 6
	for float64(n) > 0.95*float64(int(1)<<bits) {
		bits++
	}
	return bits
}

func benchAbsent(names []string) []string {
	absent := make([]string, len(names))
	for i, name := range names {
		absent[i] = "abs" + name[3:]
	}
	return absent
}

func BenchmarkCached(b *testing.B) {
	names := benchNames(benchEntries(b))
	absent := benchAbsent(names)
	d := benchFull(b, names)
	b.Run("ResolveID", func(b *testing.B) { resolveEach(b, d, names) })
	b.Run("absent", func(b *testing.B) { resolveEach(b, d, absent) })
	b.Run("Lookup", func(b *testing.B) {
		var v View
		perCore(b, func() {
			for i, at := 0, 0; i < b.N; i++ {
				if err := d.Lookup(names[at], &v); err != nil {
					b.Fatal(err)
				}
				if at++; at == len(names) {
					at = 0
				}
			}
		})
	})
	b.Run("ResolveIDs", func(b *testing.B) { resolveBatches(b, d, names) })
	b.Run("ResolveIDs absent", func(b *testing.B) { resolveBatches(b, d, absent) })
}

func BenchmarkUncached(b *testing.B) {
	names := benchNames(benchEntries(b))
	d := benchOnDisk(b, names)
	b.Run("ResolveID", func(b *testing.B) { resolveEach(b, d, names) })
	b.Run("absent", func(b *testing.B) { resolveEach(b, d, benchAbsent(names)) })
}

func resolveEach(b *testing.B, d *Directory, names []string) {
	perCore(b, func() {
		for i, at := 0, 0; i < b.N; i++ {
			if _, _, err := d.ResolveID(names[at]); err != nil {
				b.Fatal(err)
			}
			if at++; at == len(names) {
				at = 0
			}
		}
	})
}

func resolveBatches(b *testing.B, d *Directory, names []string) {
	const size = 1000
	ids, found := make([]IDs, size), make([]bool, size)
	perCore(b, func() {
		for done := 0; done < b.N; done += size {
			at := done % (len(names) - size + 1)
			if err := d.ResolveIDs(names[at:at+size], ids, found); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// perCore runs f and reports look-ups a second and core: of processor time, so that
// what else the machine does is left out as far as it can be.
func perCore(b *testing.B, f func()) {
	b.ReportAllocs()
	before := processorTime(b)
	f()
	b.ReportMetric(float64(b.N)/(processorTime(b)-before).Seconds()/1e6, "M/core-s")
}

func processorTime(b *testing.B) time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func BenchmarkApplyCreate(b *testing.B) {
	d := openWith(b, Config{Dir: b.TempDir(), Logger: quiet(), Caches: allCaches})
	changes := make([]Numbered, 0, 1000)
	for i := range b.N {
		changes = append(changes, Numbered{uint64(i) + 1, Change{Op: Create, Entry: Entry{Name: benchName(i), IDs: IDs{RW: uint64(i) + 1}}}})
		if len(changes) == cap(changes) || i == b.N-1 {
			if _, err := d.ApplyAll(changes); err != nil {
				b.Fatal(err)
			}
			changes = changes[:0]
		}
	}
}
