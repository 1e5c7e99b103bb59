package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"carillon/object"
	"carillon/object/backend"
	"carillon/object/clock"
	"carillon/object/conformance"
	"carillon/object/pack"
	"carillon/object/placement"
	"carillon/object/replica"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// place is a node on loopback.
type place struct {
	name, url, dir string
	spool          string
	store          *pack.Store
	member         *replica.Member
	peers          *Peers
	cluster        *replica.Coordinator
	server         *Server
	listener       net.Listener
}

var clockNumbers atomic.Uint64

func newClock() *clock.Clock { return clock.New(clockNumbers.Add(1), time.Now, 0) }

// options of the places of a test.
type options struct {
	dir     string // of the store; empty for a new one
	token   string
	stall   time.Duration
	server  bool // server-side copies by default
	listen  func(net.Listener) net.Listener
	connect func(ctx context.Context, network, address string) (net.Conn, error)
}

// startPlaces makes nodes that know each other, of the names given.
func startPlaces(t testing.TB, o options, names ...string) []*place {
	t.Helper()
	places := make([]*place, len(names))
	addresses := make(map[string]string)
	for i, name := range names {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if o.listen != nil {
			listener = o.listen(listener)
		}
		places[i] = &place{name: name, url: "http://" + listener.Addr().String(), listener: listener}
		addresses[name] = places[i].url
	}
	for _, p := range places {
		p.start(t, o, addresses, viewOf(t, names))
	}
	return places
}

func viewOf(t testing.TB, names []string) replica.View {
	transformations, err := placement.ParseTransformations("sha256,blake3,sha512")
	if err != nil {
		t.Fatal(err)
	}
	var nodes []placement.Node
	for _, n := range names {
		nodes = append(nodes, placement.Node{Name: n, Weight: 1})
	}
	m, err := placement.NewMap(transformations, nodes)
	if err != nil {
		t.Fatal(err)
	}
	return replica.View{Epoch: 1, Now: m}
}

func (p *place) start(t testing.TB, o options, addresses map[string]string, view replica.View) {
	t.Helper()
	dir := o.dir
	if dir == "" {
		dir = t.TempDir()
	}
	var err error
	p.store, err = pack.Open(pack.Config{Dir: dir, Keep: conformance.Keep, Sync: backend.SyncNone, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	p.dir, p.spool = dir, t.TempDir()
	here := make(map[string]replica.Node)
	p.peers = NewPeers(Dial{Token: o.token, Connect: o.connect}, here)
	if err := p.peers.Set(addresses); err != nil {
		t.Fatal(err)
	}
	p.member, err = replica.NewMember(replica.MemberConfig{
		Name: p.name, Store: p.store, Epochs: Epochs{dir}, Clock: newClock(), Peers: p.peers.Node,
	})
	if err != nil {
		t.Fatal(err)
	}
	here[p.name] = p.member
	if err := p.member.Admit(1); err != nil {
		t.Fatal(err)
	}
	p.cluster, err = replica.New(replica.Config{Node: p.peers.Node, Clock: newClock(), ServerCopies: o.server}, view)
	if err != nil {
		t.Fatal(err)
	}
	p.server = NewServer(Config{
		Local: p.member, Cluster: func() *replica.Coordinator { return p.cluster }, Admit: p.member.Admit, Token: o.token, Stall: o.stall,
		Spool: p.spool, Logger: quiet(),
	})
	server := NewHTTPServer(p.server, quiet())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(p.listener) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		p.cluster.Close()
		p.member.Close()
		p.peers.Close()
		if err := p.store.Close(); err != nil && !errors.Is(err, object.ErrClosed) {
			t.Error(err)
		}
	})
}

// client of a place.
func (p *place) client(t testing.TB, d Dial) *Client {
	t.Helper()
	c, err := NewClient(p.url, d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// overHTTP is a node at the other end of a connection, as an object.Store.
type overHTTP struct {
	*Client
	place *place
}

var _ object.Store = (*overHTTP)(nil)

func (s *overHTTP) Put(ctx context.Context, name string, body io.Reader, o object.Put) (object.Info, error) {
	if o.Version.IsZero() {
		return object.Info{}, object.ErrVersion
	}
	receipt, err := s.Client.Put(ctx, name, body, replica.Write{Epoch: 1, Version: o.Version, Size: o.Size, Sum: o.Sum, If: o.If, Repair: o.Repair, Copy: true})
	return receipt.Info, err
}

func (s *overHTTP) Delete(ctx context.Context, name string, o object.Delete) (object.Info, error) {
	receipt, err := s.Client.Delete(ctx, name, replica.Write{Epoch: 1, Version: o.Version, If: o.If, Copy: true})
	return receipt.Info, err
}

func (s *overHTTP) Stat(ctx context.Context, name string) (object.Info, error) {
	info, err := s.Client.Stat(ctx, name, 1)
	if err == nil && (info.Deleted || info.Version.IsZero()) {
		err = fmt.Errorf("%q: %w", name, object.ErrNotFound)
	}
	return info, err
}

func (s *overHTTP) Drop(ctx context.Context, name string, v object.Version) error {
	return s.Client.Drop(ctx, name, v, 1)
}

func (s *overHTTP) Forget(ctx context.Context, before object.Version) (int, error) {
	return s.Client.Forget(ctx, before, 1)
}

func (s *overHTTP) Close() error { return s.place.store.Close() }
