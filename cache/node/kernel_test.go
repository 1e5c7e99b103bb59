//go:build linux && (amd64 || arm64 || riscv64)

package node_test

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"carillon/cache"
	"carillon/cache/client"
	"carillon/cache/node"
	"carillon/cache/xdp"
	"carillon/cache/xdp/lab"
	"carillon/require"
)

// TestKernelAnswers asks a node through a pair of interfaces: the kernel answers, its share is
// counted, and the node learns which key is hot there.
func TestKernelAnswers(t *testing.T) {
	pair, err := lab.NewPair()
	require.Feature(t, "bpf", err == nil, fmt.Sprintf("root and iproute2: %v", err))
	t.Cleanup(pair.Close)
	with := config()
	with.Server.TCP, with.Server.UDP, with.Interface = lab.Server4.String()+":0", lab.Server4.String()+":0", lab.ServerInterface
	with.Server.Allow = []netip.Prefix{netip.PrefixFrom(lab.Client4, 32)}
	var n *node.Node
	if err := pair.Server.Do(func() (err error) {
		n, err = node.Start(t.Context(), with)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	run(t, n)
	if _, ok := n.Mode(); !ok {
		t.Fatal("no kernel program")
	}
	returns(t, pair)
	n.Cache().Store(cache.Write{Key: []byte("hot"), Value: []byte("from the kernel")})
	c := newClient(t, client.Config{UDP: true, ReplyWithin: 10 * time.Second}, n.Server().UDPAddr())
	gets := uint64(0)
	get := func(key string) (item client.Item, err error) {
		gets++
		_ = pair.Client.Do(func() error {
			item, err = c.Get(t.Context(), key)
			return nil
		})
		return item, err
	}
	if _, err := get("none"); !errors.Is(err, client.ErrMiss) {
		t.Errorf("none: %v", err)
	}
	for hot := false; !hot; {
		if item, err := get("hot"); err != nil || string(item.Value) != "from the kernel" {
			t.Fatalf("hot: %q, %v", item.Value, err)
		}
		for _, key := range n.Cache().Hot(10) {
			hot = hot || key.Key == "hot"
		}
	}
	counters, ok, err := n.Kernel()
	if err != nil || !ok || counters[xdp.Hit] != gets-1 || counters[xdp.Miss] != 1 || counters.Passed() != 0 {
		t.Errorf("%v of %d: %v", counters, gets, err)
	}
	if s := n.Cache().Stats(); s.Hits+s.Misses != 0 {
		t.Errorf("user space answered %d", s.Hits+s.Misses)
	}
	if problems, err := testutil.CollectAndLint(node.NewCollector(n)); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	if series := testutil.CollectAndCount(node.NewCollector(n), "carillon_cache_gets_total", "carillon_cache_kernel_passed_total"); series != 4+int(xdp.Outcomes-xdp.PassSource) {
		t.Errorf("%d series", series)
	}
}

// returns lets the client's end take frames that the server's end sends back: a program must
// be there too.
func returns(t *testing.T, pair *lab.Pair) {
	t.Helper()
	other, err := lab.Load(lab.Request{Frame: make([]byte, 60)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := other.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := pair.Client.Do(func() error { return other.Open(lab.ClientInterface) }); err != nil {
		t.Fatal(err)
	}
}
