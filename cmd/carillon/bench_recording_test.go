package main

import (
	"bufio"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"carillon/traffic/measure"
)

// startRecorder records what is sent to the returned address until stop is called.
func startRecorder(t *testing.T, forward, file string) (base string, stop func()) {
	t.Helper()
	c := carillonContext(t.Context(), "bench", "record", "--listen", "127.0.0.1:0", "--forward", forward, file)
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	m := regexp.MustCompile(`remote write at (\S+)/api/v1/write`).FindStringSubmatch(line)
	if m == nil {
		t.Fatalf("the recorder said %q: %v", line, err)
	}
	return m[1], func() {
		if err := c.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if err := c.Wait(); err != nil {
			t.Errorf("the recorder ended with %v", err)
		}
	}
}

// TestRecordAndReplay sends to a server through a recorder and plays the recording to
// another, which must have the same in the end; and it measures that.
func TestRecordAndReplay(t *testing.T) {
	first, second := startServer(t, tempData(t), "--agent=false"), startServer(t, tempData(t), "--agent=false")
	file := filepath.Join(t.TempDir(), "traffic.rec")
	base, stop := startRecorder(t, first.URL, file)
	random, now := rand.New(rand.NewPCG(1, 1)), time.Now()
	for i := range 5 {
		body, _ := remoteWriteBatch(1, now.Add(time.Duration(i-10)*time.Second).UnixMilli(), random)
		if err := post(base, body); err != nil {
			t.Fatal(err)
		}
	}
	stop()

	out, err := carillon("bench", "replay", file, "--check").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "5 requests and 0 connections") {
		t.Errorf("check: %v\n%s", err, out)
	}
	if out, err := carillon("bench", "replay", file, "--to", second.URL, "--speed", "100").CombinedOutput(); err != nil {
		t.Fatalf("replay: %v\n%s", err, out)
	}
	want, got := samples(t, first.URL, "killed_remote", now), samples(t, second.URL, "killed_remote", now)
	if diff := cmp.Diff(want, got); diff != "" || len(want) != batchSeries {
		t.Errorf("of %d series, as sent and as played:\n%s", len(want), diff)
	}

	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(beCarillon, "1")
	figures, err := measure.Run(t.Context(), measure.Config{
		Dir: t.TempDir(), Command: []string{executable}, Stages: []string{"recorded"}, Recording: file, Progress: func(string, uint64, uint64) {},
	})
	if err != nil || len(figures) != 1 || figures[0].ID != "ingest.cpu_per_point_recorded" {
		t.Errorf("got %+v, %v", figures, err)
	}
}
