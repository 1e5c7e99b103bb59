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

func TestCorruptRecords(t *testing.T) {
	other := keyIn(t, 0, 2, "b")
	first := appendIDKey(nil, series.NewID(0, 0))
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
		{"series kind", first, append([]byte{recordVersion, 7}, other...), []string{"partition 0, number 0", "kind 7"}},
		{"series key", first, []byte{recordVersion, 0, 0xff}, []string{"partition 0, number 0", "malformed"}},
		{"series of another partition", appendIDKey(nil, series.NewID(1, 0)), appendIDValue(nil, 0, other), []string{"partition 1, number 0", "belongs to partition 0"}},
		{"number missing", appendIDKey(nil, series.NewID(0, 5)), appendIDValue(nil, 0, other), []string{"partition 0, number 5", "number 1 is missing"}},
		{"number too long", append(first, 0), appendIDValue(nil, 0, other), []string{"partition 0"}},
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

func TestVerifyFindsWrongKeyRecords(t *testing.T) {
	k := key(t, series.MetricName, "a")
	record := appendKeyKey(nil, k)
	tests := []struct {
		name, want string
		change     func(db *pebble.DB) error
	}{
		{"missing", "1 series, but 0 key records", func(db *pebble.DB) error { return db.Delete(record, nil) }},
		{"short", "cut short", func(db *pebble.DB) error { return db.Set(record, []byte{recordVersion, 0, 1}, nil) }},
		{"other id", "id 5 as gauge", func(db *pebble.DB) error { return db.Set(record, appendKeyValue(nil, 0, 5), nil) }},
		{"other kind", "id 0 as event", func(db *pebble.DB) error { return db.Set(record, appendKeyValue(nil, series.Event, 0), nil) }},
		{"series twice", "2 series, but 1 key records", func(db *pebble.DB) error {
			return db.Set(appendIDKey(nil, series.NewID(0, 1)), appendIDValue(nil, 0, k), nil)
		}},
		{"unknown key", "says otherwise", func(db *pebble.DB) error {
			return db.Set(append(record, "\x01a\x01b"...), appendKeyValue(nil, 0, 0), nil)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			fs := vfs.NewMem()
			d := openMem(t, fs, 1)
			define(t, d, k)
			closeNow(t, d)
			raw(t, fs, test.change)
			wantError(t, openMem(t, fs, 1).Verify(), test.want, testDir)
		})
	}
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
	d, err = Open(dir, 1, DefaultCaches(), quiet())
	if err == nil { // the flipped bit may lie in the records that Open does not read
		err = d.Verify()
		closeNow(t, d)
	}
	wantError(t, err, dir)
}

// After a power cut, all that was synced is there; and when the journal is
// replayed, what was not synced gets the numbers it had before.
func TestPowerCut(t *testing.T) {
	keys := named(t, 300)
	for seed := range uint64(10) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			fs := vfs.NewCrashableMem()
			d := openMem(t, fs, 2)
			before := define(t, d, keys[:100]...)
			if err := d.Sync(); err != nil {
				t.Fatal(err)
			}
			after := define(t, d, keys[100:]...)
			fs = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: int(seed) * 10, RNG: rand.New(rand.NewPCG(seed, 0))})

			d = openMem(t, fs, 2)
			for i, k := range keys[:100] {
				if id, ok := d.Lookup(k); !ok || id != before[i] {
					t.Fatalf("%s was synced with id %d, and is now %d, %v", k.Format(), before[i], id, ok)
				}
			}
			if replayed := define(t, d, keys[100:]...); !cmp.Equal(replayed, after) {
				t.Error("the replay gave other numbers")
			}
			if err := d.Verify(); err != nil {
				t.Error(err)
			}
		})
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
