package archive

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"carillon/backup"
	"carillon/object"
)

func open(t *testing.T, url string) *Archive {
	t.Helper()
	a, err := Open(t.Context(), url, "", slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func list(texts ...string) []backup.File {
	all := []backup.File{backup.Content(backup.IdentityPath, []byte("this one"))}
	for i, text := range texts {
		all = append(all, backup.Content("store/"+string(rune('a'+i)), []byte(text)))
	}
	return all
}

func makeIt(t *testing.T, a *Archive, at, keep int, files []backup.File) Made {
	t.Helper()
	made, err := a.Make(t.Context(), time.Unix(int64(at), 0), uint64(at), keep, files, func(int64, int64) {})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// TestArchive: only what is new is sent, the newest comes back, and what no catalogue lists goes.
func TestArchive(t *testing.T) {
	a := open(t, "file://"+t.TempDir()+"?sync=none")
	if _, err := a.Source(t.Context()); !errors.Is(err, ErrNone) {
		t.Errorf("of an empty archive: %v", err)
	}
	if made := makeIt(t, a, 1, 2, list("one", "two")); made.Sent != 14 || made.Removed != 0 {
		t.Errorf("%+v", made)
	}
	if made := makeIt(t, a, 2, 2, list("one", "changed")); made.Sent != 7 || made.Removed != 0 {
		t.Errorf("%+v", made)
	}
	if made := makeIt(t, a, 3, 2, list("one", "changed")); made.Sent != 0 || made.Removed != 2 { // a catalogue and "two"
		t.Errorf("%+v", made)
	}
	if _, err := a.Make(t.Context(), time.Unix(4, 0), 4, 0, []backup.File{backup.Content(backup.IdentityPath, []byte("another"))}, nil); !errors.Is(err, backup.ErrForeign) {
		t.Errorf("another data directory: %v", err)
	}
	source, err := a.Source(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "restored")
	m, err := backup.Restore(t.Context(), backup.Config{FS: source}, source.Dir(), dir, nil, func(*backup.Manifest) error { return nil })
	if err != nil || m.Position != 3 {
		t.Fatalf("%+v, %v", m, err)
	}
	for name, want := range map[string]string{"store/a": "one", "store/b": "changed", backup.IdentityPath: "this one"} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(text) != want {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	if _, err := source.Open(source.Dir() + "/store/x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// failing refuses puts after some.
type failing struct {
	Objects
	left int
}

var errFull = errors.New("full")

func (f *failing) Put(ctx context.Context, name string, open func() (io.ReadCloser, error), size int64) error {
	if f.left--; f.left < 0 {
		return errFull
	}
	return f.Objects.Put(ctx, name, open, size)
}

// TestInterrupted: without its catalogue nothing is archived, and the next run sends only the rest.
func TestInterrupted(t *testing.T) {
	a := open(t, "pack://"+t.TempDir()+"?sync=none")
	whole := a.objects
	a.objects = &failing{whole, 2}
	if _, err := a.Make(t.Context(), time.Unix(1, 0), 1, 1, list("one", "two"), func(int64, int64) {}); !errors.Is(err, errFull) {
		t.Fatal(err)
	}
	if _, err := a.Source(t.Context()); !errors.Is(err, ErrNone) {
		t.Errorf("half an archive: %v", err)
	}
	a.objects = whole
	if made := makeIt(t, a, 2, 1, list("one", "two")); made.Sent != 3 {
		t.Errorf("%+v", made)
	}
	page, err := whole.List(t.Context(), object.List{})
	if err != nil || len(page.Objects) != 4 || !strings.HasPrefix(page.Objects[0].Name, catalogues) {
		t.Errorf("%+v, %v", page.Objects, err)
	}
}

func TestBadURL(t *testing.T) {
	for _, bad := range []string{"ftp://x", "s3://", "file://"} {
		if Check(bad) == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}
