package location

import (
	"path"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

func wrongs(t *testing.T, d *Directory) (entries uint64, wrong []string) {
	t.Helper()
	entries, err := d.Verify(func(err error) { wrong = append(wrong, err.Error()) })
	if err != nil {
		t.Fatal(err)
	}
	return entries, wrong
}

// TestVerify takes records away from under entries, and adds some.
func TestVerify(t *testing.T) {
	d := openTest(t)
	create(t, d, "a", IDs{RW: 7, RO: 8}, Site{Server: "s1", Partition: 3}, Site{Server: "s1", Partition: 3, Flags: 1})
	create(t, d, "b", IDs{BK: 9}, Site{Server: "s2"})
	if entries, wrong := wrongs(t, d); entries != 2 || len(wrong) > 0 {
		t.Fatalf("%d entries, %q", entries, wrong)
	}
	for what, change := range map[string]func(*pebble.Batch) error{
		"entry a: id 8 has no record":                          func(b *pebble.Batch) error { return b.Delete(idKey(nil, 8), nil) },
		"entry b: its site on server 1, partition 0 has no re": func(b *pebble.Batch) error { return b.Delete(siteKey(nil, place{server: 1}, []byte("b")), nil) },
		"4 records of ids, but entries have 3": func(b *pebble.Batch) error {
			return b.Set(idKey(nil, 10), appendID(nil, idKey(nil, 10), backup, []byte("b")), nil)
		},
		"3 records of sites, but entries have 2": func(b *pebble.Batch) error { return b.Set(siteKey(nil, place{}, []byte("b")), nil, nil) },
		"the state record says 2":                func(b *pebble.Batch) error { return b.Delete(nameKey(nil, []byte("b")), nil) },
		"entry \"a\": ":                          func(b *pebble.Batch) error { return b.Set(nameKey(nil, []byte("a")), []byte("junk"), nil) },
	} {
		broken := copyOf(t, d)
		batch := broken.db.NewBatch()
		if err := change(batch); err != nil {
			t.Fatal(err)
		}
		if err := batch.Commit(pebble.NoSync); err != nil {
			t.Fatal(err)
		}
		if _, wrong := wrongs(t, broken); !strings.Contains(strings.Join(wrong, "\n"), what) {
			t.Errorf("%q is not among %q", what, wrong)
		}
	}
}

// copyOf opens a snapshot, which is a location directory of its own.
func copyOf(t *testing.T, d *Directory) *Directory {
	t.Helper()
	fs := vfs.NewMem()
	dir := path.Join("snapshots", t.Name())
	if err := d.fs.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := d.Snapshot(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := vfs.Clone(d.fs, fs, dir, testDir); err != nil {
		t.Fatal(err)
	}
	copied := openWith(t, configOn(fs))
	if copied.Revision() != d.Revision() {
		t.Errorf("revision %d, want %d", copied.Revision(), d.Revision())
	}
	return copied
}
