package node_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"carillon/cache"
	"carillon/cache/client"
	"carillon/cache/memcached"
	"carillon/cache/node"
)

func config() node.Config {
	return node.Config{Memory: 4 << 20, Server: memcached.Config{
		TCP: "127.0.0.1:0", UDP: "127.0.0.1:0", Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Logger: slog.New(slog.DiscardHandler),
	}}
}

// run runs a node until the test ends.
func run(t *testing.T, n *node.Node) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func newClient(t *testing.T, c client.Config, address net.Addr) *client.Client {
	t.Helper()
	cl, err := client.New([]string{address.String()}, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// TestNode publishes an item and reads it by TCP and UDP, and looks at what is counted.
func TestNode(t *testing.T) {
	with := config()
	with.Metrics = "127.0.0.1:0"
	n, err := node.Start(t.Context(), with)
	if err != nil {
		t.Fatal(err)
	}
	run(t, n)
	if o, _ := n.Cache().Store(cache.Write{Key: []byte("a"), Value: []byte("published")}); o != cache.Stored {
		t.Fatal(o)
	}
	for _, c := range []*client.Client{
		newClient(t, client.Config{}, n.Server().TCPAddr()),
		newClient(t, client.Config{UDP: true, ReplyWithin: 10 * time.Second}, n.Server().UDPAddr()),
	} {
		if item, err := c.Get(t.Context(), "a"); err != nil || string(item.Value) != "published" {
			t.Errorf("%q, %v", item.Value, err)
		}
	}
	if _, kernel := n.Mode(); kernel {
		t.Error("a kernel program that nobody asked for")
	}
	collector := node.NewCollector(n)
	if err := testutil.CollectAndCompare(collector, strings.NewReader(`
# HELP carillon_cache_gets_total Keys looked up for clients, by who answered and what.
# TYPE carillon_cache_gets_total counter
carillon_cache_gets_total{by="user",outcome="hit"} 2
carillon_cache_gets_total{by="user",outcome="miss"} 0
# HELP carillon_cache_items Items, with those that have ended and are not yet removed.
# TYPE carillon_cache_items gauge
carillon_cache_items 1
# HELP carillon_cache_kernel_attached 1 while a kernel program answers.
# TYPE carillon_cache_kernel_attached gauge
carillon_cache_kernel_attached{mode="none"} 0
`), "carillon_cache_gets_total", "carillon_cache_items", "carillon_cache_kernel_attached"); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.CollectAndLint(collector); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	reply, err := http.Get("http://" + n.MetricsAddr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	if text, err := io.ReadAll(reply.Body); err != nil || !strings.Contains(string(text), `carillon_cache_chunks{chunk_bytes="48",state="used"} 1`) {
		t.Errorf("%v, %.400s", err, text)
	}
}

// TestStartFails leaves nothing open: a node with the same socket can be started at once.
func TestStartFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := filepath.Join(t.TempDir(), "s")
	for name, change := range map[string]func(*node.Config){
		"little memory":     func(c *node.Config) { c.Memory = 1000 },
		"a large item":      func(c *node.Config) { c.ItemBytes = 4 << 20 },
		"nobody is allowed": func(c *node.Config) { c.Server.Allow = nil },
		"TCP taken":         func(c *node.Config) { c.Server.TCP = taken.Addr().String() },
		"metrics taken":     func(c *node.Config) { c.Metrics = taken.Addr().String() },
		"XDP without UDP":   func(c *node.Config) { c.Interface, c.Server.UDP = "lo", "" },
		"no such interface": func(c *node.Config) { c.Interface = "absent0" },
	} {
		with := config()
		with.Server.Unix = address
		change(&with)
		if n, err := node.Start(t.Context(), with); err == nil {
			t.Errorf("%s: started", name)
			_ = n.Close()
		}
	}
	with := config()
	with.Server.Unix = address
	n, err := node.Start(t.Context(), with)
	if err != nil {
		t.Fatal(err)
	}
	collector := node.NewCollector(n)
	if testutil.CollectAndCount(collector) == 0 {
		t.Error("no metrics")
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if series := testutil.CollectAndCount(collector); series != 0 {
		t.Errorf("%d series of a closed node", series)
	}
}
