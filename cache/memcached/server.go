// Package memcached serves a cache to clients of memcached: connections of TCP and Unix sockets
// and datagrams of UDP come in, with the classic and the meta commands of the text protocol,
// and replies go out that are worded as memcached words them. A session turns the bytes of
// requests into the bytes of replies and knows no socket; connections and datagrams feed
// sessions. The command line and the server start it with a cache that they made.
//
// docs/cache.md says where it differs from memcached.
package memcached

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"carillon/cache"
	"carillon/pause"
)

// Compatible is the version of memcached whose words replies are in.
const Compatible = "1.6.18"

// Defaults of Config.
const (
	DefaultConnections = 1024
	DefaultBufferBytes = 64 << 20
)

// Config says where to listen and what clients may do.
type Config struct {
	TCP      string // address, like 127.0.0.1:11211; empty for none
	UDP      string
	Unix     string // path of a socket
	UnixMode fs.FileMode

	// Allow is the sources whose datagrams are answered; without any nobody's are, for
	// anybody could send requests in the name of somebody else, who gets the long replies.
	Allow []netip.Prefix

	Connections int           // at a time; the default is 1024
	IdleTimeout time.Duration // after which, to a second, a connection without a byte is closed; 0 for never

	// BufferBytes is what all connections together may hold for requests and replies above
	// their fixed buffers of 80 KiB: values that come slowly, clients that do not read. The
	// default is 64 MiB.
	BufferBytes int64

	Users   *Users // who must say so first; nil for everybody
	Version string // as the command version has it
	Logger  *slog.Logger

	// Kernel calls f with the counters of a program that answers datagrams before they
	// reach a socket, for stats; nil if there is none.
	Kernel func(f func(name string, value uint64))
}

// ErrConfig is wrapped by errors about a Config.
var ErrConfig = errors.New("memcached: bad configuration")

func (c *Config) check() error {
	switch {
	case c.TCP == "" && c.UDP == "" && c.Unix == "":
		return fmt.Errorf("%w: nowhere to listen", ErrConfig)
	case c.UDP != "" && c.Users != nil:
		return fmt.Errorf("%w: datagrams cannot be authenticated", ErrConfig)
	case c.UDP != "" && len(c.Allow) == 0:
		return fmt.Errorf("%w: datagrams, but from nobody: no source is allowed", ErrConfig)
	case c.Connections < 0 || c.BufferBytes < 0 || c.IdleTimeout < 0:
		return fmt.Errorf("%w: a negative bound", ErrConfig)
	}
	return nil
}

// Server serves one cache. Its fields are set by Listen; what changes later may be used by
// any goroutine.
type Server struct {
	config  Config
	cache   *cache.Cache
	started uint32 // Unix second

	tcp   *net.TCPListener
	local *net.UnixListener
	udp   []*net.UDPConn

	totals      totals
	latencies   latencies
	budget      budget
	connections connections
	replies     sync.Pool // of *[]byte with room for repliesBytes
}

// newServer is a server without sockets.
func newServer(c *cache.Cache, config Config) *Server {
	if config.Connections == 0 {
		config.Connections = DefaultConnections
	}
	if config.BufferBytes == 0 {
		config.BufferBytes = DefaultBufferBytes
	}
	s := &Server{config: config, cache: c, started: c.Now()}
	s.budget.give(int(config.BufferBytes))
	s.connections.init(config.Connections)
	s.replies.New = func() any {
		b := make([]byte, 0, repliesBytes)
		return &b
	}
	return s
}

// Listen opens the sockets. Nothing is answered before Serve.
func Listen(ctx context.Context, c *cache.Cache, config Config) (*Server, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	c.Tick(max(uint32(time.Now().Unix()), c.Now()))
	s := newServer(c, config)
	if err := s.listen(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) listen(ctx context.Context) error {
	var config net.ListenConfig
	if s.config.TCP != "" {
		listener, err := config.Listen(ctx, "tcp", s.config.TCP)
		if err != nil {
			return fmt.Errorf("listening for memcached clients by TCP: %w", err)
		}
		s.tcp = listener.(*net.TCPListener)
	}
	if s.config.Unix != "" {
		listener, err := listenLocal(ctx, s.config.Unix, s.config.UnixMode)
		if err != nil {
			return fmt.Errorf("listening for memcached clients at %s: %w", s.config.Unix, err)
		}
		s.local = listener
	}
	if s.config.UDP != "" {
		sockets, err := listenDatagrams(ctx, s.config.UDP)
		if err != nil {
			return fmt.Errorf("listening for memcached clients by UDP: %w", err)
		}
		s.udp = sockets
	}
	return nil
}

// listenLocal makes a Unix socket with the permissions asked for, in place of one that a
// process left that is gone.
func listenLocal(ctx context.Context, path string, mode fs.FileMode) (*net.UnixListener, error) {
	if info, err := os.Stat(path); err == nil && info.Mode()&fs.ModeSocket != 0 {
		conn, err := net.Dial("unix", path)
		if err == nil {
			_ = conn.Close()
			return nil, errors.New("a server listens there already")
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, mode); err != nil {
		_ = listener.Close()
		return nil, err
	}
	return listener.(*net.UnixListener), nil
}

// TCPAddr is the address bound for TCP, nil without.
func (s *Server) TCPAddr() net.Addr {
	if s.tcp == nil {
		return nil
	}
	return s.tcp.Addr()
}

// UDPAddr is the address bound for UDP, nil without.
func (s *Server) UDPAddr() net.Addr {
	if len(s.udp) == 0 {
		return nil
	}
	return s.udp[0].LocalAddr()
}

// portOf is the port of an address, 0 if there is none.
func portOf(address string) int {
	_, port, _ := net.SplitHostPort(address)
	n, _ := strconv.Atoi(port)
	return n
}

// Close closes the sockets of a server that is not going to serve. Serve closes them itself.
func (s *Server) Close() {
	if s.tcp != nil {
		_ = s.tcp.Close()
	}
	if s.local != nil {
		_ = s.local.Close()
	}
	for _, socket := range s.udp {
		_ = socket.Close()
	}
}

// Serve answers until ctx ends, and tells the cache the time. It returns when all
// connections are closed; an error means that a socket failed.
func (s *Server) Serve(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, func() {
		s.Close()
		s.connections.closeAll()
	})()
	defer s.Close()
	group.Go(func() error { return s.keepTime(ctx) })
	if s.tcp != nil {
		group.Go(func() error { return s.accept(ctx, s.tcp) })
	}
	if s.local != nil {
		group.Go(func() error { return s.accept(ctx, s.local) })
	}
	for _, socket := range s.udp {
		group.Go(func() error { return s.serveDatagrams(ctx, socket) })
	}
	return group.Wait()
}

// keepTime tells the cache the time, soon after each second begins.
func (s *Server) keepTime(ctx context.Context) error {
	for {
		now := time.Now()
		s.cache.Tick(max(uint32(now.Unix()), s.cache.Now()))
		if pause.For(ctx, now.Truncate(time.Second).Add(time.Second).Sub(now)) != nil {
			return nil
		}
	}
}

// Counters calls f with the name and the value of everything that is counted, as stats
// shows it.
func (s *Server) Counters(f func(name string, value uint64)) {
	connections := s.connections.counters()
	f("total_connections", connections.accepted)
	f("rejected_connections", connections.rejected)
	f("idle_kicks", connections.idle)
	for e := range events {
		f(eventNames[e], s.totals[e].Load())
	}
}

// Connections is how many are open.
func (s *Server) Connections() int { return s.connections.counters().open }
