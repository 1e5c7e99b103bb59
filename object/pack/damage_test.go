package pack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"carillon/object"
	"carillon/object/conformance"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	damageObjects = 6
	damageGroup   = 3 // written at once
)

func damageName(i int) string { return fmt.Sprint("object/", i) }

func damageContent(i int) []byte { return conformance.Content(10+40*i, uint64(i)) }

// damaged is a store after a small history: killed, or closed so that there is a checkpoint.
func smallHistory(t *testing.T, closed bool) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewCrashableMem()
	s, err := Open(Config{Dir: "/objects", FS: fs, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < damageObjects; i += damageGroup {
		var group []object.ContentPut
		for j := i; j < i+damageGroup; j++ {
			group = append(group, object.ContentPut{Name: damageName(j), Content: damageContent(j), Put: object.Put{Version: conformance.V(1)}})
		}
		for _, result := range s.PutBatch(t.Context(), group) {
			if result.Err != nil {
				t.Fatal(result.Err)
			}
		}
	}
	killed := fs.CrashClone(vfs.CrashCloneCfg{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if closed {
		return fs
	}
	return killed
}

// with returns a copy of a file system in which a file has other bytes.
func with(t *testing.T, fs *vfs.MemFS, path string, change func([]byte) []byte) *vfs.MemFS {
	t.Helper()
	image := fs.CrashClone(vfs.CrashCloneCfg{})
	f, err := image.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	f, err = image.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(change(bytes.Clone(content))); err != nil {
		t.Fatal(err)
	}
	return image
}

// intact opens a store and tells which objects are there. One that has another content fails the test.
func intact(t *testing.T, fs *vfs.MemFS) (there [damageObjects]bool) {
	t.Helper()
	s, err := Open(Config{Dir: "/objects", FS: fs, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	for i := range damageObjects {
		body, err := s.Get(t.Context(), damageName(i), object.Get{})
		if err != nil {
			if !errors.Is(err, object.ErrNotFound) && !errors.Is(err, object.ErrDamaged) {
				t.Error(err)
			}
			continue
		}
		content, err := io.ReadAll(body)
		if err != nil || !bytes.Equal(content, damageContent(i)) {
			t.Errorf("object %d: %d bytes, %v", i, len(content), err)
		}
		there[i] = true
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	return there
}

const firstSegment = "/objects/segments/0000000000000001.seg"

func fileSize(t *testing.T, fs *vfs.MemFS, path string) int {
	t.Helper()
	info, err := fs.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return int(info.Size())
}

// recordEnds are where the records of smallHistory end in the segment, without their padding.
func recordEnds() (ends []int) {
	at := segmentHeaderSize
	for i := range damageObjects {
		if i > 0 && i%damageGroup == 0 {
			at = wholePages(at)
		}
		r := record{info: object.Info{Name: damageName(i), Size: int64(len(damageContent(i)))}}
		at += int(r.size())
		ends = append(ends, at)
	}
	return ends
}

func wholePages(n int) int { return (n + pageSize - 1) / pageSize * pageSize }

// TestTruncated cuts the log at every byte: what is whole before it is there.
func TestTruncated(t *testing.T) {
	fs := smallHistory(t, false)
	ends := recordEnds()
	at := ends[damageObjects-1]
	if size := fileSize(t, fs, firstSegment); size != wholePages(at) {
		t.Fatalf("the segment has %d bytes, want %d and the rest of a page", size, at)
	}
	for cut := range at + 1 {
		there := intact(t, with(t, fs, firstSegment, func(b []byte) []byte { return b[:cut] }))
		for i, end := range ends {
			if there[i] != (end <= cut) {
				t.Fatalf("cut at %d of %d: object %d, which ends at %d, is there: %v", cut, at, i, end, there[i])
			}
		}
	}
}

// TestPaddingIsNoDamage: between groups there is nothing that a start would miss.
func TestPaddingIsNoDamage(t *testing.T) {
	s, err := Open(Config{Dir: "/objects", FS: smallHistory(t, false), Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	if stats := s.Stats(); stats.Damaged != 0 || stats.Names != damageObjects {
		t.Errorf("%+v", stats)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestFlipped flips a bit of every byte of the log: at most the object it is in is lost, and none is wrong.
func TestFlipped(t *testing.T) {
	for _, closed := range []bool{false, true} {
		fs := smallHistory(t, closed)
		size := fileSize(t, fs, firstSegment)
		for at := 0; at < size; at++ {
			zeros := false
			there := intact(t, with(t, fs, firstSegment, func(b []byte) []byte {
				zeros = len(bytes.Trim(b[at:min(at+align, size)], "\x00")) == 0
				b[at] ^= 1 << (at % 8)
				return b
			}))
			if n := strings.Count(fmt.Sprint(there), "false"); n > 1 || at < segmentHeaderSize && n > 0 {
				t.Fatalf("closed %v, bit flipped at %d: there is %v", closed, at, there)
			}
			if zeros { // as is the rest of a page: some of it are enough
				at += 20
			}
		}
	}
}

// TestFlippedCheckpoint: a checkpoint that is damaged anywhere, cut, or not there is not needed.
func TestFlippedCheckpoint(t *testing.T) {
	const path = "/objects/checkpoint"
	fs := smallHistory(t, true)
	whole := func(what string, at int, image *vfs.MemFS) {
		if there := intact(t, image); strings.Contains(fmt.Sprint(there), "false") {
			t.Fatalf("checkpoint %s at %d: there is %v", what, at, there)
		}
	}
	for at := range fileSize(t, fs, path) {
		whole("flipped", at, with(t, fs, path, func(b []byte) []byte { b[at] ^= 1 << (at % 8); return b }))
		whole("cut", at, with(t, fs, path, func(b []byte) []byte { return b[:at] }))
	}
	image := fs.CrashClone(vfs.CrashCloneCfg{})
	if err := image.Remove(path); err != nil {
		t.Fatal(err)
	}
	whole("removed", 0, image)
}

// TestRepair puts a good copy in the place of a damaged one.
func TestRepair(t *testing.T) {
	fs := with(t, smallHistory(t, true), firstSegment, func(b []byte) []byte { b[recordEnds()[damageObjects-1]-20] ^= 1; return b })
	s, err := Open(Config{Dir: "/objects", FS: fs, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	last := damageObjects - 1
	if _, err := s.Get(t.Context(), damageName(last), object.Get{}); !errors.Is(err, object.ErrDamaged) {
		t.Fatalf("got %v, want that it is damaged", err)
	}
	content := damageContent(last)
	o := object.Put{Version: conformance.V(1), Size: int64(len(content)), Repair: true}
	if _, err := s.Put(t.Context(), damageName(last), bytes.NewReader(content), o); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if there := intact(t, fs); strings.Contains(fmt.Sprint(there), "false") {
		t.Fatalf("after the repair there is %v", there)
	}
}

// TestCompactionBoundsSpace overwrites a few names many times.
func TestCompactionBoundsSpace(t *testing.T) {
	const segment = 64 << 10
	s, err := Open(Config{Dir: "/objects", SegmentBytes: segment, CompactRate: 1 << 40, FS: vfs.NewMem(), Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	const names, size = 40, 2000
	for version := range uint64(100) {
		for i := range names {
			content := conformance.Content(size, version)
			if _, err := s.Put(t.Context(), damageName(i), bytes.NewReader(content), object.Put{Version: conformance.V(version + 1), Size: size}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.round(); err != nil { // the keeper may still be at it
		t.Fatal(err)
	}
	stats := s.Stats()
	if most := 2*stats.LiveBytes + 2*segment; stats.DiskBytes > most || stats.LiveBytes < names*size {
		t.Errorf("%d bytes on disk, %d of them live, want at most %d", stats.DiskBytes, stats.LiveBytes, most)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
