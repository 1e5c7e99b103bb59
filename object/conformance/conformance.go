// Package conformance is the tests that every backend of object passes. In comes a function that
// opens a store, the same one again after it was closed; out come failures of the test that
// called Run. The tests of every backend call it.
package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"carillon/object"
)

// Keep is how many versions of a name the stores must be configured to keep.
const Keep = 3

// Open opens the store that a test closes and opens again.
type Open func(t *testing.T) object.Store

type test struct {
	name string
	run  func(t *testing.T, open Open)
}

// Run runs all tests side by side, each with the stores that a call of fresh gives: the first call of the Open
// that it returns is of an empty store, the next ones of the same store after Close.
func Run(t *testing.T, fresh func(t *testing.T) Open) {
	run(t, fresh, []test{
		{"sizes", testSizes},
		{"ranges", testRanges},
		{"names", testNames},
		{"bad bodies", testBadBodies},
		{"any order", testAnyOrder},
		{"compare", testCompareAndSet},
		{"concurrent", testConcurrentCompareAndSet},
		{"list", testList},
		{"large", testLarge},
		{"displaced read", testReadWhileDisplaced},
		{"model", testModel},
	})
	RunBrief(t, fresh)
}

// RunBrief runs those tests that can tell one sync policy from another.
func RunBrief(t *testing.T, fresh func(t *testing.T) Open) {
	run(t, fresh, []test{
		{"versions", testVersions},
		{"delete", testDelete},
		{"forget", testForget},
		{"forget dropped", testForgetWhileDropped},
		{"drop", testDrop},
		{"repeat", testRepeatedPut},
		{"many", testManyWriters},
		{"closed", testClosed},
	})
}

func run(t *testing.T, fresh func(t *testing.T) Open, tests []test) {
	for _, one := range tests {
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			one.run(t, fresh(t))
		})
	}
}

// V is a short way to a version.
func V(n uint64) object.Version { return object.Version{Hi: n, Lo: 1} }

// Content is bytes that depend on a seed.
func Content(size int, seed uint64) []byte {
	content := make([]byte, size)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	_, _ = r.Read(content)
	return content
}

func put(t *testing.T, s object.Store, name string, version uint64, content []byte) object.Info {
	t.Helper()
	info, err := s.Put(t.Context(), name, bytes.NewReader(content), object.Put{Version: V(version), Size: int64(len(content))})
	if err != nil {
		t.Fatalf("put %q: %v", name, err)
	}
	want := object.Info{Name: name, Version: V(version), Size: int64(len(content)), Sum: object.SumOf(content)}
	if info != want {
		t.Fatalf("put %q: got %+v, want %+v", name, info, want)
	}
	return info
}

func get(ctx context.Context, s object.Store, name string, o object.Get) ([]byte, error) {
	body, err := s.Get(ctx, name, o)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(body)
	return content, errors.Join(err, body.Close())
}

func wantContent(t *testing.T, s object.Store, name string, o object.Get, want []byte) {
	t.Helper()
	got, err := get(t.Context(), s, name, o)
	if err != nil {
		t.Fatalf("get %q: %v", name, err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("get %q: got %d bytes that differ from the %d expected", name, len(got), len(want))
	}
}

func wantError(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("got error %v, want %v", got, want)
	}
}

func wantNothing(t *testing.T, s object.Store) {
	t.Helper()
	page, err := s.List(t.Context(), object.List{Deleted: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(page.Objects) > 0 {
		t.Fatalf("there is %+v, want nothing", page.Objects)
	}
}

func reopen(t *testing.T, s object.Store, open Open) object.Store {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	return open(t)
}

func closeAfter(t *testing.T, s object.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func testSizes(t *testing.T, open Open) {
	s := open(t)
	sizes := []int{0, 1, 7, 4096, 10_000, 64<<10 - 1, 64 << 10, 64<<10 + 1, 256 << 10, 256<<10 + 1, 1 << 20, 1<<20 + 1}
	whole := Content(sizes[len(sizes)-1], 1)
	for _, size := range sizes {
		put(t, s, fmt.Sprint("known/", size), 1, whole[:size])
		unknown := iotest.DataErrReader(iotest.HalfReader(bytes.NewReader(whole[:size])))
		sum := object.SumOf(whole[:size])
		if _, err := s.Put(t.Context(), fmt.Sprint("unknown/", size), unknown, object.Put{Version: V(1), Size: object.UnknownSize, Sum: &sum}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		for _, size := range sizes {
			wantContent(t, s, fmt.Sprint("known/", size), object.Get{}, whole[:size])
			wantContent(t, s, fmt.Sprint("unknown/", size), object.Get{}, whole[:size])
		}
		s = reopen(t, s, open)
	}
	closeAfter(t, s)
}

func testRanges(t *testing.T, open Open) {
	s := open(t)
	defer closeAfter(t, s)
	for _, size := range []int{1, 1000, 70_000, 300_000, 2<<20 + 3} {
		content := Content(size, 1)
		put(t, s, "range", uint64(size), content)
		r := rand.New(rand.NewPCG(1, uint64(size)))
		for range 12 {
			offset := r.IntN(size)
			length := r.IntN(size) + 1
			wantContent(t, s, "range", object.Get{Offset: int64(offset), Length: int64(length)}, content[offset:min(size, offset+length)])
			wantContent(t, s, "range", object.Get{Offset: int64(offset)}, content[offset:])
		}
		for _, o := range []object.Get{{Offset: int64(size)}, {Offset: int64(size) + 1, Length: 1}, {Offset: -1}, {Length: -1}} {
			_, err := get(t.Context(), s, "range", o)
			wantError(t, err, object.ErrRange)
		}
	}
}

func testNames(t *testing.T, open Open) {
	s := open(t)
	defer closeAfter(t, s)
	for _, bad := range []string{"", "..", "a/../b", "../a", "a/..", "a\x00b", "\xff\xfe", strings.Repeat("n", object.MaxName+1), strings.Repeat("n", 4096)} {
		_, err := s.Put(t.Context(), bad, strings.NewReader("x"), object.Put{Version: V(1), Size: 1})
		wantError(t, err, object.ErrName)
		_, err = s.Get(t.Context(), bad, object.Get{})
		wantError(t, err, object.ErrName)
		_, err = s.Stat(t.Context(), bad)
		wantError(t, err, object.ErrName)
		_, err = s.History(t.Context(), bad)
		wantError(t, err, object.ErrName)
		_, err = s.Delete(t.Context(), bad, object.Delete{Version: V(1)})
		wantError(t, err, object.ErrName)
		wantError(t, s.Drop(t.Context(), bad, V(1)), object.ErrName)
	}
	wantNothing(t, s)
	for i, good := range []string{"a", "/", "a/b", ".", "...", "a..b", "ä/ö €", strings.Repeat("n", object.MaxName), "new\nline", "%2e%2e"} {
		put(t, s, good, 1, Content(i, 3))
		wantContent(t, s, good, object.Get{}, Content(i, 3))
	}
}

func testBadBodies(t *testing.T, open Open) {
	s := open(t)
	for _, size := range []int{100, 3 << 20} {
		content := Content(size, 4)
		broken := errors.New("connection lost")
		wrong := object.SumOf([]byte("another"))
		for _, c := range []struct {
			body io.Reader
			put  object.Put
			want error
		}{
			{bytes.NewReader(content), object.Put{Version: V(1), Size: int64(size) + 1}, object.ErrSize},
			{bytes.NewReader(content), object.Put{Version: V(1), Size: int64(size) - 1}, object.ErrSize},
			{bytes.NewReader(content), object.Put{Version: V(1), Size: -2}, object.ErrSize},
			{bytes.NewReader(content), object.Put{Version: V(1), Size: int64(size), Sum: &wrong}, object.ErrSum},
			{bytes.NewReader(content), object.Put{Version: V(1), Size: object.UnknownSize, Sum: &wrong}, object.ErrSum},
			{bytes.NewReader(content), object.Put{Size: int64(size)}, object.ErrVersion},
			{io.MultiReader(bytes.NewReader(content[:size/2]), iotest.ErrReader(broken)), object.Put{Version: V(1), Size: int64(size)}, broken},
			{io.MultiReader(bytes.NewReader(content[:size/2]), iotest.ErrReader(broken)), object.Put{Version: V(1), Size: object.UnknownSize}, broken},
			{io.MultiReader(bytes.NewReader(content[:size/2]), iotest.ErrReader(io.ErrUnexpectedEOF)), object.Put{Version: V(1), Size: object.UnknownSize}, io.ErrUnexpectedEOF},
		} {
			_, err := s.Put(t.Context(), "bad", c.body, c.put)
			wantError(t, err, c.want)
		}
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.Put(canceled, "bad", bytes.NewReader(content), object.Put{Version: V(1), Size: int64(size)})
		wantError(t, err, context.Canceled)
	}
	_, err := s.Delete(t.Context(), "bad", object.Delete{})
	wantError(t, err, object.ErrVersion)
	wantNothing(t, s)
	s = reopen(t, s, open)
	wantNothing(t, s)
	closeAfter(t, s)
}
