package membership

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"carillon/pause"
)

func nodes(names ...string) []Node {
	var all []Node
	for _, n := range names {
		all = append(all, Node{Name: n, Address: "http://" + n + ":9490", Weight: 1})
	}
	return all
}

func first(t *testing.T, names ...string) State {
	t.Helper()
	s, err := First("sha256,blake3", 0, nodes(names...)...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestChanges(t *testing.T) {
	s := first(t, "a", "b")
	joined, err := s.Join(false, nodes("c")...)
	if err != nil || joined.Epoch != 2 || !joined.Moving() || !joined.Has("c") || len(joined.Before) != 2 {
		t.Fatalf("%+v, %v", joined, err)
	}
	if n := joined.Newcomers(); len(n) != 1 || n[0].Name != "c" {
		t.Errorf("newcomers %+v", n)
	}
	if _, err := joined.Leave(false, "a"); !errors.Is(err, ErrMoving) {
		t.Errorf("a change while objects move: %v", err)
	}
	settled := joined.Settle()
	if settled.Epoch != 3 || settled.Moving() || len(settled.Newcomers()) != 0 {
		t.Errorf("%+v", settled)
	}
	replaced, err := settled.Join(true, nodes("b")...)
	if err != nil || fmt.Sprint(replaced.Lost) != "[b]" || replaced.Newcomers()[0].Name != "b" {
		t.Errorf("%+v, %v", replaced, err)
	}
	left, err := settled.Leave(true, "a")
	if err != nil || left.Has("a") || fmt.Sprint(left.Lost) != "[a]" || len(left.Newcomers()) != 0 {
		t.Errorf("%+v, %v", left, err)
	}
	if settled.Has("a") != true || len(settled.Nodes) != 3 {
		t.Errorf("a change changed what it was made of: %+v", settled)
	}
	for name, bad := range map[string]func() error{
		"a member joins":       func() error { _, err := s.Join(false, nodes("a")...); return err },
		"a stranger replaced":  func() error { _, err := s.Join(true, nodes("x")...); return err },
		"a stranger leaves":    func() error { _, err := s.Leave(false, "x"); return err },
		"all leave":            func() error { _, err := s.Leave(false, "a", "b"); return err },
		"a bad name":           func() error { _, err := s.Join(false, nodes("a,b")...); return err },
		"no weight":            func() error { _, err := s.Join(false, Node{Name: "c"}); return err },
		"a bad transformation": func() error { _, err := First("md5", 0, nodes("a")...); return err },
		"more acks than copies": func() error {
			_, err := First("sha256", 2, nodes("a")...)
			return err
		},
	} {
		if bad() == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestEmbeddedServersMeet: the state outlives any one of three embedded servers, and is changed by one at a time.
func TestEmbeddedServersMeet(t *testing.T) {
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	routes := []string{freeAddress(t), freeAddress(t), freeAddress(t)}
	type started struct {
		server   *server.Server
		registry *Registry
		err      error
	}
	all := make(chan started, len(routes))
	for i, address := range routes {
		e := Embedded{Name: fmt.Sprintf("n%d", i), Dir: t.TempDir(), Cluster: address, Routes: routes}
		go func() {
			s, conn, err := e.Start(quiet)
			if err != nil {
				all <- started{err: err}
				return
			}
			t.Cleanup(func() { conn.Close(); s.Shutdown(); s.WaitForShutdown() })
			registry, err := Open(t.Context(), conn, len(routes), quiet)
			all <- started{s, registry, err}
		}()
	}
	var registries []*Registry
	var servers []*server.Server
	for range routes {
		s := <-all
		if s.err != nil {
			t.Fatal(s.err)
		}
		registries, servers = append(registries, s.registry), append(servers, s.server)
	}
	begin := first(t, "a", "b", "c")
	if err := registries[0].Change(t.Context(), begin); err != nil {
		t.Fatal(err)
	}
	if err := registries[1].Change(t.Context(), begin); !errors.Is(err, ErrChanged) {
		t.Errorf("a cluster begun twice: %v", err)
	}
	heard := make(chan State, 8)
	go func() { _ = registries[2].Watch(t.Context(), func(s State) { heard <- s }) }()
	if s := <-heard; s.Epoch != 1 {
		t.Errorf("heard of %+v", s)
	}
	servers[0].Shutdown()
	servers[0].WaitForShutdown()
	next, err := begin.Join(false, nodes("d")...)
	if err != nil {
		t.Fatal(err)
	}
	for registries[1].Change(t.Context(), next) != nil { // until another server leads
		if err := pause.For(t.Context(), retryAfter); err != nil {
			t.Fatal(err)
		}
		if s, err := registries[1].Load(t.Context()); err == nil && s.Epoch == next.Epoch {
			break // it was made, and the answer lost
		}
	}
	if s := <-heard; s.Epoch != 2 || !s.Has("d") {
		t.Errorf("heard of %+v", s)
	}
}
