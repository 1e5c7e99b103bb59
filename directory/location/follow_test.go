package location

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// witness notes what a follower is told, and whether it could look it up by then.
type witness struct {
	t         *testing.T
	directory *Directory
	told      []string
}

func (w *witness) Edited(edits []Edit) {
	for _, e := range edits {
		name := func(e *Entry) string {
			if e == nil {
				return "-"
			}
			return fmt.Sprintf("%s:%d", e.Name, e.IDs.RW)
		}
		w.told = append(w.told, name(e.Before)+">"+name(e.After))
		if e.After == nil {
			continue
		}
		if found, err := w.directory.Get(e.After.Name); err != nil || found.Version < e.After.Version {
			w.t.Errorf("told of %+v while a look-up finds %+v, %v", e.After, found, err)
		}
	}
}

func (w *witness) Replaced() { w.told = append(w.told, "replaced") }

func TestFollowerIsToldWhatChanged(t *testing.T) {
	w := &witness{t: t}
	config := configOn(vfs.NewMem())
	config.Follower = w
	d := openWith(t, config)
	w.directory = d
	create(t, d, "a", IDs{RW: 1})
	if err := d.Backup("backup"); err != nil {
		t.Fatal(err)
	}
	first, name := d.Revision(), "b"
	if _, err := d.ApplyAll([]Numbered{
		{first + 1, Change{Op: Create, Entry: Entry{Name: "a"}}}, // refused
		{first + 2, Change{Op: Update, Name: "a", Patch: Patch{Name: &name}}},
		{first + 3, Change{Op: NewID, Count: 1}},
		{first + 4, Change{Op: Delete, Name: "nobody"}}, // refused
		{first + 5, Change{Op: TakeLock, Name: "b", Owner: "me", Expires: 10}},
	}); err != nil {
		t.Fatal(err)
	}
	do(t, d, Change{Op: Delete, Name: "b", Owner: "me"})
	if err := d.Restore("backup"); err != nil {
		t.Fatal(err)
	}
	if err := d.Restore("nothing"); err == nil {
		t.Error("nothing was restored")
	}
	if want := []string{"->a:1", "a:1>b:1", "b:1>b:1", "b:1>-", "replaced"}; !slices.Equal(w.told, want) {
		t.Errorf("told %q, want %q", w.told, want)
	}
}
