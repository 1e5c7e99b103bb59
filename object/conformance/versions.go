package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"carillon/object"
)

func versionsOf(t *testing.T, s object.Store, name string) (versions []uint64) {
	t.Helper()
	history, err := s.History(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range history {
		versions = append(versions, info.Version.Hi)
	}
	return versions
}

func wantVersions(t *testing.T, s object.Store, name string, want ...uint64) {
	t.Helper()
	if got := versionsOf(t, s, name); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("history of %q: got %v, want %v", name, got, want)
	}
}

func testVersions(t *testing.T, open Open) {
	s := open(t)
	wantVersions(t, s, "v")
	for version := uint64(1); version <= 5; version++ {
		put(t, s, "v", version, Content(int(version)*1000, version))
	}
	for range 2 {
		wantVersions(t, s, "v", 5, 4, 3)
		for version := uint64(3); version <= 5; version++ {
			wantContent(t, s, "v", object.Get{Version: V(version)}, Content(int(version)*1000, version))
		}
		_, err := get(t.Context(), s, "v", object.Get{Version: V(2)})
		wantError(t, err, object.ErrNotFound)
		wantContent(t, s, "v", object.Get{}, Content(5000, 5))
		s = reopen(t, s, open)
	}
	closeAfter(t, s)
}

// testAnyOrder: what is kept does not depend on the order of the writes.
func testAnyOrder(t *testing.T, open Open) {
	s := open(t)
	r := rand.New(rand.NewPCG(7, 7))
	for round := range 20 {
		name := fmt.Sprint("order/", round)
		for _, i := range append(r.Perm(6), r.Perm(6)...) {
			version := uint64(i + 1)
			if version == 5 {
				if _, err := s.Delete(t.Context(), name, object.Delete{Version: V(version)}); err != nil {
					t.Fatal(err)
				}
				continue
			}
			put(t, s, name, version, Content(100, version))
		}
		wantVersions(t, s, name, 6, 5, 4)
		wantContent(t, s, name, object.Get{Version: V(4)}, Content(100, 4))
		_, err := get(t.Context(), s, name, object.Get{Version: V(5)})
		wantError(t, err, object.ErrNotFound)
	}
	s = reopen(t, s, open)
	wantVersions(t, s, "order/0", 6, 5, 4)
	closeAfter(t, s)
}

func testCompareAndSet(t *testing.T, open Open) {
	s := open(t)
	defer closeAfter(t, s)
	try := func(version uint64, condition object.Condition) error {
		_, err := s.Put(t.Context(), "c", strings.NewReader("x"), object.Put{Version: V(version), Size: 1, If: condition})
		return err
	}
	wantError(t, try(1, object.IfNewest(V(9))), object.ErrConflict)
	wantVersions(t, s, "c")
	if err := try(1, object.IfAbsent()); err != nil {
		t.Fatal(err)
	}
	wantError(t, try(2, object.IfAbsent()), object.ErrConflict)
	err := try(2, object.IfNewest(V(2)))
	var conflict *object.ConflictError
	if !errors.As(err, &conflict) || conflict.Newest.Version != V(1) {
		t.Fatalf("got %v, want a conflict with version 1", err)
	}
	if err := try(2, object.IfNewest(V(1))); err != nil {
		t.Fatal(err)
	}
	_, err = s.Delete(t.Context(), "c", object.Delete{Version: V(3), If: object.IfNewest(V(1))})
	wantError(t, err, object.ErrConflict)
	if _, err = s.Delete(t.Context(), "c", object.Delete{Version: V(3), If: object.IfNewest(V(2))}); err != nil {
		t.Fatal(err)
	}
	if err := try(4, object.IfAbsent()); err != nil {
		t.Fatalf("after the delete: %v", err)
	}
	wantVersions(t, s, "c", 4, 3, 2)
}

// testConcurrentCompareAndSet: of those that saw the same version one wins.
func testConcurrentCompareAndSet(t *testing.T, open Open) {
	s := open(t)
	defer closeAfter(t, s)
	const writers, rounds = 8, 25
	var won [rounds]atomic.Int32
	var all sync.WaitGroup
	for writer := range writers {
		all.Go(func() {
			for round := range rounds {
				condition := object.IfAbsent()
				if round > 0 {
					history, err := s.History(t.Context(), "hot")
					if err != nil || len(history) == 0 {
						t.Errorf("history: %v, %v", history, err)
						return
					}
					condition = object.IfNewest(history[0].Version)
					round = int(history[0].Version.Hi)
				}
				if round >= rounds {
					return
				}
				version := object.Version{Hi: uint64(round + 1), Lo: uint64(writer + 1)}
				_, err := s.Put(t.Context(), "hot", strings.NewReader("x"), object.Put{Version: version, Size: 1, If: condition})
				switch {
				case err == nil:
					won[round].Add(1)
				case !errors.Is(err, object.ErrConflict):
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	ended := false
	for round := range won {
		n := won[round].Load()
		if ended = ended || n == 0; n > 1 || ended && n > 0 {
			t.Errorf("round %d was won %d times", round, n)
		}
	}
}

func testDelete(t *testing.T, open Open) {
	s := open(t)
	_, err := s.Stat(t.Context(), "d")
	wantError(t, err, object.ErrNotFound)
	put(t, s, "d", 2, Content(10_000, 1))
	if _, err := s.Delete(t.Context(), "d", object.Delete{Version: V(5)}); err != nil {
		t.Fatal(err)
	}
	put(t, s, "d", 4, Content(100, 2)) // late: the delete is newer
	for range 2 {
		_, err = get(t.Context(), s, "d", object.Get{})
		wantError(t, err, object.ErrNotFound)
		info, err := s.Stat(t.Context(), "d")
		wantError(t, err, object.ErrNotFound)
		if !info.Deleted || info.Version != V(5) {
			t.Fatalf("stat of a deleted name: got %+v, want the mark", info)
		}
		wantVersions(t, s, "d", 5, 4, 2)
		s = reopen(t, s, open)
	}
	if _, err := s.Delete(t.Context(), "never", object.Delete{Version: V(5)}); err != nil {
		t.Fatalf("delete of an unknown name: %v", err)
	}
	put(t, s, "never", 3, nil)
	_, err = s.Stat(t.Context(), "never")
	wantError(t, err, object.ErrNotFound)
	put(t, s, "never", 6, nil)
	wantContent(t, s, "never", object.Get{}, nil)
	closeAfter(t, s)
}

func testForget(t *testing.T, open Open) {
	s := open(t)
	for i := range uint64(10) {
		name := fmt.Sprint("f", i)
		put(t, s, name, 1, Content(1000, i))
		if _, err := s.Delete(t.Context(), name, object.Delete{Version: V(10 + i)}); err != nil {
			t.Fatal(err)
		}
	}
	put(t, s, "live", 1, nil)
	n, err := s.Forget(t.Context(), V(15))
	if err != nil || n != 5 {
		t.Fatalf("forget: %d, %v, want 5", n, err)
	}
	for range 2 {
		page, err := s.List(t.Context(), object.List{Deleted: true})
		if err != nil || len(page.Objects) != 6 {
			t.Fatalf("list: %d names, %v, want 6", len(page.Objects), err)
		}
		wantVersions(t, s, "f4")
		wantVersions(t, s, "f5", 15, 1)
		s = reopen(t, s, open)
	}
	closeAfter(t, s)
}

// testForgetWhileDropped drops names while they are forgotten.
func testForgetWhileDropped(t *testing.T, open Open) {
	s := open(t)
	const names = 200
	name := func(i int) string { return fmt.Sprint("name/", i) }
	for i := range names {
		if _, err := s.Delete(t.Context(), name(i), object.Delete{Version: V(1)}); err != nil {
			t.Fatal(err)
		}
	}
	var dropping sync.WaitGroup
	dropping.Go(func() {
		for i := range names {
			if err := s.Drop(t.Context(), name(names-1-i), V(1)); err != nil {
				t.Error(err)
			}
		}
	})
	if _, err := s.Forget(t.Context(), V(2)); err != nil {
		t.Error(err)
	}
	dropping.Wait()
	if page, err := s.List(t.Context(), object.List{Deleted: true}); err != nil || len(page.Objects) > 0 {
		t.Errorf("%d names are left, %v", len(page.Objects), err)
	}
	closeAfter(t, s)
}

// testDrop: a name is forgotten up to its newest version or not at all, and says nothing of what comes after.
func testDrop(t *testing.T, open Open) {
	s := open(t)
	if err := s.Drop(t.Context(), "unknown", V(5)); err != nil {
		t.Fatalf("drop of an unknown name: %v", err)
	}
	names := []string{"small", "large", "marked"}
	for i, size := range []int{1000, 3 << 20, 1000} {
		put(t, s, names[i], 1, Content(size, 1))
		put(t, s, names[i], 3, Content(size, 3))
	}
	if _, err := s.Delete(t.Context(), "marked", object.Delete{Version: V(4)}); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		var conflict *object.ConflictError
		if err := s.Drop(t.Context(), name, V(2)); !errors.As(err, &conflict) || conflict.Newest.Version.Compare(V(3)) < 0 {
			t.Fatalf("drop %q up to version 2: got %v, want a conflict with version 3 or 4", name, err)
		}
	}
	wantVersions(t, s, "small", 3, 1)
	wantVersions(t, s, "marked", 4, 3, 1)
	wantContent(t, s, "large", object.Get{Version: V(1)}, Content(3<<20, 1))
	for i, name := range names {
		if err := s.Drop(t.Context(), name, V(uint64(4+i%2))); err != nil {
			t.Fatalf("drop %q: %v", name, err)
		}
	}
	for range 2 {
		wantNothing(t, s)
		for _, name := range names {
			wantVersions(t, s, name)
			info, err := s.Stat(t.Context(), name)
			wantError(t, err, object.ErrNotFound)
			if info != (object.Info{}) {
				t.Fatalf("stat of a dropped name: got %+v", info)
			}
		}
		s = reopen(t, s, open)
	}
	for _, name := range names { // an older version than the one that was dropped, and the same again
		put(t, s, name, 1, Content(10, 1))
		put(t, s, name, 3, Content(10, 3))
	}
	s = reopen(t, s, open)
	for _, name := range names {
		wantVersions(t, s, name, 3, 1)
		wantContent(t, s, name, object.Get{}, Content(10, 3))
	}
	closeAfter(t, s)
}

func listAll(t *testing.T, s object.Store, o object.List) (names []string) {
	t.Helper()
	for {
		page, err := s.List(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		for _, info := range page.Objects {
			names = append(names, info.Name)
		}
		if page.Next == "" {
			return names
		}
		if o.After = page.Next; len(page.Objects) == 0 {
			t.Fatal("an empty page is not the last one")
		}
	}
}

func testList(t *testing.T, open Open) {
	s := open(t)
	defer closeAfter(t, s)
	var want []string
	for i := range 25 {
		name := fmt.Sprintf("p/%02d", i)
		put(t, s, name, 1, Content(i, 1))
		put(t, s, name, 2, Content(i, 2))
		if i%5 == 0 {
			if _, err := s.Delete(t.Context(), name, object.Delete{Version: V(3)}); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want = append(want, name)
	}
	for _, other := range []string{"p", "p.", "p0", "q/1", "o/1", "p\xc3\xbf/1"} {
		put(t, s, other, 1, nil)
	}
	for _, limit := range []int{0, 1, 3, 20, 5000} {
		if got := listAll(t, s, object.List{Prefix: "p/", Limit: limit}); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("limit %d: got %q, want %q", limit, got, want)
		}
		if got := listAll(t, s, object.List{Prefix: "p/", Limit: limit, Deleted: true}); len(got) != 25 {
			t.Fatalf("limit %d: got %d names with deletes, want 25", limit, len(got))
		}
		if got := listAll(t, s, object.List{Limit: limit}); len(got) != 26 {
			t.Fatalf("limit %d: got %d names, want 26", limit, len(got))
		}
	}
	if got := listAll(t, s, object.List{Prefix: "p/", After: "p/20"}); fmt.Sprint(got) != fmt.Sprint(want[len(want)-4:]) {
		t.Fatalf("after p/20: got %q", got)
	}
	if got := listAll(t, s, object.List{Prefix: "p/", After: "z"}); len(got) != 0 {
		t.Fatalf("after z: got %q", got)
	}
	page, err := s.List(t.Context(), object.List{Prefix: "p/07"})
	if err != nil || len(page.Objects) != 1 || page.Objects[0].Sum != object.SumOf(Content(7, 2)) || page.Objects[0].Version != V(2) {
		t.Fatalf("got %+v, %v", page, err)
	}
}

func testRepeatedPut(t *testing.T, open Open) {
	s := open(t)
	for _, size := range []int{500, 2 << 20} {
		name := fmt.Sprint("r", size)
		put(t, s, name, 1, Content(size, 1))
		put(t, s, name, 1, Content(size, 1))
		_, err := s.Put(t.Context(), name, bytes.NewReader(Content(size, 2)), object.Put{Version: V(1), Size: int64(size)})
		wantError(t, err, object.ErrConflict)
		if _, err := s.Put(t.Context(), name, bytes.NewReader(Content(size, 1)), object.Put{Version: V(1), Size: int64(size), Repair: true}); err != nil {
			t.Fatalf("repair: %v", err)
		}
		wantContent(t, s, name, object.Get{}, Content(size, 1))
		wantVersions(t, s, name, 1)
	}
	s = reopen(t, s, open)
	wantContent(t, s, "r2097152", object.Get{}, Content(2<<20, 1))
	closeAfter(t, s)
}

// testLarge streams an object that is larger than what a store may hold of one in memory.
func testLarge(t *testing.T, open Open) {
	s := open(t)
	defer closeAfter(t, s)
	const size = 8 << 20
	stream := func() io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{1}), size) }
	sum := object.NewSummer()
	_, _ = io.Copy(sum, stream())
	want := sum.Sum()
	if _, err := s.Put(t.Context(), "large", stream(), object.Put{Version: V(1), Size: size, Sum: &want}); err != nil {
		t.Fatal(err)
	}
	body, err := s.Get(t.Context(), "large", object.Get{})
	if err != nil {
		t.Fatal(err)
	}
	got := object.NewSummer()
	if _, err := io.Copy(got, body); err != nil {
		t.Fatal(err)
	}
	if got.Sum() != want {
		t.Error("the content is another")
	}
	if err := body.Close(); err != nil {
		t.Error(err)
	}
}

func testManyWriters(t *testing.T, open Open) {
	s := open(t)
	const writers, each = 16, 20
	var all sync.WaitGroup
	for writer := range writers {
		all.Go(func() {
			for i := range each {
				content := Content(1000+writer, uint64(i))
				name := fmt.Sprintf("m/%d/%d", writer, i)
				if _, err := s.Put(t.Context(), name, bytes.NewReader(content), object.Put{Version: V(1), Size: int64(len(content))}); err != nil {
					t.Error(err)
					return
				}
				if got, err := get(t.Context(), s, name, object.Get{}); err != nil || !bytes.Equal(got, content) {
					t.Errorf("read what was just written: %v", err)
				}
			}
		})
	}
	all.Wait()
	s = reopen(t, s, open)
	if got := listAll(t, s, object.List{Prefix: "m/"}); len(got) != writers*each {
		t.Errorf("%d objects, want %d", len(got), writers*each)
	}
	closeAfter(t, s)
}

func testClosed(t *testing.T, open Open) {
	s := open(t)
	put(t, s, "a", 1, Content(2<<20, 1))
	body, err := s.Get(t.Context(), "a", object.Get{})
	if err != nil {
		t.Fatal(err)
	}
	if err := body.Close(); err != nil {
		t.Error(err)
	}
	closeAfter(t, s)
	_, err = s.Put(t.Context(), "a", strings.NewReader("x"), object.Put{Version: V(2), Size: 1})
	wantError(t, err, object.ErrClosed)
	_, err = s.Get(t.Context(), "a", object.Get{})
	wantError(t, err, object.ErrClosed)
	_, err = s.Stat(t.Context(), "a")
	wantError(t, err, object.ErrClosed)
	_, err = s.History(t.Context(), "a")
	wantError(t, err, object.ErrClosed)
	_, err = s.List(t.Context(), object.List{})
	wantError(t, err, object.ErrClosed)
	_, err = s.Delete(t.Context(), "a", object.Delete{Version: V(2)})
	wantError(t, err, object.ErrClosed)
	_, err = s.Forget(t.Context(), V(9))
	wantError(t, err, object.ErrClosed)
	wantError(t, s.Drop(t.Context(), "a", V(9)), object.ErrClosed)
	wantError(t, s.Close(), object.ErrClosed)
}

// testReadWhileDisplaced: a body that is open stays whole when its version is dropped.
func testReadWhileDisplaced(t *testing.T, open Open) {
	s := open(t)
	defer closeAfter(t, s)
	for _, size := range []int{1000, 3 << 20} {
		name := fmt.Sprint("w", size)
		content := Content(size, 1)
		put(t, s, name, 1, content)
		body, err := s.Get(t.Context(), name, object.Get{})
		if err != nil {
			t.Fatal(err)
		}
		for version := uint64(2); version < 2+Keep; version++ {
			put(t, s, name, version, Content(10, version))
		}
		got, err := io.ReadAll(body)
		if err != nil || !bytes.Equal(got, content) {
			t.Fatalf("%d bytes: got %d, %v", size, len(got), err)
		}
		if err := body.Close(); err != nil {
			t.Error(err)
		}
	}
}
