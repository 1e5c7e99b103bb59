package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"

	"carillon/figure"
	"carillon/object/fault"
	"carillon/object/measure"
	"carillon/require"
)

// tinyObjects is a scale of seconds. Its figures mean nothing, but for what is lost.
func tinyObjects() measure.Scale {
	return measure.Scale{
		Writes:  measure.Writes{Turns: 1, Files: 20, Packed: 200},
		Joined:  1000,
		Cluster: measure.Cluster{Turns: 1, Objects: 40},
		Serve:   measure.Serve{Turns: 1, Small: 1000, Large: 1},
		Faults:  measure.Faults{Times: len(fault.Kinds())},
	}
}

// TestBenchObject keeps the measurement from rotting: every figure comes, as a line of JSON with its unit, and nothing is lost.
func TestBenchObject(t *testing.T) {
	for _, peer := range measure.Peers() {
		_, err := exec.LookPath(peer)
		require.Feature(t, peer, err == nil, "it is not installed")
	}
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(beCarillon, "1")
	got, err := measure.Run(t.Context(), measure.Config{
		Dir: t.TempDir(), Command: []string{executable}, Peers: measure.Peers(), Scale: tinyObjects(), Seed: 1, Logger: slog.New(slog.DiscardHandler),
		Progress: func(string, uint64, uint64) {}, Missing: func(peer string) { t.Errorf("%s is missing", peer) },
	})
	if err != nil {
		t.Fatal(err)
	}
	var lines bytes.Buffer
	if err := figure.JSON(&lines, got); err != nil {
		t.Fatal(err)
	}
	figures := figuresOf(t, lines.String())
	want(t, figures, "object.pack_ratio", "object.sync_ratio", "object.cluster_ratio", "object.get10k_ratio", "object.get64m_ratio", "object.moved_ratio", "object.lost")
	if lost := figures["object.lost"]; lost.Value != 0 {
		t.Errorf("%v objects are lost", lost.Value)
	}
}

// figuresOf reads what a verb that measures prints for programs.
func figuresOf(t *testing.T, lines string) map[string]figure.Figure {
	t.Helper()
	figures := make(map[string]figure.Figure)
	for line := range strings.Lines(lines) {
		var f figure.Figure
		decoder := json.NewDecoder(strings.NewReader(line))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&f); err != nil || f.ID == "" || f.Unit == "" || f.Value < 0 {
			t.Errorf("%s: %v", line, err)
		}
		if _, twice := figures[f.ID]; twice {
			t.Errorf("%s comes twice", f.ID)
		}
		figures[f.ID] = f
	}
	return figures
}

// TestBenchObjectVerb runs the quickest stage as a person would, for people and for programs.
func TestBenchObjectVerb(t *testing.T) {
	dir := t.TempDir()
	bench := func(args ...string) string {
		t.Helper()
		out, err := carillon(append([]string{"bench", "object", "--quick", "--dir", dir, "--only", "moved", "--peers", ""}, args...)...).Output()
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return string(out)
	}
	figures := figuresOf(t, bench("--json"))
	want(t, figures, "object.moved_ratio")
	if f := figures["object.moved_ratio"]; len(figures) != 1 || f.Unit != "x" || f.Value > 1.2 {
		t.Errorf("%+v", figures)
	}
	if out := bench(); !strings.Contains(out, "FIGURE") || !strings.Contains(out, "object.moved_ratio") {
		t.Error(out)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v are left, %v", left, err)
	}
	for want, args := range map[string][]string{`no stage "none"`: {"--only", "none"}, `no peer "none"`: {"--peers", "none"}, "  carillon bench object --quick\n": {"--help"}} {
		out, err := carillon(append([]string{"bench", "object"}, args...)...).CombinedOutput()
		if !strings.Contains(string(out), want) || (err == nil) != (args[0] == "--help") {
			t.Errorf("%v: %v, want %q in\n%s", args, err, want, out)
		}
	}
}
