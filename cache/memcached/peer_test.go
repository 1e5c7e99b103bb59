package memcached

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"carillon/cache"
	"carillon/require"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

func newCache(t testing.TB, bytes int, config cache.Config) *cache.Cache {
	t.Helper()
	c := openCache(t, bytes, config)
	t.Cleanup(c.Close)
	return c
}

func openCache(t testing.TB, bytes int, config cache.Config) *cache.Cache {
	t.Helper()
	c, err := cache.New(make([]uint64, bytes/8), config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// start runs a server of ours on loopback until the test ends.
func start(t testing.TB, c *cache.Cache, config Config) *Server {
	t.Helper()
	if config.TCP == "" && config.Unix == "" {
		config.TCP = "127.0.0.1:0"
	}
	config.Allow, config.Logger = loopback, slog.New(slog.DiscardHandler)
	if config.Version == "" {
		config.Version = "1.6.18"
	}
	s, err := Listen(t.Context(), c, config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

// startPeer runs memcached on loopback until the test ends. It listens by TCP and UDP.
// With its thread that maintains the LRU, which holds items for a moment, it would count some
// numbers in a fresh item instead of in place, and their spaces would come and go.
func startPeer(t testing.TB, args ...string) (address string, pid int) {
	t.Helper()
	path, err := exec.LookPath("memcached")
	require.Feature(t, "memcached", err == nil, "not installed")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = listener.Addr().String()
	_ = listener.Close()
	port := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	var log bytes.Buffer
	cmd := exec.Command(path, append([]string{"-u", "nobody", "-l", "127.0.0.1", "-p", port, "-U", port, "-o", "no_lru_maintainer"}, args...)...)
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	deadline := time.After(10 * time.Second)
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			return address, cmd.Process.Pid
		}
		select {
		case <-deadline:
			t.Fatalf("memcached does not answer: %s", log.String())
		case <-tick.C:
		}
	}
}

// ask sends bytes on a connection of its own and returns all that comes back.
func ask(t testing.TB, address, request string) string {
	t.Helper()
	network := "tcp"
	if strings.HasPrefix(address, "/") {
		network = "unix"
	}
	conn, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.WriteString(conn, request) // the other side may have had enough
		_ = conn.(interface{ CloseWrite() error }).CloseWrite()
	}()
	reply, err := io.ReadAll(conn)
	<-sent
	if err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("%.60q: %v", request, err)
	}
	return string(reply)
}
