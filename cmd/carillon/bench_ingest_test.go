package main

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"carillon/figure"
	"carillon/peer"
	"carillon/require"
	"carillon/traffic/measure"
)

// small is a scale of seconds. Its figures mean nothing.
func small() measure.Scale {
	one := measure.Population{Series: 400, Steps: 2}
	return measure.Scale{
		Few: one, Variants: measure.Population{Series: 400, Steps: 50}, Many: one, Graphite: one, Files: one, Quantize: one,
		HalfMillion: measure.Pace{Series: 300, Every: time.Second, Steps: 2},
		FiveMillion: measure.Pace{Series: 600, Every: time.Second, Steps: 2},
		Kills:       measure.Kills{Series: 200, Times: 3, Alive: 40 * time.Millisecond},
	}
}

// ingest measures at the small scale, with real servers, every one of which must have
// what it was sent.
func ingest(t *testing.T, peers, stages []string) map[string]figure.Figure {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(beCarillon, "1")
	got, err := measure.Run(t.Context(), measure.Config{
		Dir: t.TempDir(), Command: []string{executable}, Peers: peers, Stages: stages, Scale: small(), Seed: 1,
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

func want(t *testing.T, figures map[string]figure.Figure, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if _, ok := figures[id]; !ok {
			t.Errorf("no %s", id)
		}
	}
}

// TestIngest keeps the measurement from rotting, without any other server.
func TestIngest(t *testing.T) {
	figures := ingest(t, nil, nil)
	want(t, figures, "quantize.points_per_core", "ingest.half_million_core_share", "ingest.five_million_bytes", "ingest.lost",
		"ingest.cpu_per_point_100k", "ingest.cpu_per_point_500k", "ingest.cpu_per_point_rough", "ingest.cpu_per_point_istatd")
	if lost := figures["ingest.lost"]; lost.Value != 0 {
		t.Errorf("%v points are lost", lost.Value)
	}
	for id := range figures {
		if strings.Contains(id, "ratio") {
			t.Errorf("%s, though there is nothing to compare with", id)
		}
	}
}

func TestIngestBesideVictoriaMetrics(t *testing.T) {
	require.Feature(t, peer.Victoria, peer.Installed(peer.Victoria), "it is not installed")
	figures := ingest(t, []string{peer.Victoria}, []string{"few", "many", "graphite"})
	want(t, figures, "ingest.cpu_ratio_100k", "ingest.cpu_ratio_500k", "ingest.new_series_ratio", "ingest.memory_ratio", "ingest.graphite_ratio",
		"ingest.cpu_per_point_100k.victoria-metrics")
}

func TestIngestBesidePrometheus(t *testing.T) {
	require.Feature(t, peer.Prometheus, peer.Installed(peer.Prometheus), "it is not installed")
	want(t, ingest(t, []string{peer.Prometheus}, []string{"few"}), "ingest.cpu_per_point_100k.prometheus")
}

func TestIngestBesideCarbonCache(t *testing.T) {
	require.Feature(t, peer.CarbonCache, peer.Installed(peer.CarbonCache), "it is not installed")
	want(t, ingest(t, []string{peer.CarbonCache}, []string{"files"}), "ingest.cpu_per_point_files.carbon-cache")
}

// TestBenchPrintsJSON runs a verb as a person would.
func TestBenchPrintsJSON(t *testing.T) {
	out, err := carillonContext(t.Context(), "bench", "ingest", "--quick", "--json", "--only", "quantize").Output()
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for line := range strings.Lines(string(out)) {
		var f map[string]any
		if err := json.Unmarshal([]byte(line), &f); err != nil || len(f) != 3 {
			t.Fatalf("%q: %v", line, err)
		}
		ids = append(ids, f["figure"].(string))
	}
	if !slices.Contains(ids, "quantize.points_per_core") {
		t.Errorf("got %q", ids)
	}
}

// BenchmarkIngest measures this build at the scale of --quick.
func BenchmarkIngest(b *testing.B) {
	b.Setenv(beCarillon, "1")
	executable, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		figures, err := measure.Run(b.Context(), measure.Config{
			Dir: b.TempDir(), Command: []string{executable}, Stages: []string{"few"}, Scale: measure.Quick(), Seed: 1,
			Progress: func(string, uint64, uint64) {},
		})
		if err != nil {
			b.Fatal(err)
		}
		for _, f := range figures {
			b.ReportMetric(f.Value, strings.ReplaceAll(f.Unit+"_"+f.ID, " ", "_"))
		}
	}
}
