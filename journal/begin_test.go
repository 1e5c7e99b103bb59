package journal

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// TestBegin makes a journal that goes on behind a sequence, and makes sure that it
// still does after the server was killed before anything was written.
func TestBegin(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	config := func() Config {
		return Config{Dir: dir, Partitions: 2, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()}
	}
	if err := Begin(t.Context(), config(), 41); err != nil {
		t.Fatal(err)
	}
	if err := Begin(t.Context(), config(), 41); err != nil {
		t.Fatal(err) // the same stream again changes nothing
	}
	for range 2 {
		j, err := Open(t.Context(), config())
		if err != nil {
			t.Fatal(err)
		}
		if first, last, err := j.Bounds(t.Context()); err != nil || first != 42 || last != 41 {
			t.Errorf("it holds %d to %d, %v; want 42 to 41", first, last, err)
		}
		killed := filepath.Join(t.TempDir(), "killed")
		if err := os.CopyFS(killed, os.DirFS(dir)); err != nil { // as it is while the server runs
			t.Fatal(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		dir = killed
	}
}
