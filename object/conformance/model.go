package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"carillon/object"

	"pgregory.net/rapid"
)

// version is what the model knows of one.
type version struct {
	number  uint64
	content []byte
	deleted bool
}

// model is the naive store: a list of versions a name, newest first.
type model map[string][]version

func (m model) add(name string, v version) {
	versions := m[name]
	if slices.ContainsFunc(versions, func(w version) bool { return w.number == v.number }) {
		return
	}
	versions = append(slices.Clone(versions), v)
	slices.SortFunc(versions, func(a, b version) int { return int(b.number) - int(a.number) })
	m[name] = versions[:min(len(versions), Keep)]
}

func (m model) forget(before uint64) (n int) {
	for name, versions := range m {
		if versions[0].deleted && versions[0].number < before {
			delete(m, name)
			n++
		}
	}
	return n
}

// drop tells whether the name could be dropped.
func (m model) drop(name string, upTo uint64) bool {
	if versions := m[name]; len(versions) > 0 && versions[0].number > upTo {
		return false
	}
	delete(m, name)
	return true
}

// testModel compares random histories with the model, each after those before it in the same store.
func testModel(t *testing.T, open Open) {
	s := open(t)
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		m := model{}
		names := []string{fmt.Sprint(run, "/a"), fmt.Sprint(run, "/b"), fmt.Sprint(run, "/c")}
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			name := rapid.SampledFrom(names).Draw(rt, "name")
			number := rapid.Uint64Range(1, 12).Draw(rt, "version")
			switch rapid.IntRange(0, 14).Draw(rt, "what") {
			case 0:
				s = reopen(t, s, open)
			case 1:
				err := s.Drop(t.Context(), name, V(number))
				if m.drop(name, number) != (err == nil) || err != nil && !errors.Is(err, object.ErrConflict) {
					rt.Fatalf("drop %q up to version %d: %v", name, number, err)
				}
			case 2, 3:
				_, err := s.Delete(t.Context(), name, object.Delete{Version: V(number)})
				m.expectWrite(rt, name, version{number: number, deleted: true}, err)
			default:
				content := Content(int(number)*rapid.SampledFrom([]int{0, 100}).Draw(rt, "size"), number)
				_, err := s.Put(t.Context(), name, bytes.NewReader(content), object.Put{Version: V(number), Size: int64(len(content))})
				m.expectWrite(rt, name, version{number: number, content: content}, err)
			}
			m.compare(rt, t, s, name)
		}
		if _, err := s.Forget(t.Context(), V(6)); err != nil {
			rt.Fatal(err)
		}
		m.forget(6)
		for _, name := range names {
			m.compare(rt, t, s, name)
		}
	})
	closeAfter(t, s)
}

// expectWrite: a version that is there with another content conflicts.
func (m model) expectWrite(rt *rapid.T, name string, v version, err error) {
	for _, there := range m[name] {
		if there.number == v.number && (there.deleted != v.deleted || !bytes.Equal(there.content, v.content)) {
			if !errors.Is(err, object.ErrConflict) {
				rt.Fatalf("write %q version %d with another content: got %v, want a conflict", name, v.number, err)
			}
			return
		}
	}
	if err != nil {
		rt.Fatal(err)
	}
	m.add(name, v)
}

func (m model) compare(rt *rapid.T, t *testing.T, s object.Store, name string) {
	history, err := s.History(t.Context(), name)
	if err != nil || len(history) != len(m[name]) {
		rt.Fatalf("history of %q: got %+v, %v, want %d versions", name, history, err, len(m[name]))
	}
	for i, v := range m[name] {
		if history[i].Version != V(v.number) || history[i].Deleted != v.deleted {
			rt.Fatalf("history of %q: got %+v, want version %d", name, history[i], v.number)
		}
		got, err := get(t.Context(), s, name, object.Get{Version: V(v.number)})
		if v.deleted != errors.Is(err, object.ErrNotFound) || !v.deleted && (err != nil || !bytes.Equal(got, v.content)) {
			rt.Fatalf("get %q version %d: %d bytes, %v", name, v.number, len(got), err)
		}
	}
}
