package bucket

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"carillon/object"
	"carillon/object/conformance"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// memory is a service whose calls a test can let fail.
type memory struct {
	mu       sync.Mutex
	files    map[string][]byte
	failPut  func() (stored bool, err error) // nil: succeed
	failNext error                           // of Remove
}

func newMemory() *memory { return &memory{files: map[string][]byte{}} }

func (m *memory) Each(_ context.Context, yield func(string) error) error {
	m.mu.Lock()
	keys := slices.Collect(maps.Keys(m.files))
	m.mu.Unlock()
	for _, k := range keys {
		if err := yield(k); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) Put(_ context.Context, key string, body io.ReadSeeker, size int64) error {
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return err
	}
	b, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	if int64(len(b)) != size {
		return errors.New("another size")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	stored := true
	if m.failPut != nil {
		stored, err = m.failPut()
	}
	if stored {
		m.files[key] = b
	}
	return err
}

func (m *memory) Get(_ context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, there := m.files[key]
	if !there {
		return nil, os.ErrNotExist
	}
	from := min(offset, int64(len(b)))
	return io.NopCloser(bytes.NewReader(b[from:min(from+length, int64(len(b)))])), nil
}

func (m *memory) Remove(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failNext != nil {
		return m.failNext
	}
	delete(m.files, key)
	return nil
}

func (m *memory) Close() error { return nil }

func (m *memory) fail(put func() (bool, error), remove error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failPut, m.failNext = put, remove
}

func openOn(t *testing.T, m *memory) *Store {
	t.Helper()
	s, err := Open(t.Context(), Config{Service: m, Keep: conformance.Keep, Spool: t.TempDir(), Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	conformance.Run(t, func(*testing.T) conformance.Open {
		m := newMemory()
		return func(t *testing.T) object.Store { return openOn(t, m) }
	})
}

// TestDoubt: a write whose outcome nobody knows does not show, and nothing is written before it is certain that it never will.
func TestDoubt(t *testing.T) {
	m := newMemory()
	s := openOn(t, m)
	lost := errors.New("connection lost")
	put := func(name string) error {
		_, err := s.Put(t.Context(), name, strings.NewReader("x"), object.Put{Version: conformance.V(1), Size: 1})
		return err
	}
	m.fail(func() (bool, error) { return true, lost }, lost)
	if err := put("a"); !errors.Is(err, lost) {
		t.Fatal(err)
	}
	m.fail(nil, lost)
	if err := put("b"); !errors.Is(err, object.ErrStopped) {
		t.Fatalf("got %v, want that nothing is written", err)
	}
	if _, err := s.Stat(t.Context(), "a"); !errors.Is(err, object.ErrNotFound) {
		t.Fatal(err)
	}
	m.fail(nil, nil)
	if err := put("b"); err != nil {
		t.Fatal(err)
	}
	if len(m.files) != 1 {
		t.Fatalf("there is %q", slices.Collect(maps.Keys(m.files)))
	}
	// The same write once more counts, though its first try is in doubt.
	m.fail(func() (bool, error) { return false, lost }, lost)
	_ = put("c")
	m.fail(nil, nil)
	if err := put("c"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Close()); err != nil {
		t.Fatal(err)
	}
	s = openOn(t, m)
	for _, name := range []string{"b", "c"} {
		if _, err := s.Stat(t.Context(), name); err != nil {
			t.Error(err)
		}
	}
}

// TestForeign: what is not ours is passed over, and a crash between a write and the removal of what it displaces is put right.
func TestForeign(t *testing.T) {
	m := newMemory()
	for version := range uint64(conformance.Keep + 2) {
		info := object.Info{Name: "a", Version: conformance.V(version + 1), Deleted: true}
		m.files[key(info)] = nil
	}
	for _, k := range []string{"readme.txt", "o/a", "o/a/zz-d", "l/00/" + conformance.V(1).String() + "-d", "o/=/" + conformance.V(1).String() + "-d"} {
		m.files[k] = []byte("something else")
	}
	s := openOn(t, m)
	history, err := s.History(t.Context(), "a")
	if err != nil || len(history) != conformance.Keep || s.Damaged() != 5 {
		t.Errorf("%d versions, %d foreign keys, %v", len(history), s.Damaged(), err)
	}
	if len(m.files) != conformance.Keep+5 {
		t.Errorf("there are %d files", len(m.files))
	}
}

// TestFlipped: no flipped bit goes unnoticed.
func TestFlipped(t *testing.T) {
	m := newMemory()
	s := openOn(t, m)
	for _, size := range []int{500, 300_000} {
		content := conformance.Content(size, 1)
		info, err := s.Put(t.Context(), "f", bytes.NewReader(content), object.Put{Version: conformance.V(uint64(size)), Size: int64(size)})
		if err != nil {
			t.Fatal(err)
		}
		b := m.files[key(info)]
		for at := 0; at < len(b); at += 1 + len(b)/400 {
			b[at] ^= 1
			body, err := s.Get(t.Context(), "f", object.Get{})
			if err == nil {
				var got []byte
				got, err = io.ReadAll(body)
				if err == nil && !bytes.Equal(got, content) {
					t.Fatalf("a bit flipped at %d of %d is not noticed", at, len(b))
				}
				_ = body.Close()
			}
			if err != nil && !errors.Is(err, object.ErrDamaged) {
				t.Fatal(err)
			}
			b[at] ^= 1
		}
	}
}

func TestKeys(t *testing.T) {
	for _, name := range []string{"a", "/", "//", "a/b", "a/", "/a", ".", "...", "a/./b", "a/.hidden", "a b", "ä=€", "n\n", strings.Repeat("n", 800), strings.Repeat("/", object.MaxName)} {
		info := object.Info{Name: name, Version: conformance.V(7), Size: 3, Sum: object.SumOf([]byte("abc"))}
		k := key(info)
		if len(k) > 1000 || strings.Contains(k, "//") || strings.Contains(k, "/.") || strings.HasPrefix(k, "/") {
			t.Errorf("%q has the key %q", name, k)
		}
		got, long, err := parseKey(k)
		if long {
			got.Name = name
		}
		if err != nil || got != info {
			t.Errorf("%q: got %+v, %v", name, got, err)
		}
	}
}

func FuzzKey(f *testing.F) {
	f.Add(key(object.Info{Name: "a/b c", Version: conformance.V(1), Deleted: true}))
	f.Add(key(object.Info{Name: strings.Repeat("x", 1000), Version: conformance.V(1), Size: 9}))
	f.Fuzz(func(t *testing.T, k string) {
		info, long, err := parseKey(k)
		if err == nil && !long && key(info) != k {
			t.Fatalf("%q is taken for %+v, whose key is %q", k, info, key(info))
		}
	})
}

// FuzzEscape: every name can be told from its key.
func FuzzEscape(f *testing.F) {
	f.Add("a/../b=")
	f.Fuzz(func(t *testing.T, name string) {
		if got, ok := unescape(escape(name)); !ok || got != name {
			t.Fatalf("%q became %q", name, got)
		}
	})
}
