package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"carillon/cache"
	"carillon/cache/client"
	"carillon/cache/memcached"
)

// serve runs a cache on loopback until the test ends; it listens by TCP and UDP on one port.
func serve(t *testing.T, users string) (address string) {
	t.Helper()
	c, err := cache.New(make([]uint64, 16<<20/8), cache.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	config := memcached.Config{
		TCP: "127.0.0.1:0", UDP: "127.0.0.1:0", Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Logger: slog.New(slog.DiscardHandler),
	}
	if users != "" {
		config.UDP = ""
		if config.Users, err = memcached.ReadUsers(strings.NewReader(users)); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 { // until a port is free for both
		s, err := memcached.Listen(t.Context(), c, config)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- s.Serve(ctx) }()
		address = s.TCPAddr().String()
		if config.UDP == "" || s.UDPAddr().String() == address {
			t.Cleanup(func() {
				cancel()
				<-done
			})
			return address
		}
		cancel()
		<-done
		if address = freePort(t); address != "" {
			config.TCP, config.UDP = address, address
		}
	}
	t.Fatal("no port")
	return ""
}

// freePort is an address that is free for TCP and UDP, or was a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", tcp.Addr().String())
	if err != nil {
		return ""
	}
	_ = udp.Close()
	return tcp.Addr().String()
}

func newClient(t *testing.T, config client.Config, addresses ...string) *client.Client {
	t.Helper()
	c, err := client.New(addresses, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestClient(t *testing.T) {
	servers := []string{serve(t, ""), serve(t, ""), serve(t, "")}
	for _, udp := range []bool{false, true} {
		t.Run(fmt.Sprintf("udp=%v", udp), func(t *testing.T) {
			conformance(t, newClient(t, client.Config{UDP: udp, ReplyWithin: time.Second}, servers...))
		})
	}
}

// conformance is what a client of servers that begin empty does.
func conformance(t *testing.T, c *client.Client) {
	ctx := t.Context()
	want := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	_, err := c.Get(ctx, "none")
	want("get", err, client.ErrMiss)
	long := strings.Repeat("a long value ", 10_000)
	want("set", c.Store(ctx, client.Set, client.Item{Key: "a", Value: []byte(long), Flags: 7}, time.Hour), nil)
	item, err := c.Get(ctx, "a")
	want("get", err, nil)
	if string(item.Value) != long || item.Flags != 7 || item.Key != "a" {
		t.Errorf("got %d bytes, flags %d", len(item.Value), item.Flags)
	}
	want("add", c.Store(ctx, client.Add, client.Item{Key: "a"}, 0), client.ErrNotStored)
	want("replace", c.Store(ctx, client.Replace, client.Item{Key: "none"}, 0), client.ErrNotStored)
	many, err := c.GetMany(ctx, []string{"a", "none"})
	want("get many", err, nil)
	if len(many) != 1 {
		t.Errorf("%v", many)
	}
	next := many["a"]
	next.Value = []byte("new")
	want("cas", c.Store(ctx, client.CompareAndSet, next, 0), nil)
	want("cas again", c.Store(ctx, client.CompareAndSet, next, 0), client.ErrChanged)
	want("touch", c.Touch(ctx, "a", time.Minute), nil)
	want("touch", c.Touch(ctx, "none", time.Minute), client.ErrMiss)
	want("set", c.Store(ctx, client.Set, client.Item{Key: "n", Value: []byte("40")}, 0), nil)
	if n, err := c.Count(ctx, "n", 2); n != 42 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := c.Count(ctx, "n", -50); n != 0 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	var refused *client.ServerError
	if _, err := c.Count(ctx, "a", 1); !errors.As(err, &refused) {
		t.Errorf("counting words: %v", err)
	}
	want("delete", c.Delete(ctx, "a"), nil)
	want("delete", c.Delete(ctx, "a"), client.ErrMiss)
	for _, key := range []string{"", "a b", "a\r\nb", "\x00", strings.Repeat("k", 251)} {
		_, err := c.Get(ctx, key)
		want(fmt.Sprintf("%q", key), err, client.ErrKey)
	}
	wholeCaches(t, c)
}

// wholeCaches is what is about all servers.
func wholeCaches(t *testing.T, c *client.Client) {
	ctx := t.Context()
	keys := make(map[string]bool)
	for i := range 300 {
		key := fmt.Sprintf("group:%d", i)
		keys[key] = true
		if err := c.Store(ctx, client.Set, client.Item{Key: key, Value: []byte("x")}, 0); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := c.GetMany(ctx, slices.Collect(maps.Keys(keys))); err != nil || len(all) != len(keys) {
		t.Errorf("%d items, %v", len(all), err)
	}
	servers := make(map[string]int)
	if err := c.Dump(ctx, func(e client.Entry) error {
		servers[e.Server]++
		delete(keys, e.Key)
		return nil
	}); err != nil || len(keys) != 0 {
		t.Errorf("dump left out %d: %v", len(keys), err)
	}
	if len(servers) != len(c.Servers()) {
		t.Errorf("all is on %v", servers)
	}
	if stats, err := c.Stats(ctx, c.Servers()[0], ""); err != nil || len(stats) < 20 {
		t.Errorf("%v, %v", stats, err)
	}
	if _, err := c.Hot(ctx); err != nil {
		t.Error(err)
	}
	if n, err := c.DeletePrefix(ctx, "group:"); n != 300 || err != nil {
		t.Errorf("deleted %d, %v", n, err)
	}
	if err := c.Flush(ctx); err != nil {
		t.Error(err)
	}
	if _, err := c.Get(ctx, "n"); !errors.Is(err, client.ErrMiss) {
		t.Errorf("after the flush: %v", err)
	}
}

func TestAuthentication(t *testing.T) {
	server := serve(t, "ann:secret\n")
	c := newClient(t, client.Config{User: "ann", Password: "secret"}, server)
	if err := c.Store(t.Context(), client.Set, client.Item{Key: "a"}, 0); err != nil {
		t.Error(err)
	}
	for _, config := range []client.Config{{}, {User: "ann", Password: "wrong"}} {
		var refused *client.ServerError
		if _, err := newClient(t, config, server).Get(t.Context(), "a"); !errors.As(err, &refused) {
			t.Errorf("%v", err)
		}
	}
}

// TestServerComesBack finds that its connection is dead, and makes another one.
func TestServerComesBack(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() { // one reply a connection
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			room := make([]byte, 100)
			_, _ = conn.Read(room)
			_, _ = io.WriteString(conn, "END\r\n")
			_ = conn.Close()
		}
	}()
	c := newClient(t, client.Config{}, listener.Addr().String())
	for range 3 {
		if _, err := c.Get(t.Context(), "a"); !errors.Is(err, client.ErrMiss) {
			t.Errorf("%v", err)
		}
	}
}

// TestLostDatagrams talks to a server that answers only some requests, late, twice, in
// disorder, and with what belongs to nobody.
func TestLostDatagrams(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	requests := make(chan string, 100)
	go func() {
		room := make([]byte, 1000)
		for n := 0; ; n++ {
			size, from, err := conn.ReadFrom(room)
			if err != nil {
				return
			}
			requests <- string(room[8:size])
			id := string(room[:2])
			send := func(text string) { _, _ = conn.WriteTo([]byte(text), from) }
			if !strings.Contains(string(room[:size]), "lost") && n > 0 {
				send("x")
				send("\xfe\xfe\x00\x00\x00\x01\x00\x00END\r\n")
				send(id + "\x00\x05\x00\x02\x00\x00END\r\n")
				send(id + "\x00\x01\x00\x02\x00\x00e\r\nEND\r\n")
				send(id + "\x00\x01\x00\x02\x00\x00e\r\nEND\r\n")
				send(id + "\x00\x00\x00\x02\x00\x00VALUE found 5 5\r\nvalu")
			}
		}
	}()
	c := newClient(t, client.Config{UDP: true, ReplyWithin: 100 * time.Millisecond, Retries: 3}, conn.LocalAddr().String())
	item, err := c.Get(t.Context(), "found")
	if err != nil || string(item.Value) != "value" || item.Flags != 5 {
		t.Errorf("%+v, %v", item, err)
	}
	if _, err := c.Get(t.Context(), "lost"); !errors.Is(err, client.ErrMiss) {
		t.Errorf("no reply at all: %v", err)
	}
	if n := c.Counters(); n.Answered != 1 || n.Lost != 1 || n.Retried < 4 {
		t.Errorf("%+v", n)
	}
	if got := <-requests; got != "get found\r\n" {
		t.Errorf("%q", got)
	}
	nobody := newClient(t, client.Config{UDP: true, ReplyWithin: 10 * time.Millisecond}, freePort(t))
	if _, err := nobody.Get(t.Context(), "a"); !errors.Is(err, client.ErrMiss) {
		t.Errorf("nobody listens: %v", err)
	}
}

// TestServerMoreMovesFewKeys adds a server to nine.
func TestServerMoreMovesFewKeys(t *testing.T) {
	var addresses []string
	for i := range 10 {
		addresses = append(addresses, fmt.Sprintf("cache%d:11211", i))
	}
	nine, ten := newClient(t, client.Config{}, addresses[:9]...), newClient(t, client.Config{}, addresses...)
	const keys = 20_000
	counts, moved := make(map[string]int), 0
	for i := range keys {
		key := fmt.Sprintf("key:%d", i)
		before, after := nine.ServerOf(key), ten.ServerOf(key)
		counts[after]++
		if before != after {
			moved++
			if after != addresses[9] {
				t.Fatalf("%s moved from %s to %s", key, before, after)
			}
		}
	}
	if moved < keys/12 || moved > keys/8 {
		t.Errorf("%d of %d keys moved", moved, keys)
	}
	for server, n := range counts {
		if n < keys/12 || n > keys/8 {
			t.Errorf("%s has %d of %d keys", server, n, keys)
		}
	}
}

func TestBadAddresses(t *testing.T) {
	for _, addresses := range [][]string{nil, {"nowhere"}} {
		if _, err := client.New(addresses, client.Config{}); err == nil {
			t.Errorf("%q was taken", addresses)
		}
	}
	if _, err := client.New([]string{"/run/x"}, client.Config{UDP: true}); err == nil {
		t.Error("datagrams to a Unix socket")
	}
}
