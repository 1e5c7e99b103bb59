package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"carillon/directory/feed"
	"carillon/directory/httpapi"
	"carillon/directory/location"
)

// appliedAtOnce is a feed of one node without a stream.
type appliedAtOnce struct {
	directory *location.Directory
	live      bool
}

func (f *appliedAtOnce) Propose(_ context.Context, c location.Change) (location.Result, error) {
	c.Time = time.Now().UnixMilli()
	return f.directory.Apply(f.directory.Revision()+1, c)
}

func (f *appliedAtOnce) Await(context.Context, uint64) error { return nil }
func (f *appliedAtOnce) Current(context.Context) error       { return nil }
func (f *appliedAtOnce) Status() feed.Status {
	return feed.Status{Revision: f.directory.Revision(), Last: f.directory.Revision(), Live: f.live, Reason: "no leader"}
}

// directoryShell runs the verbs of `carillon directory` against a server.
type directoryShell struct {
	t    *testing.T
	feed *appliedAtOnce
	url  string
}

func openDirectoryShell(t *testing.T) *directoryShell {
	t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	d, err := location.Open(location.Config{
		Dir: filepath.Join(t.TempDir(), "location"), Logger: quiet,
		Caches: location.Caches{Names: 8, AbsentNames: 8, IDs: 8},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	s := &directoryShell{t: t, feed: &appliedAtOnce{d, true}}
	mux := http.NewServeMux()
	httpapi.New(httpapi.Config{
		Directory: d, Feed: s.feed, Restore: func(_ context.Context, dir string) error { return d.Restore(dir) },
		Now: time.Now, Logger: quiet, Registerer: prometheus.NewRegistry(),
	}).Register(mux)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// run runs a verb with a standard input.
func (s *directoryShell) run(in string, args ...string) (out, notes string, err error) {
	cmd := directoryCommand()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	var stdout, stderr bytes.Buffer
	cmd.SetArgs(append(args, "--url", s.url))
	cmd.SetIn(strings.NewReader(in))
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	err = cmd.ExecuteContext(s.t.Context())
	return stdout.String(), stderr.String(), err
}

// ok runs a verb that must succeed and whose output must have all of want.
func (s *directoryShell) ok(args []string, want ...string) string {
	s.t.Helper()
	out, _, err := s.run("", args...)
	if err != nil {
		s.t.Fatalf("%q: %v", args, err)
	}
	for _, w := range want {
		if !strings.Contains(out, w) {
			s.t.Errorf("%q: want %q in\n%s", args, w, out)
		}
	}
	return out
}

// fails runs a verb that must fail with an error that says want.
func (s *directoryShell) fails(want string, args ...string) {
	s.t.Helper()
	if _, _, err := s.run("", args...); err == nil || !strings.Contains(err.Error(), want) {
		s.t.Errorf("%q: %v, want an error with %q", args, err, want)
	}
}

func words(s string) []string { return strings.Fields(s) }

func filledDirectoryShell(t *testing.T) *directoryShell {
	t.Helper()
	s := openDirectoryShell(t)
	s.ok(words("servers add s1"), "registered s1")
	s.ok(words("servers add host:9000"), "registered host:9000")
	s.ok(words("put root.cell --rw 7 --ro 8 --flags 0x5 --site s1:2 --site host:9000:3:0x1"), "root.cell", "0x5", "s1:2 host:9000:3:0x1")
	s.ok(words("put home"), "home")
	return s
}

func TestDirectoryGetAndPut(t *testing.T) {
	s := filledDirectoryShell(t)
	s.ok(words("get root.cell --current --at-least 3"), "name", "version", "root.cell", "7", "8", "s1:2 host:9000:3:0x1")
	s.ok(words("get home.readonly 8"), "home", "root.cell")
	s.fails("not found: nobody", "get", "nobody")
	s.fails("not found: nobody, 99", "get", "home", "nobody", "99")
	s.fails("has 65 bytes", "get", strings.Repeat("n", 65))

	var e location.Entry
	text := s.ok(words("get root.cell --json"))
	if err := json.Unmarshal([]byte(text), &e); err != nil || e.IDs != (location.IDs{RW: 7, RO: 8}) || e.Version != 3 {
		t.Errorf("%v: %s", err, text)
	}
	s.fails("name its version with --version", "put", "root.cell")
	s.fails("has version 3, not 2", "put", "root.cell", "--version", "2")
	s.ok(words("put root.cell --version 3 --bk 9"), "root.cell", "9")

	// What get --json says goes back through put -.
	edited := strings.Replace(s.ok(words("get home --json")), `"ids":{}`, `"ids":{"rw":12}`, 1) + `{"name":"new"}`
	if out, _, err := s.run(edited, "put", "-", "--json"); err != nil || strings.Count(out, "\n") != 2 {
		t.Errorf("put -: %v\n%s", err, out)
	}
	s.ok(words("get 12 new"), "home", "new")
	if _, _, err := s.run(`{"name":"a","nmae":1}`, "put", "-"); err == nil || !strings.Contains(err.Error(), "nmae") {
		t.Errorf("a misspelt field: %v", err)
	}
	if _, _, err := s.run(`{"name":"b"}{"name":"a b"}`, "put", "-"); err == nil || !strings.Contains(err.Error(), "a b: ") {
		t.Errorf("a bad entry: %v", err)
	}
	for want, args := range map[string]string{
		"cannot go with":         "put - --rw 7",
		"s9":                     "put x --site s9:1",
		"server:partition":       "put x --site s1",
		"partition":              "put x --site s1:p",
		"--site s1:1:f: flags":   "put x --site s1:1:f",
		"--flags":                "put x --flags z",
		"digits only":            "put 123",
		"14 sites, want at most": "put x" + strings.Repeat(" --site s1:1", 14),
		"accepts 1 arg":          "put x y",
	} {
		s.fails(want, words(args)...)
	}
}

func TestDirectoryDeleteAndLocks(t *testing.T) {
	s := filledDirectoryShell(t)
	s.ok(words("lock home --owner mover --ttl 10m --kind 2"), "mover holds home until")
	s.ok(words("get home"), "mover until")
	s.fails("mover holds home", "delete", "home")
	s.fails("mover holds home", "lock", "home", "--owner", "other")
	s.fails("mover holds home", "unlock", "home", "--owner", "other")
	s.fails("owner", "unlock", "home")
	s.fails("owner", "lock", "home")
	s.fails("ttl_ms", "lock", "home", "--owner", "mover", "--ttl", "25h")
	s.ok(words("put home --version 5 --owner mover --flags 1"), "0x1")
	s.ok(words("unlock home --owner mover"), "home is free")
	s.fails("not 4", "delete", "home", "--version", "4")
	s.ok(words("delete home"), "deleted home")
	s.fails("not found", "delete", "home")
}

func TestDirectoryLists(t *testing.T) {
	s := filledDirectoryShell(t)
	s.ok(words("list"), "home", "root.cell")
	for args, want := range map[string]string{
		"--server s1 --json": "root.cell", "--server host:9000 --partition 3 --json": "root.cell",
		"--flags 0x4 --json": "root.cell", "--pattern ^h --current --json": "home",
	} {
		out := s.ok(append([]string{"list"}, words(args)...), `"name":"`+want+`"`)
		if strings.Count(out, "\n") != 1 {
			t.Errorf("list %s: %s", args, out)
		}
	}
	s.ok(words("list --pattern nothing"), "no entries")
	s.fails("missing closing", "list", "--pattern", "(")
	s.fails("s9", "list", "--server", "s9")
	out, notes, err := s.run("", "list", "--limit", "1")
	if err != nil || strings.Contains(out, "root.cell") || !strings.Contains(notes, "there are more") {
		t.Errorf("list --limit 1: %v\n%s%s", err, out, notes)
	}
	s.ok(words("servers"), "host:9000\ns1\n")
	s.fails("root.cell has a site", "servers", "remove", "s1")
	s.fails("not registered", "servers", "remove", "s9")
	s.ok(words("delete root.cell"))
	s.ok(words("servers remove s1"), "unregistered s1")
	s.ok(words("servers remove host:9000"))
	s.ok(words("servers"), "no servers")
	s.ok(words("servers --json"), "[]\n")
}

// TestDirectoryDump goes over several pages.
func TestDirectoryDump(t *testing.T) {
	s := openDirectoryShell(t)
	changes := make([]location.Numbered, 2*listPage+1)
	var want []string
	for i := range changes {
		name := "volume-" + string(rune('a'+i/676)) + string(rune('a'+i/26%26)) + string(rune('a'+i%26))
		want = append(want, name)
		changes[i] = location.Numbered{Revision: uint64(i + 1), Change: location.Change{Op: location.Create, Entry: location.Entry{Name: name}}}
	}
	if _, err := s.feed.directory.ApplyAll(changes); err != nil {
		t.Fatal(err)
	}
	names := func(out string) (names []string) {
		for line := range strings.Lines(out) {
			var e location.Entry
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			names = append(names, e.Name)
		}
		return names
	}
	if got := names(s.ok(words("dump"))); !slices.Equal(got, want) {
		t.Errorf("dump has %d entries, want %d", len(got), len(want))
	}
	if got := names(s.ok(words("list --json --limit 1500"))); !slices.Equal(got, want[:1500]) {
		t.Errorf("list has %d entries, want 1500", len(got))
	}
	if got := names(s.ok(words("list --json --limit 0"))); len(got) != len(want) {
		t.Errorf("list without limit has %d entries", len(got))
	}
}

func TestDirectoryStatsVerb(t *testing.T) {
	s := filledDirectoryShell(t)
	s.ok(words("get home"))
	s.ok(words("get home"))
	out := s.ok(words("stats"), "entries", "live", "every name is cached", "names", " %", "create", "register-server")
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "absent ids") && !strings.Contains(line, "off") {
			t.Errorf("a cache that is off: %s", line)
		}
	}
	var stats httpapi.Stats
	if err := json.Unmarshal([]byte(s.ok(words("stats --json"))), &stats); err != nil || stats.Directory.Entries != 2 {
		t.Errorf("%v: %+v", err, stats)
	}
	s.feed.live = false
	s.ok(words("stats"), "not live: no leader")
	if _, notes, err := s.run("", "get", "home"); err != nil || !strings.Contains(notes, "warning: the feed of changes is not live (no leader)") {
		t.Errorf("get without a live feed: %v: %s", err, notes)
	}
}

func TestDirectoryBackupVerbs(t *testing.T) {
	s := filledDirectoryShell(t)
	dir := filepath.Join(t.TempDir(), "backup")
	s.ok([]string{"backup", dir}, "backed up to "+dir+" at revision 4")
	s.fails("exist", "backup", dir)
	s.ok(words("delete home"))
	s.ok([]string{"restore", dir}, "restored from "+dir+" at revision 4")
	s.ok(words("get home"), "home")
	s.fails("no such", "restore", dir+"s")
}

func TestDirectoryWithoutServer(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	s := &directoryShell{t: t, url: server.URL}
	s.fails("not an answer of the directory API", "stats")
	server.Close()
	s.fails("is the server running?", "stats")
}

func TestEveryDirectoryVerbShowsAnExample(t *testing.T) {
	var check func(cmd *cobra.Command, path string)
	check = func(cmd *cobra.Command, path string) {
		if !strings.Contains(cmd.Example, path) || cmd.Short == "" {
			t.Errorf("%s --help has no example, or no short description", path)
		}
		for _, verb := range cmd.Commands() {
			check(verb, path+" "+verb.Name())
		}
	}
	check(directoryCommand(), "carillon directory")
}
