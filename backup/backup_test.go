package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// world is a data directory on disk a, with one file that changes between backups.
type world struct {
	*memFS
	files map[string]string
}

func newWorld() *world {
	w := &world{newMemFS(), map[string]string{
		IdentityPath: `{"format":1}`, "store/000/MANIFEST": "first",
		"store/000/10s/0000000000000001.pages": "page one", "store/000/10s/0000000000000002.pages": "page two",
		"directory/000007.sst": "a table",
	}}
	w.save()
	for _, disk := range []string{"a", "b"} {
		w.put(disk+"/anchor", nil)
	}
	return w
}

func (w *world) save() {
	for path, text := range w.files {
		w.put("a/data/"+path, []byte(text))
	}
}

// change is what happens between two backups.
func (w *world) change() {
	delete(w.files, "store/000/10s/0000000000000001.pages")
	w.files["store/000/10s/0000000000000003.pages"] = "page three"
	w.files["store/000/MANIFEST"] = "second"
	w.save()
}

// list is what there is to back up; of page files the checksum is known.
func (w *world) list() []File {
	var files []File
	for path, text := range w.files {
		f := File{Path: path, Size: int64(len(text))}
		switch {
		case strings.HasSuffix(path, ".pages"):
			f.From, f.CRC, f.Known = "a/data/"+path, checksum([]byte(text)), true
		case strings.HasSuffix(path, ".sst"):
			f.From = "a/data/" + path
		default:
			f.Content = []byte(text)
			f.CRC, f.Known = checksum(f.Content), true
		}
		files = append(files, f)
	}
	return files
}

func (w *world) backUp(target string, at time.Time, keep int) (Made, error) {
	return Make(context.Background(), Config{FS: w}, target, at, 42, keep, w.list())
}

// read is what a folder holds.
func (w *world) read(t *testing.T, dir string) map[string]string {
	t.Helper()
	found, err := w.Walk(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for _, f := range found {
		in, err := w.Open(dir + "/" + f.Path)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		files[f.Path] = string(data)
	}
	return files
}

func (w *world) check(t *testing.T, dir string) {
	t.Helper()
	report, err := Verify(context.Background(), Config{FS: w}, dir)
	if err != nil || len(report.Problems) > 0 {
		t.Fatalf("%s: %v, %q", dir, err, report.Problems)
	}
}

func same(t *testing.T, what string, have, want map[string]string) {
	t.Helper()
	if fmt.Sprint(have) != fmt.Sprint(want) {
		t.Fatalf("%s:\nhave %v\nwant %v", what, have, want)
	}
}

func TestIncremental(t *testing.T) {
	for _, target := range []string{"a/backups", "b/backups"} {
		w := newWorld()
		first, err := w.backUp(target, start, 2)
		if err != nil {
			t.Fatal(err)
		}
		w.check(t, first.Dir)
		w.change()
		second, err := w.backUp(target, start.Add(-time.Hour), 2) // the clock was set back
		if err != nil {
			t.Fatal(err)
		}
		w.check(t, second.Dir)
		if second.Dir <= first.Dir {
			t.Errorf("%s does not come after %s", second.Dir, first.Dir)
		}
		copied := int64(len("second")) // the manifest is in memory
		if strings.HasPrefix(target, "b") {
			copied += int64(len("page three"))
		}
		if second.Copied != copied || second.Linked+second.Copied != second.Bytes {
			t.Errorf("%s: copied %d bytes, want %d, linked %d of %d", target, second.Copied, copied, second.Linked, second.Bytes)
		}
		third, err := w.backUp(target, start.Add(time.Hour), 2)
		if err != nil {
			t.Fatal(err)
		}
		if len(third.Removed) != 1 || third.Removed[0] != first.Dir {
			t.Errorf("removed %q, want %q", third.Removed, first.Dir)
		}
		if dir, err := Find(Config{FS: w}, target); err != nil || dir != third.Dir {
			t.Errorf("the newest is %q, %v", dir, err)
		}
	}
}

func TestForeignTarget(t *testing.T) {
	w := newWorld()
	if _, err := w.backUp("b/backups", start, 0); err != nil {
		t.Fatal(err)
	}
	w.files[IdentityPath] = `{"format":1,"other":true}`
	if _, err := w.backUp("b/backups", start, 0); !errors.Is(err, ErrForeign) {
		t.Errorf("backing another directory up there: %v", err)
	}
}

// stops calls do with a machine that stops at the first call, then with one that
// stops at the second, and so on until it does not stop. The machine is killed or
// loses power, and goes on to be looked at.
func stops(t *testing.T, do func(w *world) error, look func(w *world)) {
	t.Helper()
	for _, powerCut := range []bool{false, true} {
		for calls := 0; ; calls++ {
			if calls > 2000 {
				t.Fatal("it never ends")
			}
			w := newWorld()
			w.left = calls
			err := do(w)
			if err != nil && !errors.Is(err, errStopped) {
				t.Fatalf("stopped at call %d: %v", calls, err)
			}
			stopped := w.left == 0
			w.left = -1
			if powerCut {
				w.root.loseUnsynced()
			}
			look(w)
			if !stopped {
				break
			}
		}
	}
}

// TestInterruptedBackup stops a second backup at every call: the target has the
// first one or the second, whole, the data are what they were, and the next run
// makes a backup.
func TestInterruptedBackup(t *testing.T) {
	for _, target := range []string{"a/backups", "b/backups"} {
		var before map[string]string
		stops(t, func(w *world) error {
			left := w.left
			w.left = -1
			if _, err := w.backUp(target, start, 1); err != nil {
				t.Fatal(err)
			}
			before = w.read(t, target+"/"+start.Format(folderLayout))
			w.change()
			w.left = left
			_, err := w.backUp(target, start.Add(time.Hour), 1)
			return err
		}, func(w *world) {
			dir, err := Find(Config{FS: w}, target)
			if err != nil {
				t.Fatal(err)
			}
			w.check(t, dir)
			have := w.read(t, dir)
			delete(have, ManifestName)
			if strings.HasSuffix(dir, start.Format(folderLayout)) {
				delete(before, ManifestName)
				same(t, "the first backup", have, before)
			} else {
				same(t, "the second backup", have, w.files)
			}
			for path, text := range w.files {
				if n, err := w.find("a/data/" + path); err != nil || string(n.data) != text {
					t.Fatalf("%s was changed to %q, %v", path, n.data, err)
				}
			}
			again, err := w.backUp(target, start.Add(2*time.Hour), 1)
			if err != nil {
				t.Fatal(err)
			}
			w.check(t, again.Dir)
			if names, err := w.List(target); err != nil || len(names) != 1 {
				t.Fatalf("the target has %q, %v", names, err)
			}
		})
	}
}

// TestInterruptedRestore stops restoring at every call: the folder is marked, or it
// is all there.
func TestInterruptedRestore(t *testing.T) {
	config := func(w *world) Config { return Config{FS: w} }
	restore := func(w *world) error {
		_, err := Restore(context.Background(), config(w), "b/backups/"+start.Format(folderLayout), "a/restored", []string{"LOCK"},
			func(*Manifest) error { return writeSynced(w, "a/restored/finished", []byte("by the server")) })
		return err
	}
	stops(t, func(w *world) error {
		left := w.left
		w.left = -1
		if _, err := w.backUp("b/backups", start, 1); err != nil {
			t.Fatal(err)
		}
		w.put("a/restored/LOCK", []byte("1"))
		w.left = left
		return restore(w)
	}, func(w *world) {
		err := Finished(config(w), "a/restored")
		have := w.read(t, "a/restored")
		delete(have, "LOCK")
		if err == nil && len(have) > 0 {
			want := map[string]string{"finished": "by the server"}
			for path, text := range w.files {
				want[path] = text
			}
			same(t, "restored", have, want)
			return
		}
		if err != nil && !errors.Is(err, ErrUnfinished) {
			t.Fatal(err)
		}
		if err := restore(w); err != nil {
			t.Fatal(err)
		}
		if err := Finished(config(w), "a/restored"); err != nil {
			t.Fatal(err)
		}
	})
}

func TestRestoreRefuses(t *testing.T) {
	w := newWorld()
	made, err := w.backUp("b/backups", start, 0)
	if err != nil {
		t.Fatal(err)
	}
	restore := func(to string) error {
		_, err := Restore(context.Background(), Config{FS: w}, made.Dir, to, nil, func(*Manifest) error { return nil })
		return err
	}
	w.put("a/full/something", nil)
	if err := restore("a/full"); !errors.Is(err, ErrNotEmpty) || !strings.Contains(err.Error(), "something") {
		t.Errorf("a folder that is not empty: %v", err)
	}
	w.put(strings.TrimPrefix(made.Dir, "/")+"/directory/000007.sst", []byte("b table"))
	if err := restore("a/new"); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "directory/000007.sst") {
		t.Errorf("a damaged file: %v", err)
	}
	if err := Finished(Config{FS: w}, "a/new"); !errors.Is(err, ErrUnfinished) {
		t.Errorf("after that: %v", err)
	}
	report, err := Verify(context.Background(), Config{FS: w}, made.Dir)
	if err != nil || len(report.Problems) != 1 || !strings.Contains(report.Problems[0], "directory/000007.sst") {
		t.Errorf("verify: %v, %q", err, report.Problems)
	}
	if _, err := Find(Config{FS: w}, "a/full"); !errors.Is(err, ErrNone) {
		t.Errorf("a folder that is no backup: %v", err)
	}
}

// TestDisk is the same on a real file system, where links share their file.
func TestDisk(t *testing.T) {
	dir := t.TempDir()
	page := filepath.Join(dir, "one.pages")
	if err := os.WriteFile(page, []byte("a page"), 0o600); err != nil {
		t.Fatal(err)
	}
	files := []File{
		{Path: "store/000/10s/one.pages", Size: 6, CRC: checksum([]byte("a page")), Known: true, From: page},
		{Path: IdentityPath, Size: 2, CRC: checksum([]byte("{}")), Known: true, Content: []byte("{}")},
	}
	var done, total int64
	c := Config{Progress: func(d, of int64) { done, total = d, of }}
	made, err := Make(t.Context(), c, filepath.Join(dir, "backups"), start, 7, 0, files)
	if err != nil {
		t.Fatal(err)
	}
	if done != 8 || total != 8 || made.Linked != 6 || made.Copied != 2 {
		t.Errorf("progress %d of %d, %+v", done, total, made)
	}
	before, err := os.Stat(page)
	if err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(filepath.Join(made.Dir, "store/000/10s/one.pages"))
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("it is no link: %v", err)
	}
	to := filepath.Join(dir, "restored")
	m, err := Restore(t.Context(), c, made.Dir, to, nil, func(*Manifest) error { return nil })
	if err != nil || m.Position != 7 {
		t.Fatal(m, err)
	}
	restored, err := os.Stat(filepath.Join(to, "store/000/10s/one.pages"))
	if err != nil || os.SameFile(before, restored) {
		t.Errorf("it is a link: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Make(ctx, c, filepath.Join(dir, "backups"), start, 7, 0, files); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

func TestManifestRefuses(t *testing.T) {
	good := &Manifest{Made: start, Position: 3, Files: []Entry{{"a", 1, 2}, {"b/c", 3, 4}}}
	if m, err := ParseManifest(good.append(nil)); err != nil || !bytes.Equal(m.append(nil), good.append(nil)) {
		t.Fatal(m, err)
	}
	for what, m := range map[string]*Manifest{
		"not in order":          {Made: start, Files: []Entry{{"b", 1, 2}, {"a", 1, 2}}},
		"none of a file":        {Made: start, Files: []Entry{{"../a", 1, 2}}},
		"path \"/a\" is none":   {Made: start, Files: []Entry{{"/a", 1, 2}}},
		"control characters":    {Made: start, Files: []Entry{{"a\tb", 1, 2}}},
		"a negative size":       {Made: start, Files: []Entry{{"a", -1, 2}}},
		"path \"BACKUP\" is no": {Made: start, Files: []Entry{{"BACKUP", 1, 2}}},
	} {
		if _, err := ParseManifest(m.append(nil)); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	data := good.append(nil)
	data[len(data)/2] ^= 1
	if _, err := ParseManifest(data); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a flipped bit: %v", err)
	}
	newer := bytes.Replace(good.append(nil), []byte("backup 1"), []byte("backup 2"), 1)
	if _, err := ParseManifest(newer); err == nil || !strings.Contains(err.Error(), "only version 1") {
		t.Errorf("a newer version: %v", err)
	}
}

func FuzzParseManifest(f *testing.F) {
	m := &Manifest{Made: start, Position: 3, Files: []Entry{{"a", 1, 2}, {"b/c", 3, 4}}}
	f.Add(m.append(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, data := range [][]byte{data, fmt.Appendf(bytes.Clone(data), "crc32c %08x\n", checksum(data))} {
			if m, err := ParseManifest(data); err == nil && !bytes.Equal(m.append(nil), data) {
				t.Errorf("%q came back as %q", data, m.append(nil))
			}
		}
	})
}
