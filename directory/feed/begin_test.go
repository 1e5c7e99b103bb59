package feed

import (
	"testing"
)

// TestBegin goes on with a directory that was restored, behind its revision, and reads
// the stream back.
func TestBegin(t *testing.T) {
	dir := t.TempDir()
	d := openDirectory(t, dir)
	for revision := uint64(5); revision < 8; revision++ {
		if _, err := d.Apply(revision, createOf(string(rune('a'+revision)), 0)); err != nil {
			t.Fatal(err)
		}
	}
	w := &wire{server: startServer(t, t.TempDir())}
	connection := w.connect(t)
	if err := Begin(within(t), connection, d.Revision(), 1); err != nil {
		t.Fatal(err)
	}
	checked, err := Verify(within(t), connection, func(err error) { t.Error(err) })
	if err != nil || checked != (Checked{First: 8, Last: 7}) {
		t.Errorf("a new stream has %+v, %v", checked, err)
	}
	m := start(t, w, configOf(connection, d))
	if r := m.do(t, createOf("new", 1)); r.Entry.Version < 8 {
		t.Errorf("the next change has revision %d", r.Entry.Version)
	}
	checked, err = Verify(within(t), connection, func(err error) { t.Error(err) })
	if err != nil || checked.First != 8 || checked.Last < 8 || checked.Changes != 1 {
		t.Errorf("the stream has %+v, %v", checked, err)
	}
	if _, err := connection.Request(changeSubject, []byte("junk"), patience); err != nil {
		t.Fatal(err)
	}
	damaged := 0
	if _, err := Verify(within(t), connection, func(error) { damaged++ }); err != nil || damaged != 1 {
		t.Errorf("%d damaged changes, %v", damaged, err)
	}
	if err := Begin(within(t), connection, 99, 1); err == nil {
		t.Error("a second beginning, elsewhere, succeeds")
	}
}
