package measure

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"carillon/peer"
	"carillon/traffic"
)

// What needs a server of this build is tested in cmd/carillon.

func TestQuantize(t *testing.T) {
	stages := make(map[string]bool)
	figures, err := Quantize(t.Context(), Config{Seed: 1, Scale: Scale{Quantize: Population{Series: 3000, Steps: 20}}, Progress: func(stage string, done, total uint64) {
		if done > total {
			t.Errorf("%s: %d of %d", stage, done, total)
		}
		stages[stage] = done == total
	}})
	if err != nil {
		t.Fatal(err)
	}
	if len(figures) != 3 || len(stages) != 3 || figures[0].ID != "quantize.points_per_core" || figures[0].Value <= 0 {
		t.Errorf("got %+v", figures)
	}
	for stage, finished := range stages {
		if !finished {
			t.Errorf("stage %q never got to its end", stage)
		}
	}
}

func TestRunRefusesAndLeavesOut(t *testing.T) {
	var missing []string
	config := Config{Stages: []string{"recorded"}, Missing: func(peer string) { missing = append(missing, peer) }}
	t.Setenv("PATH", t.TempDir())
	config.Peers = peer.Others()
	if figures, err := Run(t.Context(), config); err != nil || len(figures) != 0 {
		t.Errorf("got %v, %v", figures, err)
	}
	if len(missing) != len(peer.Others()) {
		t.Errorf("missing: %q", missing)
	}
	for want, change := range map[string]func(*Config){
		`no stage "x"`: func(c *Config) { c.Stages = []string{"few", "x"} },
		`no peer "x"`:  func(c *Config) { c.Peers = []string{"x"} },
		"start carillon": func(c *Config) {
			c.Stages, c.Command, c.Dir, c.Scale.Few = []string{"few"}, []string{"/absent"}, t.TempDir(), Population{1, 1}
		},
		"no such file": func(c *Config) { c.Recording = "/absent" },
	} {
		c := config
		c.Peers = nil
		change(&c)
		if _, err := Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want something with %s", err, want)
		}
	}
}

// fake answers every count with one number and every sum with another.
func fake(t *testing.T, count, sum float64) *peer.Process {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.FormValue("query")
		switch {
		case !strings.Contains(q, `shard="00"`):
			fmt.Fprint(w, `{"status":"success","data":{"resultType":"vector","result":[]}}`)
		case strings.HasPrefix(q, "sum(count_over_time("):
			fmt.Fprintf(w, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1700000000.5,"%v"]}]}}`, count)
		case strings.HasPrefix(q, "sum(sum_over_time("):
			fmt.Fprintf(w, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1700000000.5,"%v"]}]}}`, sum)
		default:
			http.Error(w, `{"status":"error","error":"what?"}`, http.StatusBadRequest)
		}
	}))
	t.Cleanup(server.Close)
	return &peer.Process{Peer: &peer.Peer{Name: "fake"}, Ports: peer.Ports{HTTP: strings.TrimPrefix(server.URL, "http://")}}
}

func TestExpect(t *testing.T) {
	l, err := newLoad(traffic.Config{Series: 100, Step: step}, traffic.RemoteWrite)
	if err != nil {
		t.Fatal(err)
	}
	sent := traffic.Sum{Points: 1000, Milli: 2_500_000}
	if err := expect(t.Context(), fake(t, 1000, 2500.0000001), l, sent); err != nil {
		t.Error(err)
	}
	for _, c := range [][2]float64{{999, 2500}, {1001, 2500}, {1000, 2500.001}, {1000, 2499}} {
		if err := expect(t.Context(), fake(t, c[0], c[1]), l, sent); !errors.Is(err, ErrWrongSum) {
			t.Errorf("%v: got %v", c, err)
		}
	}
	if _, err := query(t.Context(), fake(t, 0, 0), `nonsense{shard="00"}`); err == nil || !strings.Contains(err.Error(), "what?") {
		t.Errorf("got %v", err)
	}
}

func TestWhisper(t *testing.T) {
	dir := t.TempDir()
	file := func(points int, rows ...[2]float64) []byte {
		var b []byte
		for _, n := range []uint32{1, 3600, 0, 1, 28, 10, uint32(points)} {
			b = binary.BigEndian.AppendUint32(b, n)
		}
		for _, row := range rows {
			b = binary.BigEndian.AppendUint32(b, uint32(row[0]))
			b = binary.BigEndian.AppendUint64(b, math.Float64bits(row[1]))
		}
		return b
	}
	write := func(name string, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one.wsp", file(3, [2]float64{1700000000, 1.5}, [2]float64{0, 7}, [2]float64{1700000010, 2}))
	write("two.wsp", file(1, [2]float64{1700000000, -0.25}))
	write("log", []byte("no file of points"))
	s := &peer.Process{Data: dir}
	if err := expectFiles(s, traffic.Sum{Points: 3, Milli: 3250}); err != nil {
		t.Error(err)
	}
	if err := expectFiles(s, traffic.Sum{Points: 4, Milli: 3250}); !errors.Is(err, ErrWrongSum) {
		t.Errorf("got %v", err)
	}
	for _, b := range [][]byte{nil, file(2, [2]float64{1, 1})} {
		write("short.wsp", b)
		if err := expectFiles(s, traffic.Sum{}); err == nil || errors.Is(err, ErrWrongSum) {
			t.Errorf("%d bytes: got %v", len(b), err)
		}
	}
}

func TestPace(t *testing.T) {
	if got := (Pace{500_000, 10 * time.Second, 60}).String(); got != "500000 series every 10s for 10m0s" {
		t.Error(got)
	}
}
