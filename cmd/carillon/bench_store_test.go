package main

import (
	"log/slog"
	"os"
	"testing"
	"time"

	"carillon/figure"
	"carillon/peer"
	"carillon/require"
	"carillon/store/measure"
	traffic "carillon/traffic/measure"
)

// tinyStore is a scale of seconds. Its figures mean nothing, but for what is lost.
func tinyStore() measure.Scale {
	return measure.Scale{
		Bytes:         measure.Population{Series: 40, Points: 200},
		Counter:       measure.Age{Series: 20, Lasts: 48 * time.Hour},
		Amplification: measure.Population{Series: 20, Points: 1000},
		Query:         measure.Dashboard{Hosts: 1, Rounds: 1},
		Background:    measure.Background{Series: 800, Samples: 5, Seals: 64, Each: 1},
		Kills:         traffic.Kills{Series: 200, Times: 2, Alive: 40 * time.Millisecond},
	}
}

func storeFigures(t *testing.T, peers, stages []string) map[string]figure.Figure {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(beCarillon, "1")
	got, err := measure.Run(t.Context(), measure.Config{
		Dir: t.TempDir(), Command: []string{executable}, Peers: peers, Stages: stages, Scale: tinyStore(), Seed: 1, Logger: slog.New(slog.DiscardHandler),
		Progress: func(string, uint64, uint64) {}, Missing: func(peer string) { t.Errorf("%s is missing", peer) },
	})
	if err != nil {
		t.Fatal(err)
	}
	figures := make(map[string]figure.Figure)
	for _, f := range got {
		if _, twice := figures[f.ID]; twice || f.Unit == "" || f.Value < 0 {
			t.Errorf("%+v", f)
		}
		figures[f.ID] = f
	}
	return figures
}

// TestBenchStore keeps the measurement from rotting, without any other server. Each stage
// reads back what it wrote.
func TestBenchStore(t *testing.T) {
	figures := storeFigures(t, nil, nil)
	want(t, figures, "store.bytes_per_point", "store.mb_per_counter", "store.write_amplification", "store.background_bytes", "store.lost",
		"store.query_time_short", "store.query_time_long", "store.query_time_rate30d")
	if lost := figures["store.lost"]; lost.Value != 0 {
		t.Errorf("%v points are lost", lost.Value)
	}
	if _, ok := figures["store.bytes_vs_victoria"]; ok || len(figures) != 8 {
		t.Errorf("%d figures, though there is nothing to compare with", len(figures))
	}
}

// TestBenchStoreBesideVictoriaMetrics has answers compared, too.
func TestBenchStoreBesideVictoriaMetrics(t *testing.T) {
	require.Feature(t, peer.Victoria, peer.Installed(peer.Victoria), "it is not installed")
	figures := storeFigures(t, []string{peer.Victoria}, []string{"bytes", "query"})
	want(t, figures, "store.bytes_vs_victoria", "store.query_ratio_short", "store.query_ratio_long", "store.query_ratio_rate30d")
}
