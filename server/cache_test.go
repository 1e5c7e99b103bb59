package server_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"carillon/cache/client"
	"carillon/cache/memcached"
	"carillon/cache/newest"
	"carillon/cache/node"
	"carillon/server"
)

// longAgo is a time of which a segment is complete as soon as a point of it has come.
func longAgo() int64 { return time.Now().Add(-10*time.Minute).Unix() / 10 * 10 }

// withCache makes a server have a cache on free ports.
func withCache(change func(*server.Cache)) func(*server.Config) {
	return func(c *server.Config) {
		c.Cache = &server.Cache{
			Node: node.Config{Memory: 8 << 20, Server: memcached.Config{
				TCP: "127.0.0.1:0", UDP: "127.0.0.1:0", Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Logger: c.Logger, Version: "test",
			}},
			Expire: time.Hour, Directory: true,
		}
		change(c.Cache)
	}
}

// reader asks a server's cache, by TCP and by UDP.
type reader struct {
	t        *testing.T
	tcp, udp *client.Client
}

func newReader(t *testing.T, bound server.Bound) *reader {
	t.Helper()
	open := func(address string, udp bool) *client.Client {
		c, err := client.New([]string{address}, client.Config{UDP: udp, ReplyWithin: patience})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	return &reader{t, open(bound.Cache, false), open(bound.CacheUDP, true)}
}

// get is the value of a key, "" if there is none; TCP and UDP must agree.
func (r *reader) get(key string) string {
	r.t.Helper()
	var values [2]string
	for i, c := range []*client.Client{r.tcp, r.udp} {
		item, err := c.Get(r.t.Context(), key)
		if err != nil && !errors.Is(err, client.ErrMiss) {
			r.t.Fatalf("get %s: %v", key, err)
		}
		values[i] = string(item.Value)
	}
	if values[0] != values[1] {
		r.t.Fatalf("%s is %q by TCP and %q by UDP", key, values[0], values[1])
	}
	return values[0]
}

// await waits until a key has a value; whoever writes it does so for good.
func (r *reader) await(key, want string) {
	r.t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		item, err := r.tcp.Get(r.t.Context(), key)
		if got := string(item.Value); got == want && (err == nil || errors.Is(err, client.ErrMiss)) {
			break
		} else if time.Now().After(deadline) {
			r.t.Fatalf("%s is %q (%v), want %q", key, got, err, want)
		}
		<-tick.C
	}
	if got := r.get(key); got != want {
		r.t.Errorf("%s is %q, want %q", key, got, want)
	}
}

func TestCacheHasTheNewestBucketOfEachSeries(t *testing.T) {
	bound, stop := run(t, withCache(func(*server.Cache) {}))
	r, at := newReader(t, bound), longAgo()
	sendLines(t, bound.Graphite, fmt.Sprintf("cpu.idle.host13 90 %d\ndisk.used;host=web1;mount=/a 12.5 %d\n", at, at))
	sendLines(t, bound.Istatd, fmt.Sprintf("*shop.orders %d 20\n", at))
	r.await("cpu.idle.host13", fmt.Sprintf("%d 90 1 90 90 90 0", at))
	r.await(`disk.used{host="web1",mount="/a"}`, fmt.Sprintf("%d 12.5 1 12.5 12.5 12.5 0", at))
	r.await("shop.orders", fmt.Sprintf("%d 20 1 2 20 20 0", at)) // 2 a second
	sendLines(t, bound.Graphite, fmt.Sprintf("cpu.idle.host13 70 %d\ncpu.idle.host13 80 %d\n", at+10, at+12))
	r.await("cpu.idle.host13", fmt.Sprintf("%d 80 2 75 70 80 5", at+12))
	if got := r.get("cpu.idle.host14"); got != "" {
		t.Errorf("a series that there is not is %q", got)
	}

	if s := statusOf(t, bound.URL); !s.Cache {
		t.Error("the status does not say that there is a cache")
	}
	var answer struct {
		Data struct {
			TCP, UDP string
			Kernel   *struct{}
			Cache    struct{ Items, Hits, Misses int }
			Commands map[string]int
			Hot      []struct{ Key string }
			Latency  struct{ Buckets []struct{ Rounds int } }
			Newest   newest.Stats
		}
	}
	var body string
	for deadline := time.Now().Add(patience); answer.Data.Newest.Stored < 4; { // it is counted after it is stored
		_, body = get(t, bound.URL+"/api/v1/cache")
		if err := json.Unmarshal([]byte(body), &answer); err != nil || time.Now().After(deadline) {
			t.Fatalf("%v: %s", err, body)
		}
	}
	a := answer.Data
	rounds := 0
	for _, b := range a.Latency.Buckets {
		rounds += b.Rounds
	}
	if a.TCP != bound.Cache || a.UDP != bound.CacheUDP || a.Kernel != nil || a.Cache.Items != 3 || a.Cache.Hits < 8 || a.Cache.Misses < 2 ||
		a.Commands["get_misses"] < 2 || a.Commands["datagrams"] < 5 || rounds == 0 || a.Newest.Series != 3 || a.Newest.Stored != 4 {
		t.Errorf("GET /api/v1/cache: %s", body)
	}
	_, metrics := get(t, bound.URL+"/metrics")
	for _, want := range []string{`carillon_cache_newest_buckets_total{outcome="stored"} 4`, `carillon_cache_newest_series 3`, `carillon_cache_items 3`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics do not say %s", want)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// TestCacheAfterARestart begins empty, and has what comes.
func TestCacheAfterARestart(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	change := withCache(func(c *server.Cache) {
		c.Format = newest.JSON
		selector, err := newest.ParseSelector(`{__name__=~"cpu\\..*"}`)
		if err != nil {
			t.Fatal(err)
		}
		c.Select = []newest.Selector{selector}
	})
	start := func() (*reader, server.Bound, func() error) {
		bound, stop := run(t, func(c *server.Config) {
			change(c)
			c.Data = data
		})
		return newReader(t, bound), bound, stop
	}
	r, bound, stop := start()
	at := longAgo()
	sendLines(t, bound.Graphite, fmt.Sprintf("mem.free 1 %d\ncpu.idle 90 %d\ncpu.nice 5 %d\n", at, at, at))
	want := func(at, v int64) string {
		return fmt.Sprintf(`{"time":%d,"value":%d,"count":1,"avg":%[2]d,"min":%[2]d,"max":%[2]d,"sdev":0}`, at, v)
	}
	r.await("cpu.idle", want(at, 90))
	r.await("cpu.nice", want(at, 5))
	if got := r.get("mem.free"); got != "" {
		t.Errorf("what is not selected is %q", got)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	r, bound, _ = start()
	if got := r.get("cpu.idle"); got != "" { // sealed at the end, so not replayed
		t.Errorf("after a restart: %q", got)
	}
	sendLines(t, bound.Graphite, fmt.Sprintf("cpu.idle 91 %d\n", at+10))
	r.await("cpu.idle", want(at+10, 91))
}

func TestCacheHasTheDirectory(t *testing.T) {
	bound, stop := run(t, withCache(func(*server.Cache) {}))
	r := newReader(t, bound)
	do := func(method, path, body string) json.RawMessage {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, bound.URL+"/api/v1/directory"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var answer struct {
			Data  json.RawMessage
			Error string
		}
		if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.Error != "" {
			t.Fatalf("%s %s: %s %v", method, path, answer.Error, err)
		}
		return answer.Data
	}
	do("PUT", "/servers/s1", "")
	for i := range 3 { // each is there, or gone, as soon as it is acknowledged
		name := fmt.Sprintf("home.%d", i)
		do("POST", "/entries", fmt.Sprintf(`{"name":%q,"ids":{"rw":%d},"sites":[{"server":"s1","partition":3}]}`, name, 10+i))
		entry := string(do("GET", "/entries/"+name, ""))
		for _, key := range []string{"directory:" + name, fmt.Sprintf("directory:%d", 10+i)} {
			if got := r.get(key); got != entry {
				t.Errorf("%s is %s, want %s", key, got, entry)
			}
		}
		do("PATCH", "/entries/"+name, `{"set_flags":4,"rw":0}`)
		if got, want := r.get("directory:"+name), string(do("GET", "/entries/"+name, "")); got != want || r.get(fmt.Sprintf("directory:%d", 10+i)) != "" {
			t.Errorf("after an update it is %s, want %s", got, want)
		}
	}
	backup := filepath.Join(t.TempDir(), "backup")
	do("POST", "/backup", fmt.Sprintf(`{"dir":%q}`, backup))
	do("DELETE", "/entries/home.0", "")
	if got := r.get("directory:home.0"); got != "" {
		t.Errorf("after its delete it is %s", got)
	}
	do("POST", "/entries", `{"name":"later"}`)
	// The feed still has what came after the backup: in the end all is as before.
	do("POST", "/restore", fmt.Sprintf(`{"dir":%q}`, backup))
	for _, name := range []string{"later", "home.1", "home.2"} {
		r.await("directory:"+name, string(do("GET", "/entries/"+name+"?consistency=current", "")))
	}
	if got := r.get("directory:home.0"); got != "" {
		t.Errorf("after the feed's delete it is %s again", got)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func TestNoCache(t *testing.T) {
	bound, _ := run(t, func(*server.Config) {})
	if code, _ := get(t, bound.URL+"/api/v1/cache"); code != http.StatusNotFound || statusOf(t, bound.URL).Cache {
		t.Errorf("there is no cache, but GET /api/v1/cache answers %d", code)
	}
}

func TestCacheThatCannotBe(t *testing.T) {
	for want, change := range map[string]func(*server.Cache){
		"--cache: ":       func(c *server.Cache) { c.Node.Server.TCP = "127.0.0.1:99999" },
		"expire after":    func(c *server.Cache) { c.Expire = 15 * time.Second },
		"for which there": func(c *server.Cache) { c.Node.Interface, c.Node.Server.UDP = "lo", "" },
	} {
		c := testConfig(t)
		withCache(change)(&c)
		if err := server.Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
