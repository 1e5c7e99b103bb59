package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDumpAndStats looks into the files of a server that runs and of one that does
// not, and at one with a flipped bit.
func TestDumpAndStats(t *testing.T) {
	data, target := tempData(t), tempData(t)
	s := startServer(t, data, "--agent=false", "--partitions", "2")
	sendBeats(t, s.Graphite, "shown", 30, 100, time.Now())
	shell(t, "backup", target, "--url", s.URL)

	var stats statsAnswer
	running := shell(t, "stats", data, "--json", "--top", "3")
	if err := json.Unmarshal([]byte(running[strings.Index(running, "{"):]), &stats); err != nil {
		t.Fatalf("%v: %s", err, running)
	}
	if stats.Series != 30 || len(stats.Top) != 3 || stats.Top[0].Name != "" || !strings.Contains(stats.Note, "in use by process") {
		t.Errorf("%+v", stats)
	}
	finest := stats.Tiers[0]
	sum := int64(0)
	for _, bytes := range finest.Columns {
		sum += bytes
	}
	if finest.Buckets != 3000 || finest.Bytes == 0 || sum != finest.Bytes {
		t.Errorf("%+v, the columns make %d bytes", finest, sum)
	}

	files, err := filepath.Glob(filepath.Join(data, "store", "*", "10s", "*.pages"))
	if err != nil || len(files) != 2 {
		t.Fatalf("%q, %v", files, err)
	}
	if out := shell(t, "dump", files[0]); !strings.Contains(out, "resolution 10s") || !strings.Contains(out, "100 buckets") {
		t.Error(out)
	}
	lines := 0
	for line := range strings.Lines(shell(t, "dump", "--values", "--json", files[0])) {
		lines++
		var one struct{ Strip *stripLine }
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Errorf("%v: %s", err, line)
		}
		if one.Strip != nil && len(one.Strip.Buckets) != 100 {
			t.Errorf("%d buckets", len(one.Strip.Buckets))
		}
	}
	if lines < 5 {
		t.Errorf("%d lines", lines)
	}
	if out := shell(t, "dump", filepath.Join(data, "store", "000", "MANIFEST")); !strings.Contains(out, "tier 10s") || !strings.Contains(out, ".pages") {
		t.Error(out)
	}
	backups, err := filepath.Glob(filepath.Join(target, "*", "BACKUP"))
	if err != nil || len(backups) != 1 {
		t.Fatalf("%q, %v", backups, err)
	}
	if out := shell(t, "dump", backups[0]); !strings.Contains(out, "carillon.json") {
		t.Error(out)
	}

	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if out := shell(t, "stats", data); !strings.Contains(out, `shown{n="`) || !strings.Contains(out, "values") {
		t.Error(out)
	}
	damage(t, files[0])
}

// damage flips a bit in the second page of a copy of a file.
func damage(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "copy.pages")
	for what, change := range map[string]func([]byte) []byte{
		"at 16 of":                            func(b []byte) []byte { b[100] ^= 4; return b },
		"it does not end like a page file":    func(b []byte) []byte { return b[:len(b)-1] },
		"at 0: it begins like no file of Car": func(b []byte) []byte { return append([]byte("junk"), b...) },
	} {
		if err := os.WriteFile(copied, change(bytes.Clone(text)), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := carillon("dump", copied).CombinedOutput()
		if err == nil || !strings.Contains(string(out), what) {
			t.Errorf("%v, want %q in\n%s", err, what, out)
		}
	}
}
