package directory

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"carillon/directory/index"
	"carillon/series"
)

// raw opens the Pebble of a closed directory, as bit rot and other programs see
// it, and lets change alter it.
func raw(t *testing.T, fs vfs.FS, change func(db *pebble.DB) error) {
	t.Helper()
	db, err := pebble.Open(testDir, &pebble.Options{FS: fs, FormatMajorVersion: pebble.FormatTableFormatV6, Logger: pebbleLogger{quiet()}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(change(db), db.Close()); err != nil {
		t.Fatal(err)
	}
}

// entered is an index in which the keys are, hidden.
func entered(t *testing.T, keys ...series.Key) *index.Index {
	t.Helper()
	x := index.New(1)
	definitions := make([]series.Definition, len(keys))
	for i, k := range keys {
		definitions[i].Key = k
	}
	x.Enter(definitions, make([]uint32, len(keys)))
	return x
}

func TestCorruptRecords(t *testing.T) {
	other := keyIn(t, 0, 2, "b")
	record := func(x *index.Index) []byte { return appendSeriesValue(nil, x) }
	seriesAt := func(partition int, number uint32) []byte {
		return appendID(nil, seriesSpace, series.NewID(partition, number))
	}
	kindAt := func(number uint32) []byte { return appendID(nil, kindSpace, series.NewID(0, number)) }
	first := seriesAt(0, 0)
	tests := []struct {
		name       string
		key, value []byte // value nil: delete
		parts      []string
	}{
		{"format gone", []byte{formatSpace}, nil, []string{"not a Carillon directory"}},
		{"format of another", []byte{formatSpace}, []byte("x"), []string{"not a Carillon directory"}},
		{"format of the future", []byte{formatSpace}, []byte(formatMagic + "\x07abcdefgh"), []string{"version 7"}},
		{"format with flipped bit", []byte{formatSpace}, flip(appendFormat(nil, 2), 10), []string{"format record", "checksum"}},
		{"series version", first, []byte{9, 0}, []string{"partition 0, number 0", "version 9"}},
		{"series empty", first, []byte{}, []string{"partition 0, number 0", "cut short"}},
		{"series cut short", first, record(entered(t, other))[:6], []string{"partition 0, number 0", "malformed"}},
		{"series too long", first, append(record(entered(t, other)), 0), []string{"partition 0, number 0", "left over"}},
		{"series kind", first, []byte{recordVersion, 1, 7, 1}, []string{"partition 0, number 0", "kind 7"}},
		{"number missing", seriesAt(0, 5), record(entered(t, other)), []string{"partition 0, number 5", "number 1 is missing"}},
		{"series twice", seriesAt(0, 1), []byte{recordVersion, 1, 0, 1, 0}, []string{"partition 0, number 1", "it is series 0 already"}},
		{"number too long", append(first, 0), record(entered(t, other)), []string{"partition 0"}},
		{"kind", kindAt(0), []byte{recordVersion, 7}, []string{"partition 0, number 0", "kind 7"}},
		{"kind of no series", kindAt(1), appendKindValue(nil, series.Counter), []string{"partition 0, number 1", "no such series"}},
		{"kind too long", append(kindAt(0), 0), appendKindValue(nil, series.Counter), []string{"kind record", "cut short"}},
		{"metadata", appendFamilyKey(nil, "fam"), []byte{recordVersion, 200}, []string{`"fam"`, "cut short"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			fs := vfs.NewMem()
			d := openMem(t, fs, 2)
			define(t, d, other)
			closeNow(t, d)
			raw(t, fs, func(db *pebble.DB) error {
				if test.value == nil {
					return db.Delete(test.key, nil)
				}
				return db.Set(test.key, test.value, nil)
			})
			_, err := open(fs, testDir, 2, DefaultCaches(), quiet())
			wantError(t, err, append(test.parts, testDir)...)
		})
	}
}

func flip(b []byte, i int) []byte {
	b[i] ^= 1
	return b
}

// A series in the records of another partition would be defined a second time.
func TestVerifyFindsSeriesOfAnotherPartition(t *testing.T) {
	fs := vfs.NewMem()
	closeNow(t, openMem(t, fs, 2))
	raw(t, fs, func(db *pebble.DB) error {
		x := entered(t, keyIn(t, 1, 2, "here"), keyIn(t, 0, 2, "there"))
		return db.Set(appendID(nil, seriesSpace, series.NewID(1, 0)), appendSeriesValue(nil, x), nil)
	})
	wantError(t, openMem(t, fs, 2).Verify(), testDir, "partition 1", "series 1", "there", "belongs to partition 0")
}

// A block that rots on disk is found by Pebble's checksum, and reported, instead
// of ending the process.
func TestRottenTable(t *testing.T) {
	dir := t.TempDir()
	d, err := Open(dir, 1, DefaultCaches(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	define(t, d, named(t, 1000)...)
	if err := d.db.Flush(); err != nil {
		t.Fatal(err)
	}
	closeNow(t, d)
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("tables %v, %v", tables, err)
	}
	for _, table := range tables {
		b, err := os.ReadFile(table)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(table, flip(b, len(b)/3), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, err = Open(dir, 1, DefaultCaches(), quiet())
	wantError(t, err, dir)
}

// After a power cut at any moment each partition has a beginning of its series, at
// least all that were synced; and when the journal is replayed, what was lost gets the
// numbers and kinds it had before. The partitions define in turns, so that the records
// of one stand between those of others, and the logs and tables are many.
func TestPowerCut(t *testing.T) {
	const partitions, rounds, synced, batch = 3, 40, 15, 200
	for seed := range uint64(10) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			fs := vfs.NewCrashableMem()
			d := openMem(t, fs, partitions)
			random := rand.New(rand.NewPCG(seed, 1))
			var journal [][]series.Definition // each of one partition
			var numbers [][]uint32
			least := make([]int, partitions)
			for round := range rounds {
				for partition, definitions := range someDefinitions(t, random, partitions, batch) {
					journal, numbers = append(journal, definitions), append(numbers, replay(t, d, partition, definitions))
				}
				if round == synced {
					if err := d.Sync(); err != nil {
						t.Fatal(err)
					}
					for partition := range least {
						least[partition] = d.Count(partition)
					}
				}
				if random.IntN(8) == 0 { // tables are written at moments of their own
					if err := d.db.Flush(); err != nil {
						t.Fatal(err)
					}
				}
			}
			fs = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: int(seed) * 10, RNG: random})

			lost := d
			d = openMem(t, fs, partitions)
			sameSeries(t, lost, d, least)
			for i, definitions := range journal {
				if got := replay(t, d, i%partitions, definitions); !cmp.Equal(got, numbers[i]) {
					t.Fatalf("message %d got numbers %v in the replay, %v before", i, got, numbers[i])
				}
			}
			sameSeries(t, lost, d, []int{lost.Count(0), lost.Count(1), lost.Count(2)})
			if err := d.Verify(); err != nil {
				t.Error(err)
			}
		})
	}
}

// someDefinitions is a batch for each partition, with series that others share labels
// with and that may have been defined before.
func someDefinitions(t *testing.T, random *rand.Rand, partitions, n int) [][]series.Definition {
	t.Helper()
	batches := make([][]series.Definition, partitions)
	for range n {
		k := key(t, series.MetricName, fmt.Sprint("m", random.IntN(100)), "host", fmt.Sprint("h", random.IntN(1000)))
		partition := k.Partition(partitions)
		batches[partition] = append(batches[partition], series.Definition{Key: k, Kind: series.Kind(random.IntN(3))})
	}
	return batches
}

func replay(t *testing.T, d *Directory, partition int, definitions []series.Definition) []uint32 {
	t.Helper()
	numbers, err := d.Define(partition, definitions)
	if err != nil {
		t.Fatal(err)
	}
	return numbers
}

// sameSeries checks that got has a beginning of what want has, so many at least.
func sameSeries(t *testing.T, want, got *Directory, least []int) {
	t.Helper()
	for partition := range want.Partitions() {
		if n := got.Count(partition); n < least[partition] || n > want.Count(partition) {
			t.Fatalf("partition %d has %d series, of which %d were synced and %d written", partition, n, least[partition], want.Count(partition))
		}
		for number := range uint32(got.Count(partition)) {
			id := series.NewID(partition, number)
			wantKey, _ := want.Key(id)
			if k, ok := got.Key(id); !ok || k != wantKey || got.Kind(id) != want.Kind(id) {
				t.Fatalf("partition %d, series %d is %s, a %s; it was %s, a %s", partition, number,
					k.Format(), got.Kind(id), wantKey.Format(), want.Kind(id))
			}
			if found, ok := got.Lookup(wantKey); !ok || found != id {
				t.Fatalf("%s is found as %d, %v; want %d", wantKey.Format(), found, ok, id)
			}
		}
	}
}

func TestSyncOverManyLogs(t *testing.T) {
	fs := vfs.NewCrashableMem()
	d := openMem(t, fs, 1)
	long := strings.Repeat("x", 8000)
	keys := make([]series.Key, 0, 2000) // 32 MB: several memtables, so several logs
	for i := range cap(keys) {
		keys = append(keys, key(t, series.MetricName, fmt.Sprintf("m%d", i), "long", long))
	}
	ids := define(t, d, keys...)
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	d = openMem(t, fs.CrashClone(vfs.CrashCloneCfg{}), 1)
	for i, k := range keys {
		if id, ok := d.Lookup(k); !ok || id != ids[i] {
			t.Fatalf("series %d is lost or has another number", i)
		}
	}
}
