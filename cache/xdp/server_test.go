//go:build linux && (amd64 || arm64 || riscv64)

package xdp_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"carillon/cache"
	"carillon/cache/memcached"
	"carillon/cache/xdp"
	"carillon/require"
)

var (
	server4 = netip.MustParseAddrPort("10.77.0.2:11211")
	client4 = netip.MustParseAddrPort("10.77.0.1:40000")
	server6 = netip.MustParseAddrPort("[fd77::2]:11211")
	client6 = netip.MustParseAddrPort("[fd77::1]:40001")
	quiet   = slog.New(slog.NewTextHandler(io.Discard, nil))
)

const startOfTime = 1_000_000 // Unix seconds

// server is a cache and the program that reads it, attached to nothing.
type server struct {
	*cache.Cache
	region  *xdp.Region
	program *xdp.Program
	close   func() // the cache
	unload  func() // the program
}

// config answers requests from client4 and client6 to server4 and server6.
func config() xdp.Config {
	return xdp.Config{
		Interface: "lo",
		Addresses: []netip.Addr{server4.Addr(), server6.Addr()},
		Port:      server4.Port(),
		Allow:     []netip.Prefix{netip.MustParsePrefix("10.77.0.0/24"), netip.MustParsePrefix("fd77::/64")},
		Logger:    quiet,
	}
}

func newServer(t testing.TB, bytes int64, c xdp.Config) *server {
	t.Helper()
	s := newCache(t, bytes)
	s.load(t, c)
	return s
}

// newCache is a server without the program.
func newCache(t testing.TB, bytes int64) *server {
	t.Helper()
	region, err := xdp.NewRegion(bytes)
	require.Feature(t, "bpf", err == nil, "root, a Linux from 5.18 on: "+message(err))
	t.Cleanup(func() { check(t, region.Close()) })
	c, err := cache.New(region.Words(), cache.Config{Seed: 1, Grace: region})
	check(t, err)
	c.Tick(startOfTime)
	s := &server{Cache: c, region: region, close: sync.OnceFunc(c.Close)}
	t.Cleanup(s.close)
	return s
}

func (s *server) load(t testing.TB, c xdp.Config) {
	t.Helper()
	var err error
	s.program, err = xdp.Load(s.region, c)
	check(t, err)
	s.unload = sync.OnceFunc(func() { check(t, s.program.Close()) })
	t.Cleanup(s.unload)
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *server) set(t testing.TB, key, value string, flags, expiry uint32) {
	t.Helper()
	outcome, _ := s.Store(cache.Write{Key: []byte(key), Value: []byte(value), Flags: flags, Expiry: expiry})
	if outcome != cache.Stored {
		t.Fatalf("set %q: %d", key, outcome)
	}
}

// run puts a frame through the program and tells what it was counted as; Outcomes if it
// was not counted.
func (s *server) run(t testing.TB, frame []byte) (out []byte, answered bool, as xdp.Outcome) {
	t.Helper()
	before, err := s.program.Counters()
	check(t, err)
	out, answered, err = s.program.Run(frame)
	check(t, err)
	after, err := s.program.Counters()
	check(t, err)
	as = xdp.Outcomes
	for o := range xdp.Outcomes {
		if after[o] != before[o] {
			as = o
		}
	}
	if !answered && !bytes.Equal(out, frame) {
		t.Errorf("passed as %x instead of %x", out, frame)
	}
	if answered != (as == xdp.Hit || as == xdp.Miss) {
		t.Errorf("answered %v, counted as %v", answered, as)
	}
	return out, answered, as
}

// ask sends a payload through the program, over a way; the answer's payload is nil if
// the request was passed on.
func (s *server) ask(t testing.TB, over way, payload []byte) (answer []byte, as xdp.Outcome) {
	t.Helper()
	request := over.datagram(payload)
	out, answered, as := s.run(t, request.frame())
	if !answered {
		return nil, as
	}
	reply, err := parse(out)
	if err != nil {
		t.Errorf("%s: answer %x: %v", over.name, out, err)
	}
	if reply.from != request.to || reply.to != request.from || reply.vlan != request.vlan {
		t.Errorf("%s: from %v to %v, tag %d", over.name, reply.from, reply.to, reply.vlan)
	}
	return reply.payload, as
}

// way is how a datagram comes.
type way struct {
	name     string
	from, to netip.AddrPort
	vlan     uint16
}

func (w way) datagram(payload []byte) datagram { return datagram{w.from, w.to, w.vlan, payload} }

var ways = []way{
	{"IPv4", client4, server4, 0},
	{"IPv4, VLAN", client4, server4, 7},
	{"IPv6", client6, server6, 0},
	{"IPv6, VLAN", client6, server6, 4095},
}

// userSpace is the server in user space over the same cache, and a client of it.
type userSpace struct{ *net.UDPConn }

func newUserSpace(t testing.TB, s *server) userSpace {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	serving, err := memcached.Listen(ctx, s.Cache, memcached.Config{
		UDP: "127.0.0.1:0", Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Logger: quiet,
	})
	check(t, err)
	var done sync.WaitGroup
	done.Go(func() {
		if err := serving.Serve(ctx); err != nil {
			t.Error(err)
		}
	})
	client, err := net.DialUDP("udp", nil, serving.UDPAddr().(*net.UDPAddr))
	check(t, err)
	t.Cleanup(func() {
		client.Close()
		cancel()
		done.Wait()
	})
	return userSpace{client}
}

// ask is the reply to a payload; only its first datagram.
func (u userSpace) ask(t testing.TB, payload []byte) []byte {
	t.Helper()
	check(t, u.SetDeadline(time.Now().Add(patience)))
	_, err := u.Write(payload)
	check(t, err)
	b := make([]byte, 2048)
	for {
		n, err := u.Read(b)
		if err != nil {
			t.Fatalf("user space does not answer %q: %v", payload, err)
		}
		if n >= 8 && bytes.Equal(b[:2], payload[:2]) {
			reply := b[:n:n]
			u.skip(t, int(reply[4])<<8|int(reply[5])-1)
			return reply
		}
	}
}

// skip reads the other datagrams of a reply.
func (u userSpace) skip(t testing.TB, datagrams int) {
	for range datagrams {
		if _, err := u.Read(make([]byte, 2048)); err != nil {
			t.Fatal(err)
		}
	}
}
