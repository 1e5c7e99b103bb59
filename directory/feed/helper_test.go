package feed

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"carillon/directory/location"
)

// patience bounds every wait of a test.
const patience = 15 * time.Second

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// startServer starts one server with JetStream in dir. It has no port.
func startServer(t testing.TB, dir string) *server.Server {
	t.Helper()
	return runServer(t, &server.Options{ServerName: "s1", DontListen: true, StoreDir: dir})
}

// runServer starts a server with what all of the tests' servers have in common.
func runServer(t testing.TB, o *server.Options) *server.Server {
	t.Helper()
	o.JetStream, o.NoSigs, o.NoLog, o.DisableJetStreamBanner = true, true, true, true
	o.JetStreamMaxStore, o.JetStreamMaxMemory = 1<<40, 64<<20
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { stopServer(s) })
	if !s.ReadyForConnections(patience) {
		t.Fatal("the NATS server did not start")
	}
	return s
}

func stopServer(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// wire is how a node reaches its server: in the process, and cut at will.
type wire struct {
	mu      sync.Mutex
	server  *server.Server
	current []net.Conn
	down    bool
}

// InProcessConn implements nats.InProcessConnProvider.
func (w *wire) InProcessConn() (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down {
		return nil, errors.New("the wire is cut")
	}
	c, err := w.server.InProcessConn()
	if err == nil {
		w.current = append(w.current, c)
	}
	return c, err
}

// cut closes the connection; with down, no new one can be made until set.
func (w *wire) cut(down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = down
	for _, c := range w.current {
		_ = c.Close()
	}
	w.current = nil
}

// set connects to a server from now on.
func (w *wire) set(s *server.Server) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.server, w.down = s, false
}

func (w *wire) connect(t testing.TB) *nats.Conn {
	t.Helper()
	c, err := nats.Connect("", nats.InProcessServer(w), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1),
		nats.CustomReconnectDelay(func(int) time.Duration { return 10 * time.Millisecond }),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // cuts are meant
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func openDirectory(t testing.TB, dir string) *location.Directory {
	t.Helper()
	d, err := location.Open(location.Config{Dir: dir, Logger: quiet(),
		Caches: location.Caches{Names: 8, AbsentNames: 8, IDs: 8, AbsentIDs: 8}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// member is one node with all that belongs to it.
type member struct {
	*Node
	wire  *wire
	stop  context.CancelFunc
	ended chan error // what Run returned
}

func configOf(c *nats.Conn, d *location.Directory) Config {
	return Config{Directory: d, Connection: c, Node: "n1", Replicas: 1, Logger: quiet(), Now: time.Now}
}

// start opens a node and runs it until the test ends.
func start(t testing.TB, w *wire, config Config) *member {
	t.Helper()
	n, err := Open(within(t), config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &member{Node: n, wire: w, stop: cancel, ended: make(chan error, 1)}
	go func() { m.ended <- n.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-n.ended })
	return m
}

// startSingle starts a server and one node.
func startSingle(t testing.TB) *member {
	t.Helper()
	w := &wire{server: startServer(t, t.TempDir())}
	return start(t, w, configOf(w.connect(t), openDirectory(t, t.TempDir())))
}

// end waits until Run returns, and returns what it returned.
func (m *member) end(t testing.TB) error {
	t.Helper()
	select {
	case err := <-m.ended:
		return err
	case <-within(t).Done():
		t.Fatal("Run did not return")
		return nil
	}
}

func (m *member) do(t testing.TB, c location.Change) location.Result {
	t.Helper()
	r, err := m.Propose(within(t), c)
	if err != nil {
		t.Fatal(err)
	}
	if r.Err != nil {
		t.Fatalf("%s was refused: %v", c.Op, r.Err)
	}
	return r
}

func createOf(name string, flags uint32) location.Change {
	return location.Change{Op: location.Create, Entry: location.Entry{Name: name, Flags: flags}}
}

// awaitLive waits until Status is live, or is not, and returns it.
func (m *member) awaitLive(t testing.TB, live bool) Status {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		s := m.Status()
		if s.Live == live {
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("Status is %+v, want live %t", s, live)
		}
		time.Sleep(5 * time.Millisecond) // polls what has no event
	}
}
