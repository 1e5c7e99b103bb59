package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestExport exports from a running server and from its data directory, and gets the
// same; then it takes one file away and has it written again.
func TestExport(t *testing.T) {
	data := tempData(t)
	s := startServer(t, data, "--agent=false", "--partitions", "3")
	now := time.Now()
	sendBeats(t, s.Graphite, "out", 4, 50, now)
	sendBeats(t, s.Graphite, "other", 3, 10, now)
	output := func(args ...string) string {
		t.Helper()
		out, err := carillon(append([]string{"export", "{__name__=~\"out|other\"}", "--from", "1h"}, args...)...).Output()
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return string(out)
	}
	text := output("--url", s.URL)
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) != 2+3*10+4*50+1 || lines[0] != "# TYPE other gauge" || lines[31] != "# TYPE out gauge" || lines[len(lines)-1] != "# EOF" {
		t.Errorf("%d lines:\n%.2000s", len(lines), text)
	}
	last := now.Unix()/10*10 - 10
	if want := `out{n="3"} 147.3 ` + strconv.FormatInt(last, 10) + "\n"; !strings.Contains(text, want) {
		t.Errorf("no %q in\n%.5000s", want, text)
	}
	jsonLines := output("--url", s.URL, "--format", "json", "--tier", "5m")
	if !strings.Contains(jsonLines, `"kind":"gauge","buckets":[[`) {
		t.Errorf("JSON:\n%.2000s", jsonLines)
	}

	dir := tempData(t)
	args := []string{"export", "{__name__=~\"out|other\"}", "--from", strconv.FormatInt(now.Unix()-3600, 10), "--to", strconv.FormatInt(now.Unix(), 10),
		"--out", dir, "--every", "30m", "--format", "remote-write", "--url", s.URL}
	shell(t, args...)
	files, err := filepath.Glob(filepath.Join(dir, "*.rw"))
	if err != nil || len(files) < 2 || len(files) > 4 {
		t.Fatalf("%q, %v", files, err)
	}
	before, err := os.ReadFile(files[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(files[1]); err != nil {
		t.Fatal(err)
	}
	if out := shell(t, args...); !strings.Contains(out, "1 files, "+strconv.Itoa(len(files)-1)+" more were there already") {
		t.Error(out)
	}
	if after, err := os.ReadFile(files[1]); err != nil || string(after) != string(before) {
		t.Errorf("written again it has %d bytes, not %d, %v", len(after), len(before), err)
	}

	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if offline := output("--data", data); offline != text {
		t.Errorf("the data directory has\n%.2000s\nthe server had\n%.2000s", offline, text)
	}
	for what, args := range map[string][]string{
		"is no time":             {"x", "--from", "yesterday"},
		"say from when":          {"x"},
		"want a time after":      {"x", "--from", "1h", "--to", "2h"},
		`format "csv": want`:     {"x", "--from", "1h", "--format", "csv"},
		"is the server running?": {"x", "--from", "1h", "--url", "http://127.0.0.1:1"},
		"no such file":           {"x", "--from", "1h", "--data", "absent"},
	} {
		out, err := carillon(append([]string{"export"}, args...)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), what) {
			t.Errorf("%v: %v, want %q in\n%s", args, err, what, out)
		}
	}
}
