//go:build linux && (amd64 || arm64 || riscv64)

package xdp_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"carillon/cache/xdp"
	"carillon/cache/xdp/lab"
)

const (
	benchKeys  = 1 << 12
	numberAt   = 4                  // in a key of the benchmarks, as format has it
	keyFormat  = "key-%08d-1234567" // of 20 bytes
	benchValue = 20                 // bytes
)

// bench is a server of benchKeys items at one end of a pair, and requests for them.
type bench struct {
	*server
	pair *lab.Pair
	lab  *lab.Lab
}

func newBench(b testing.TB) *bench { return newBenchFrom(b, ways[0]) }

// newBenchFrom has requests that come another way.
func newBenchFrom(b testing.TB, from way) *bench {
	n := &bench{server: newCache(b, 64<<20), pair: newPair(b)}
	request4 := from.datagram(request(7, "get "+fmt.Sprintf(keyFormat, 0)+"\r\n")).frame()
	keys := make([]uint32, lab.MaxKeys)
	for i := range benchKeys {
		n.set(b, fmt.Sprintf(keyFormat, i), strings.Repeat("v", benchValue), 0, 0)
	}
	for i := range keys {
		keys[i] = rand.Uint32N(benchKeys)
	}
	var err error
	n.lab, err = lab.Load(lab.Request{
		Frame: request4, Check: 14 + 20 + 6, Keys: keys,
		Number: bytes.Index(request4, []byte("key-")) + numberAt,
	})
	check(b, err)
	b.Cleanup(func() { check(b, n.lab.Close()) })
	with := config()
	with.Interface = lab.ServerInterface
	check(b, n.pair.Server.Do(func() error {
		n.load(b, with)
		_, err := n.program.Attach()
		return err
	}))
	return n
}

// BenchmarkHit is cache.xdp_hit_ns: the program's own time for a GET of 20 bytes of key
// and of value.
func BenchmarkHit(b *testing.B) {
	n := newBench(b)
	const runs = 100_000
	best := time.Hour
	for b.Loop() {
		took, err := n.lab.Measure(n.program.Kernel(), runs)
		check(b, err)
		best = min(best, took)
	}
	b.ReportMetric(float64(best), "hit-ns")
}

// BenchmarkPeak is cache.peak_replies: replies a second through a veth pair, to
// requests made in the kernel on the same processors.
func BenchmarkPeak(b *testing.B) {
	n := newBench(b)
	check(b, n.pair.Client.Do(func() error { return n.lab.Sink(lab.ClientInterface) }))
	best := 0.0
	for b.Loop() {
		f, err := n.lab.Flood(n.pair.Client, lab.ClientInterface, 1_000_000)
		check(b, err)
		best = max(best, float64(f.Replies.Values)/f.Took.Seconds())
	}
	b.ReportMetric(best, "replies/s")
}

// TestFlood: requests made in the kernel are answered, nearly all, each with a value.
func TestFlood(t *testing.T) {
	n := newBench(t)
	check(t, n.pair.Client.Do(func() error { return n.lab.Sink(lab.ClientInterface) }))
	f, err := n.lab.Flood(n.pair.Client, lab.ClientInterface, 50_000)
	check(t, err)
	if f.Requests < 49_000 || f.Replies.Values < f.Requests*9/10 || f.Replies.Ends+f.Replies.Others > 0 {
		t.Errorf("%+v", f)
	}
	c, err := n.program.Counters()
	check(t, err)
	if c[xdp.Hit] < f.Replies.Values || c.Passed() > 0 {
		t.Errorf("counters %v", c)
	}
	if took, err := n.lab.Measure(n.program.Kernel(), 1000); err != nil || took > 100*time.Microsecond {
		t.Errorf("a hit takes %v: %v", took, err)
	}
}

// TestFloodFromOutside: a flood of requests from a source that is not on the allow-list gets no reply at all, and
// every request is counted; those of others are answered meanwhile as ever.
func TestFloodFromOutside(t *testing.T) {
	outside := ways[0]
	outside.from = netip.MustParseAddrPort("10.78.0.1:40000")
	n := newBenchFrom(t, outside)
	check(t, n.pair.Client.Do(func() error { return n.lab.Sink(lab.ClientInterface) }))
	f, err := n.lab.Flood(n.pair.Client, lab.ClientInterface, 50_000)
	check(t, err)
	c, err := n.program.Counters()
	check(t, err)
	if f.Requests < 49_000 || f.Replies.All() > 0 || c.Answered() > 0 || c[xdp.PassSource] < f.Requests*9/10 || c.Passed() != c[xdp.PassSource] {
		t.Errorf("%+v, counters %v", f, c)
	}
	payload := request(1, "get "+fmt.Sprintf(keyFormat, 7)+"\r\n")
	if _, as := n.ask(t, ways[0], payload); as != xdp.Hit {
		t.Errorf("another one's request: %v", as)
	}
}
