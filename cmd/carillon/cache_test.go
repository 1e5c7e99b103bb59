package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"carillon/cache/client"
)

// cacheProcess is a real `carillon cache`, by what it said of itself when it was ready.
type cacheProcess map[string]string

func startCache(t *testing.T, args ...string) cacheProcess {
	t.Helper()
	cmd := carillon(append([]string{"cache", "--listen", "127.0.0.1:0", "--memory", "4MiB"}, args...)...)
	log := &lockedBuffer{}
	cmd.Stderr = log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		if err := <-exited; err != nil {
			t.Errorf("carillon cache ended with %v; said:\n%s", err, log.String())
		}
	})
	p := make(cacheProcess)
	lines := bufio.NewScanner(stdout)
	for p["memory"] == "" && lines.Scan() {
		if words := strings.Fields(lines.Text()); len(words) > 1 {
			p[words[0]] = words[1]
		}
	}
	go func() {
		_, _ = io.Copy(io.Discard, stdout)
		exited <- cmd.Wait()
	}()
	if p["memory"] == "" {
		t.Fatalf("carillon cache is not ready; said:\n%s", log.String())
	}
	return p
}

// cacheSays runs a verb that asks a cache.
func cacheSays(t *testing.T, stdin string, args ...string) (out string, err error) {
	t.Helper()
	cmd := carillon(append([]string{"cache"}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	said, err := cmd.CombinedOutput()
	return string(said), err
}

func TestCache(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	p := startCache(t, "--unix", socket, "--metrics", "127.0.0.1:0")
	server := p["TCP"]
	for _, c := range []struct {
		args, stdin, want string
		fails             bool
	}{
		{args: "set greeting hello --ttl 1h", want: "stored greeting: 5 bytes on " + server},
		{args: "get greeting", want: "hello\n"},
		{args: "get greeting none", want: `not there: ["none"]`, fails: true},
		{args: "get greeting greeting", want: `"hello"`},
		{args: "get greeting --json", want: `[{"key":"greeting","value":"hello","flags":0,"server":"` + server + `"}]`},
		{args: "get none", want: `not there: ["none"]`, fails: true},
		{args: "get a\tb", want: "bad key", fails: true},
		{args: "set picture - --flags 7", stdin: "\x00\r\n\xff", want: "stored picture: 4 bytes"},
		{args: "get picture --json", want: `"flags":7`},
		{args: "set greeting again --add", want: "not stored", fails: true},
		{args: "set none again --replace", want: "not stored", fails: true},
		{args: "set greeting again --replace", want: "stored"},
		{args: "set greeting again --replace --add", want: "exclude each other", fails: true},
		{args: "stats", want: "curr_items            2\n"},
		{args: "stats slabs --json", want: `"active_slabs":"1"`},
		{args: "stats nonsense", want: server + ": ERROR", fails: true},
		{args: "dump", want: `"greeting"`},
		{args: "dump --json", want: `"key":"picture","expiry":-1`},
		{args: "delete picture", want: "deleted 1"},
		{args: "delete picture", want: `not there: ["picture"]`, fails: true},
		{args: "set s:1 x", want: "stored"},
		{args: "set s:2 x", want: "stored"},
		{args: "delete --prefix s: --json", want: `{"deleted":2}`},
		{args: "delete", want: "want keys, or --prefix", fails: true},
		{args: "hot", want: "no key was asked for often"},
		{args: "hot --top 0", want: "want 1 or more", fails: true},
		{args: "get greeting --server " + socket, want: "again\n"},
		{args: "get greeting --server nowhere", want: "missing port", fails: true},
	} {
		args := strings.Split(c.args, " ")
		if !strings.Contains(c.args, "--server") {
			args = append(args, "--server", server)
		}
		out, err := cacheSays(t, c.stdin, args...)
		if (err != nil) != c.fails || !strings.Contains(out, c.want) {
			t.Errorf("carillon cache %s: %v, %q; want %q", c.args, err, out, c.want)
		}
	}
	metrics := fetch(t, p["metrics"])
	for _, want := range []string{`carillon_cache_gets_total{by="user",outcome="miss"} `, `carillon_cache_item_events_total{event="deleted"} 3`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics have no %q", want)
		}
	}
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	reply, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestCacheServers shares keys out between two caches, which know their users, and finds what is hot.
func TestCacheServers(t *testing.T) {
	users := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(users, []byte("ann:secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, b := startCache(t, "--auth-file", users), startCache(t, "--auth-file", users)
	servers := a["TCP"] + "," + b["TCP"]
	if out, err := cacheSays(t, "", "get", "x", "--server", servers); err == nil || !strings.Contains(out, "unauthenticated") {
		t.Errorf("without a user: %v, %q", err, out)
	}
	t.Setenv("CARILLON_CACHE_PASSWORD", "secret")
	c, err := client.New([]string{a["TCP"], b["TCP"]}, client.Config{User: "ann", Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	used := make(map[string]bool)
	for i := range 20 {
		key := fmt.Sprint("key", i)
		used[c.ServerOf(key)] = true
		if err := c.Store(t.Context(), client.Set, client.Item{Key: key, Value: []byte("x")}, 0); err != nil {
			t.Fatal(err)
		}
	}
	if len(used) != 2 {
		t.Errorf("20 keys are on %v", used)
	}
	const hot = "key7"
	var many []string
	for range 4096 {
		many = append(many, hot)
	}
	if _, err := c.GetMany(t.Context(), many); err != nil {
		t.Fatal(err)
	}
	out, err := cacheSays(t, "", "hot", "--json", "--top", "1", "--user", "ann", "--server", servers)
	var found []client.HotKey
	if err != nil || json.Unmarshal([]byte(out), &found) != nil || len(found) != 1 || found[0].Key != hot || found[0].Server != c.ServerOf(hot) {
		t.Errorf("hot: %v, %q", err, out)
	}
	if out, err := cacheSays(t, "", "delete", "--prefix", "key", "--user", "ann", "--server", servers); err != nil || out != "deleted 20\n" {
		t.Errorf("delete: %v, %q", err, out)
	}
}

// TestCacheByDatagrams reads by UDP, and hears nothing where it is not allowed to.
func TestCacheByDatagrams(t *testing.T) {
	p := startCache(t, "--udp", "127.0.0.1:0")
	if out, err := cacheSays(t, "", "set", "greeting", "hello", "--server", p["TCP"]); err != nil {
		t.Fatalf("%v, %q", err, out)
	}
	udp := strings.TrimSuffix(p["UDP"], ",")
	if out, err := cacheSays(t, "", "get", "greeting", "--udp", "--reply-within", "10s", "--server", udp); err != nil || out != "hello\n" {
		t.Errorf("get: %v, %q", err, out)
	}
	closed := startCache(t, "--udp", "127.0.0.1:0", "--allow", "192.0.2.0/24")
	udp = strings.TrimSuffix(closed["UDP"], ",")
	if out, err := cacheSays(t, "", "get", "greeting", "--udp", "--reply-within", "1ms", "--server", udp); err == nil || !strings.Contains(out, "not there") {
		t.Errorf("from a source that is not allowed: %v, %q", err, out)
	}
}
