package pack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"carillon/object"
	"carillon/object/backend"
	"carillon/object/conformance"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestPutBatch: each put of a batch is what it is alone, several of one name among them.
func TestPutBatch(t *testing.T) {
	for _, policy := range []backend.Sync{backend.SyncAlways, backend.SyncNone} {
		t.Run(policy.String(), func(t *testing.T) {
			fs := vfs.NewMem()
			open := func() *Store {
				s, err := Open(Config{Dir: "/objects", Keep: conformance.Keep, Sync: policy, FS: fs, Logger: quiet()})
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
			s := open()
			put := func(name string, version uint64, content []byte) object.ContentPut {
				return object.ContentPut{Name: name, Content: content, Put: object.Put{Version: conformance.V(version)}}
			}
			var batch []object.ContentPut
			for i := range 50 {
				batch = append(batch, put(fmt.Sprintf("name/%d", i%40), uint64(1+i/40), conformance.Content(100*i, 1)))
			}
			large := put("large", 1, conformance.Content(maxInline+1, 2))
			sum := put("sum", 1, []byte("x"))
			sum.Sum = new(object.Sum)
			conflict := put("name/1", 5, []byte("x"))
			conflict.If = object.IfAbsent()
			refused := []object.ContentPut{put("a/../b", 1, nil), {Name: "zero"}, sum, conflict}
			results := s.PutBatch(t.Context(), append(append(batch, large), refused...))
			batch = append(batch, large)
			for i, want := range []error{object.ErrName, object.ErrVersion, object.ErrSum, object.ErrConflict} {
				if r := results[len(batch)+i]; !errors.Is(r.Err, want) || r.Info.Name != "" {
					t.Errorf("%q: %+v, want %v", refused[i].Name, r, want)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if r := s.PutBatch(t.Context(), batch[:1]); !errors.Is(r[0].Err, object.ErrClosed) {
				t.Errorf("after Close: %+v", r)
			}
			s = open()
			defer s.Close()
			for i, p := range batch {
				if results[i].Err != nil || results[i].Info.Sum != object.SumOf(p.Content) || results[i].Info.Size != int64(len(p.Content)) {
					t.Errorf("%q: %+v", p.Name, results[i])
				}
				body, err := s.Get(t.Context(), p.Name, object.Get{Version: p.Version})
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(body)
				if err = errors.Join(err, body.Close()); err != nil || !bytes.Equal(got, p.Content) {
					t.Errorf("%q: %d bytes, %v", p.Name, len(got), err)
				}
			}
		})
	}
}

// TestLentMemory: a body that is closed neither shows what its memory is used for next, nor gives it back twice.
func TestLentMemory(t *testing.T) {
	s, err := Open(Config{Dir: "/objects", FS: vfs.NewMem(), Sync: backend.SyncNone, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, name := range []string{"a", "b"} {
		if _, err := s.Put(t.Context(), name, bytes.NewReader(bytes.Repeat([]byte(name), 1000)), object.Put{Version: conformance.V(1), Size: 1000}); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		first, err := s.Get(t.Context(), "a", object.Get{})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(first.Close(), first.Close()); err != nil {
			t.Fatal(err)
		}
		second, err := s.Get(t.Context(), "a", object.Get{})
		if err != nil {
			t.Fatal(err)
		}
		third, err := s.Get(t.Context(), "b", object.Get{})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := first.Read(make([]byte, 10)); n != 0 || err != io.EOF {
			t.Fatalf("a closed body: %d bytes, %v", n, err)
		}
		for body, want := range map[object.Body]string{second: "a", third: "b"} {
			got, err := io.ReadAll(body)
			if err = errors.Join(err, body.Close()); err != nil || string(got) != string(bytes.Repeat([]byte(want), 1000)) {
				t.Fatalf("%q: %.20q, %v", want, got, err)
			}
		}
	}
}
