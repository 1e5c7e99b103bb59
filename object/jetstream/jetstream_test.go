package jetstream

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"

	"carillon/object"
	"carillon/object/backend"
	"carillon/object/conformance"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// TestConformance: the stores are buckets of one server, and another connection each time one is opened.
func TestConformance(t *testing.T) {
	s, err := start(t.TempDir(), backend.SyncNone, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	var buckets atomic.Int64
	conformance.Run(t, func(t *testing.T) conformance.Open {
		bucket := fmt.Sprint("b", buckets.Add(1))
		return func(t *testing.T) object.Store {
			conn, err := connect(s)
			if err != nil {
				t.Fatal(err)
			}
			store, err := Open(t.Context(), Config{Conn: conn, Bucket: bucket, Shards: 2, Keep: conformance.Keep, Spool: t.TempDir(), Logger: quiet()})
			if err != nil {
				t.Fatal(err)
			}
			return store
		}
	})
}

// TestEmbedded: a server inside the process ends with the store, and another one finds what it has kept.
func TestEmbedded(t *testing.T) {
	dir := t.TempDir()
	contents := map[string][]byte{"small": conformance.Content(1000, 1), "large": conformance.Content(1<<20+1, 2)}
	for round := range 2 {
		s, err := OpenEmbedded(t.Context(), dir, backend.SyncAlways, Config{Bucket: "objects", Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		for name, content := range contents {
			if round == 0 {
				if _, err := s.Put(t.Context(), name, bytes.NewReader(content), object.Put{Version: conformance.V(1), Size: int64(len(content))}); err != nil {
					t.Fatal(err)
				}
			}
			body, err := s.Get(t.Context(), name, object.Get{})
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(body)
			if err != nil || !bytes.Equal(got, content) {
				t.Fatalf("%s: %d bytes, %v", name, len(got), err)
			}
			if err := body.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBadConfig(t *testing.T) {
	for _, config := range []Config{{Bucket: ""}, {Bucket: "a.b"}, {Bucket: "a*"}, {Bucket: "a", Shards: 257}, {Bucket: "a", Keep: 65}} {
		config.Logger = quiet()
		if s, err := OpenEmbedded(t.Context(), t.TempDir(), backend.SyncNone, config); err == nil {
			t.Errorf("%+v is taken", config)
			_ = s.Close()
		}
	}
}
