package agent

import (
	"bytes"
	"errors"
	"log/slog"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// conform checks a Buffer of maxBytes against a list: size is what a body of n bytes
// takes of the bound; reopen stands for a restart.
func conform(t *testing.T, maxBytes int64, size func(n int) int64, open func() Buffer, reopen func(Buffer) Buffer) {
	type kept struct {
		sequence uint64 // 0: not seen yet
		body     []byte
	}
	rapid.Check(t, func(t *rapid.T) {
		buffer := open()
		var model []kept
		var full uint64
		used := func() (n int64) {
			for _, k := range model {
				n += size(len(k.body))
			}
			return n
		}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				body := bytes.Repeat([]byte{rapid.Byte().Draw(t, "fill")}, rapid.IntRange(0, 9000).Draw(t, "length"))
				err := buffer.Put(body)
				if size(len(body)) > maxBytes {
					if !errors.Is(err, ErrTooLarge) {
						t.Fatalf("too large: %v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				for used()+size(len(body)) > maxBytes {
					model = model[1:]
					full++
				}
				model = append(model, kept{body: body})
			},
			"take": func(t *rapid.T) {
				sequence, body, err := buffer.Oldest()
				if len(model) == 0 {
					if !errors.Is(err, ErrEmpty) {
						t.Fatalf("empty: %v", err)
					}
					return
				}
				if err != nil || !bytes.Equal(body, model[0].body) {
					t.Fatalf("oldest: %d bytes, error %v", len(body), err)
				}
				if model[0].sequence != 0 && model[0].sequence != sequence {
					t.Fatalf("the same body has number %d and %d", model[0].sequence, sequence)
				}
				model[0].sequence = sequence
				if err := buffer.Remove(sequence + 1); err != nil { // not the oldest: nothing happens
					t.Fatal(err)
				}
				if rapid.Bool().Draw(t, "done") {
					if err := buffer.Remove(sequence); err != nil {
						t.Fatal(err)
					}
					model = model[1:]
				}
			},
			"reopen": func(t *rapid.T) {
				if reopen == nil {
					t.Skip("does not outlive its process")
				}
				buffer = reopen(buffer)
				full = 0
			},
			"": func(t *rapid.T) {
				bodies, n := buffer.Size()
				if bodies != len(model) || n != used() || n > maxBytes {
					t.Fatalf("size %d bodies, %d bytes; want %d, %d", bodies, n, len(model), used())
				}
				if diff := cmp.Diff(Dropped{Full: full}, buffer.Dropped()); diff != "" {
					t.Fatalf("dropped (-want +got):\n%s", diff)
				}
			},
		})
		if q, ok := buffer.(*Queue); ok {
			q.Close()
		}
	})
}

func TestMemoryIsABoundedQueue(t *testing.T) {
	const maxBytes = 20_000
	conform(t, maxBytes, func(n int) int64 { return int64(n) }, func() Buffer { return NewMemory(maxBytes) }, nil)
}

func TestQueueIsABoundedQueue(t *testing.T) {
	const maxBytes = 5 * blockBytes
	root := t.TempDir()
	dirs := 0
	openAt := func(dir string) Buffer {
		q, err := OpenQueue(dir, maxBytes, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	conform(t, maxBytes, func(n int) int64 { return onDisk(int64(n) + queueHeaderSize) },
		func() Buffer { dirs++; return openAt(filepath.Join(root, strconv.Itoa(dirs))) },
		func(b Buffer) Buffer {
			q := b.(*Queue)
			if err := q.Close(); err != nil {
				t.Fatal(err)
			}
			return openAt(q.dir)
		})
}

func TestMemoryKeepsACopy(t *testing.T) {
	m := NewMemory(0)
	body := []byte("abc")
	if err := m.Put(body); err != nil {
		t.Fatal(err)
	}
	body[0] = 'x'
	if _, got, _ := m.Oldest(); string(got) != "abc" {
		t.Fatalf("kept %q", got)
	}
}
