package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
)

// shell runs a verb and returns what it printed; it must succeed.
func shell(t *testing.T, args ...string) string {
	t.Helper()
	out, err := carillon(args...).CombinedOutput()
	if err != nil {
		t.Fatalf("carillon %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// sendBeats sends one point a series and ten seconds, up to the last whole ten.
func sendBeats(t *testing.T, address, name string, series, points int, at time.Time) {
	t.Helper()
	var lines strings.Builder
	last := at.Unix() / 10 * 10
	for i := range points {
		for n := range series {
			fmt.Fprintf(&lines, "%s;n=%d %d.%d %d\n", name, n, i*n, n, last-10*int64(points-i))
		}
	}
	if err := sendLines(address, lines.String()); err != nil {
		t.Fatal(err)
	}
}

// TestBackupAndRestore backs up a server that works, kills it, and goes on with what
// is restored: everything acknowledged before the backup is there, and new points and
// locations follow.
func TestBackupAndRestore(t *testing.T) {
	data, target, restored := tempData(t), tempData(t), tempData(t)
	s := startServer(t, data, "--agent=false", "--partitions", "3")
	now := time.Now()
	sendBeats(t, s.Graphite, "kept", 20, 30, now)
	shell(t, "directory", "servers", "add", "alpha", "--url", s.URL)
	shell(t, "directory", "put", "first", "--site", "alpha:1", "--url", s.URL)
	if out := shell(t, "backup", target, "--url", s.URL); !strings.Contains(out, "files") {
		t.Error(out)
	}
	before := samples(t, s.URL, `kept`, now)
	if len(before) != 20 {
		t.Fatalf("%d series", len(before))
	}
	sendBeats(t, s.Graphite, "kept", 25, 40, now)
	shell(t, "directory", "put", "second", "--site", "alpha:2", "--url", s.URL)
	after := samples(t, s.URL, `kept`, now)
	stop := sendOn(s.Graphite)
	shell(t, "backup", target, "--url", s.URL)
	stop()
	s.kill()

	backups, err := filepath.Glob(filepath.Join(target, "*"))
	if err != nil || len(backups) != 2 {
		t.Fatalf("%q, %v", backups, err)
	}
	for _, one := range []struct {
		dir  string
		want map[string][]model.SamplePair
	}{{target, after}, {backups[0], before}} {
		dir, want := one.dir, one.want
		shell(t, "restore", dir, restored)
		shell(t, "verify", restored)
		r := startServer(t, restored, "--agent=false")
		if have := samples(t, r.URL, `kept`, now); !reflect.DeepEqual(have, want) {
			t.Errorf("%s: have\n%v\nwant\n%v", dir, have, want)
		}
		shell(t, "directory", "get", "first", "--url", r.URL)
		shell(t, "directory", "put", "third", "--site", "alpha:3", "--url", r.URL)
		sendBeats(t, r.Graphite, "more", 5, 5, now)
		if have := samples(t, r.URL, `more`, now); len(have) != 5 {
			t.Errorf("%d new series", len(have))
		}
		r.kill()
		r = startServer(t, restored, "--agent=false")
		if have := samples(t, r.URL, `{__name__=~"kept|more"}`, now); len(have) != len(want)+5 {
			t.Errorf("after a kill %d series", len(have))
		}
		shell(t, "directory", "get", "third", "--url", r.URL)
		if out := shell(t, "backup", target, "--url", r.URL, "--keep", "5"); strings.Contains(out, "removed") {
			t.Error(out)
		}
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(restored); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range backups {
		shell(t, "verify", dir)
	}
	refuseDamage(t, backups[1], restored)
}

// sendOn sends points of ever new series until it is told to stop.
func sendOn(address string) (stop func()) {
	stopping, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stopping:
				return
			default:
			}
			if sendLines(address, fmt.Sprintf("noise;n=%d 1\n", i)) != nil {
				return
			}
		}
	}()
	return func() {
		close(stopping)
		<-stopped
	}
}

// refuseDamage flips a bit in a backup: verify and restore say where, and nothing serves
// from what was restored.
func refuseDamage(t *testing.T, dir, restored string) {
	t.Helper()
	pages, err := filepath.Glob(filepath.Join(dir, "store", "*", "10s", "*.pages"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("%q, %v", pages, err)
	}
	text, err := os.ReadFile(pages[0])
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)/2] ^= 1
	if err := os.WriteFile(pages[0], text, 0o600); err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(pages[0])
	for what, args := range map[string][]string{
		name + ": backup is corrupt":  {"verify", dir},
		name + ": backup is corrupt:": {"restore", dir, restored},
	} {
		out, err := carillon(args...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), what) {
			t.Errorf("%v: %v, want %q in\n%s", args, err, what, out)
		}
	}
	out, err := carillon("serve", "--data", restored, "--listen", "127.0.0.1:0").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "run carillon restore again") {
		t.Errorf("serving from it: %v\n%s", err, out)
	}
}
