package location

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

var errInjected = errors.New("injected disk error")

// failingFS fails every sync of a log while fail is set.
type failingFS struct {
	vfs.FS
	fail atomic.Bool
}

func newFailingFS(fs vfs.FS) *failingFS {
	f := &failingFS{}
	f.FS = errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
			if f.fail.Load() && strings.HasSuffix(op.Path, ".log") {
				return errInjected
			}
		}
		return nil
	}))
	return f
}

// TestTruncatedFile cuts each file of a database in turn: Open says so, or has a
// revision that was applied and everything that belongs to it.
func TestTruncatedFile(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "whole")
	config := Config{Dir: whole, Logger: quiet(), Caches: allCaches}
	d := openWith(t, config)
	do(t, d, Change{Op: RegisterServer, Name: "s1"})
	for _, name := range []string{"a", "b", "c"} {
		create(t, d, name, IDs{}, Site{Server: "s1"})
	}
	if err := d.db.Flush(); err != nil {
		t.Fatal(err)
	}
	create(t, d, "d", IDs{}) // in the log only
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	generation := filepath.Join(whole, d.generation)
	files, err := os.ReadDir(generation)
	if err != nil {
		t.Fatal(err)
	}
	cut := 0
	for _, file := range files {
		info, err := file.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() < 2 {
			continue
		}
		cut++
		t.Run(file.Name(), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "cut")
			if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(filepath.Join(dir, d.generation, file.Name()), info.Size()/2); err != nil {
				t.Fatal(err)
			}
			config := config
			config.Dir = dir
			opened, err := Open(config)
			if err != nil {
				if !strings.Contains(err.Error(), dir) {
					t.Fatalf("the error does not name the directory: %v", err)
				}
				return
			}
			t.Cleanup(func() { _ = opened.Close() })
			switch _, err := opened.Get("d"); opened.Revision() {
			case 5:
				if err != nil {
					t.Fatalf("revision 5 without d: %v", err)
				}
			case 4:
				if !errors.Is(err, ErrNotFound) {
					t.Fatalf("revision 4 with d: %v", err)
				}
			default:
				t.Fatalf("revision %d", opened.Revision())
			}
			mustGet(t, opened, "a")
		})
	}
	if cut < 3 {
		t.Fatalf("only %d files were cut", cut)
	}
	table, err := filepath.Glob(filepath.Join(generation, "*.sst"))
	if err != nil || len(table) == 0 {
		t.Fatal("no table file", err)
	}
	if err := os.Truncate(table[0], 10); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(config); err == nil || !strings.Contains(err.Error(), "missing or damaged") {
		t.Fatalf("Open with a truncated table file: %v", err)
	}
}

// raw alters the database of a closed directory, as bit rot and other programs do.
func raw(t *testing.T, fs vfs.FS, change func(db *pebble.DB) error) {
	t.Helper()
	db, err := pebble.Open(testDir+"/db-1", &pebble.Options{FS: fs, FormatMajorVersion: pebble.FormatTableFormatV6, Logger: pebbleLogger{quiet()}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(change(db), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestCorruptRecordsAtOpen(t *testing.T) {
	tests := []struct {
		name       string
		key, value []byte // value nil: delete
		want       string
	}{
		{"format gone", []byte{formatSpace}, nil, "not a Carillon location directory"},
		{"format of another", []byte{formatSpace}, []byte("carildir\x01abcd"), "not a Carillon location directory"},
		{"format of the future", []byte{formatSpace}, []byte(formatMagic + "\x07abcd"), "version 7"},
		{"format with a flipped bit", []byte{formatSpace}, []byte(formatMagic + "\x01abcd"), "checksum"},
		{"state gone", []byte{stateSpace}, nil, "state record"},
		{"state cut", []byte{stateSpace}, []byte{1}, "state record: record is cut short"},
		{"state with a flipped bit", []byte{stateSpace}, flip(appendState(nil, state{revision: 9}), 8), "state record: wrong checksum"},
		{"server gone", serverKey(nil, 0), nil, "server 0: record is missing"},
		{"server with a flipped bit", serverKey(nil, 1), flip(appendServer(nil, serverKey(nil, 1), server{"s", true}), 1), "server 1: wrong checksum"},
		{"server under another's key", serverKey(nil, 1), appendServer(nil, serverKey(nil, 0), server{"s", true}), "server 1: wrong checksum"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := openTest(t)
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			raw(t, d.fs, func(db *pebble.DB) error {
				if test.value == nil {
					return db.Delete(test.key, nil)
				}
				return db.Set(test.key, test.value, nil)
			})
			_, err := Open(configOn(d.fs))
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), testDir) {
				t.Fatalf("Open: %v, want it to say %q", err, test.want)
			}
		})
	}
}

func flip(b []byte, i int) []byte {
	b[i] ^= 1
	return b
}

// A damaged entry is an error to who asks for it, and to nobody else.
func TestCorruptEntry(t *testing.T) {
	d := openTest(t)
	create(t, d, "a", IDs{RW: 7})
	create(t, d, "b", IDs{RW: 8})
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	raw(t, d.fs, func(db *pebble.DB) error {
		key := nameKey(nil, []byte("a"))
		return errors.Join(db.Set(key, flip(appendEntry(nil, key, &record{name: newText("a")}), 3), nil),
			db.Set(idKey(nil, 8), appendID(nil, idKey(nil, 8), readOnly, []byte("gone")), nil))
	})
	d = openWith(t, configOn(d.fs))
	for range 2 { // the second time shows that no error was cached
		for name, want := range map[string]string{"a": "wrong checksum", "7": "wrong checksum", "8": "does not have it"} {
			if _, err := d.Get(name); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Get(%s): %v, want it to say %q", name, err, want)
			}
		}
	}
	mustGet(t, d, "b")
	revision := d.Revision()
	if _, err := d.Apply(revision+1, Change{Op: Delete, Name: "a"}); err == nil || d.Revision() != revision {
		t.Fatalf("a change of a damaged entry: %v, revision %d", err, d.Revision())
	}
	create(t, d, "c", IDs{})
	if _, err := d.List(Filter{}, "", 10); err == nil {
		t.Fatal("List passed over a damaged entry")
	}
}

func TestOpenTwice(t *testing.T) {
	d := openTest(t)
	if _, err := Open(configOn(d.fs)); err == nil {
		t.Fatal("opened twice")
	}
}

func TestUseAfterClose(t *testing.T) {
	d := openTest(t)
	if err := errors.Join(d.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	_, listErr := d.List(Filter{}, "", 1)
	_, getErr := d.Get("a")
	_, applyErr := d.Apply(99, Change{Op: NewID, Count: 1})
	for what, err := range map[string]error{"List": listErr, "Get": getErr, "Apply": applyErr, "Backup": d.Backup("b"), "Restore": d.Restore("b")} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v, want ErrClosed", what, err)
		}
	}
	d.Stats()
}
