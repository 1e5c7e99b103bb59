// Package server runs a node of an object cluster: it opens a store, joins NATS, and serves by HTTP until it is
// told to end. In come settings; out goes a node that other nodes, programs and the verbs of cmd/carillon
// talk to. cmd/carillon calls it.
package server

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"carillon/object"
	"carillon/object/clock"
	"carillon/object/location"
	"carillon/object/membership"
	"carillon/object/node"
	"carillon/object/replica"
)

const (
	objectsName = "objects" // folder in the data directory: the store, the epoch, the last state heard of
	natsName    = "nats"
	spoolName   = "spool"
	stateName   = "STATE"

	endLasts = 10 * time.Second // for requests that were begun when the node is told to end
)

// Config is what a node is made of.
type Config struct {
	Node      membership.Node // its address may be empty: that which it listens at
	Data      string          // folder
	Store     string          // URL of the store, see object/location; empty for pack in Data
	Listen    string          // HOST:PORT
	NATS      string          // URLs of NATS elsewhere; empty for Embedded
	Embedded  membership.Embedded
	Replicas  int  // copies of the cluster's state in NATS
	New       bool // begin a cluster of this node alone if there is none
	First     membership.State
	Token     string
	TLS       *tls.Config   // nil for plain HTTP
	PeerTLS   *tls.Config   // for other nodes whose addresses are https
	Timeout   time.Duration // of one request to one node
	Grace     time.Duration // for which marks of deletes are kept
	ClockSkew time.Duration
	Logger    *slog.Logger
	Ready     func(address string) // called once requests are answered
}

// running is a node that runs.
type running struct {
	config   Config
	store    object.Store
	nats     *natsserver.Server // nil if elsewhere
	conn     *nats.Conn
	registry atomic.Pointer[membership.Registry] // nil until NATS answers
	member   *replica.Member
	peers    *node.Peers
	cluster  atomic.Pointer[replica.Coordinator] // nil until there is a state
	known    atomic.Pointer[membership.State]
	dir      string // of objects
	listener net.Listener
}

// Run serves until ctx ends.
func Run(ctx context.Context, c Config) (err error) {
	r := &running{config: c, dir: filepath.Join(c.Data, objectsName)}
	r.known.Store(new(membership.State))
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.open(ctx); err != nil {
		return err
	}
	return r.serve(ctx)
}

// open opens everything in the order in which requests go through it, from behind.
func (r *running) open(ctx context.Context) (err error) {
	c := &r.config
	for _, name := range []string{objectsName, natsName, spoolName} {
		if err := os.MkdirAll(filepath.Join(c.Data, name), 0o750); err != nil {
			return err
		}
	}
	if c.Store == "" {
		dir, err := filepath.Abs(filepath.Join(r.dir, "pack"))
		if err != nil {
			return err
		}
		c.Store = "pack://" + dir + "?keep=3"
	}
	if r.store, err = location.Open(ctx, c.Store, c.Logger); err != nil {
		return err
	}
	if r.listener, err = net.Listen("tcp", c.Listen); err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	scheme := "http://"
	if c.TLS != nil {
		scheme = "https://"
		r.listener = tls.NewListener(r.listener, c.TLS)
	}
	if c.Node.Address == "" {
		c.Node.Address = scheme + r.listener.Addr().String()
	}
	here := make(map[string]replica.Node)
	r.peers = node.NewPeers(node.Dial{Token: c.Token, TLS: c.PeerTLS}, here)
	r.member, err = replica.NewMember(replica.MemberConfig{
		Name: c.Node.Name, Store: r.store, Epochs: node.Epochs{Dir: r.dir}, Clock: r.clock(), Peers: r.peers.Node, Timeout: c.Timeout,
	})
	if err != nil {
		return err
	}
	here[c.Node.Name] = r.member
	if err := r.recall(); err != nil {
		return err
	}
	if c.NATS != "" {
		r.conn, err = membership.Connect(c.NATS, c.Node.Name)
		return err
	}
	c.Embedded.Name, c.Embedded.Dir = c.Node.Name, filepath.Join(c.Data, natsName)
	r.nats, r.conn, err = c.Embedded.Start(c.Logger)
	return err
}

func (r *running) clock() *clock.Clock {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return clock.New(binary.LittleEndian.Uint64(b[:]), time.Now, r.config.ClockSkew)
}

// close closes what is open, in reverse.
func (r *running) close() error {
	if r.conn != nil {
		r.conn.Close()
	}
	if r.nats != nil {
		r.nats.Shutdown()
		r.nats.WaitForShutdown()
	}
	if c := r.cluster.Load(); c != nil {
		c.Close()
	}
	if r.member != nil {
		r.member.Close()
	}
	if r.peers != nil {
		r.peers.Close()
	}
	if r.listener != nil {
		_ = r.listener.Close() // the HTTP server has closed it
	}
	if r.store == nil {
		return nil
	}
	return r.store.Close()
}

func (r *running) serve(ctx context.Context) error {
	c := &r.config
	group, ctx := errgroup.WithContext(ctx)
	api := &cluster{running: r}
	handler := node.NewServer(node.Config{
		Local: r.member, Cluster: r.cluster.Load, Admit: r.member.Admit, Token: c.Token,
		Spool: filepath.Join(c.Data, spoolName), Other: api, Logger: c.Logger,
	})
	group.Go(func() error { return handler.Serve(ctx, r.listener, endLasts) })
	group.Go(func() error { return ended(ctx, r.follow(ctx)) })
	return group.Wait()
}

// ended is nil for what ended because it was told to.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// follow takes part in the cluster. Without NATS the node goes on with the last state it heard of.
func (r *running) follow(ctx context.Context) error {
	c := &r.config
	ready := func() { c.Ready(c.Node.Address) }
	if r.cluster.Load() != nil {
		ready()
		ready = func() {}
	}
	registry, err := membership.Open(ctx, r.conn, c.Replicas, c.Logger)
	if err != nil {
		return err
	}
	if c.New {
		if err := r.begin(ctx, registry); err != nil {
			return err
		}
	}
	r.registry.Store(registry)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return registry.Register(ctx, c.Node) })
	group.Go(func() error { return registry.Watch(ctx, r.adopt) })
	ready()
	return group.Wait()
}

// begin begins a cluster if there is none, of this node alone.
func (r *running) begin(ctx context.Context, registry *membership.Registry) error {
	now, err := registry.Load(ctx)
	if err != nil || now.Epoch > 0 {
		return err
	}
	if epoch := r.member.Epoch(); epoch > 0 {
		return fmt.Errorf("NATS knows no cluster, but this node was in one, at epoch %d: is it the right NATS?", epoch)
	}
	first := r.config.First
	first.Epoch, first.Nodes = 1, []membership.Node{r.config.Node}
	if err := registry.Change(ctx, first); err != nil {
		return err
	}
	if err := r.member.Admit(1); err != nil {
		return err
	}
	r.adopt(first)
	return nil
}

// adopt works by a state from now on, and remembers it.
func (r *running) adopt(s membership.State) {
	if s.Epoch <= r.known.Load().Epoch {
		return
	}
	if err := r.work(s); err != nil {
		r.config.Logger.Error("a state of the cluster cannot be worked by", "epoch", s.Epoch, "error", err)
		return
	}
	text, err := json.Marshal(s)
	if err == nil {
		err = node.WriteDurably(filepath.Join(r.dir, stateName), text)
	}
	if err != nil {
		r.config.Logger.Error("the state of the cluster is not saved", "epoch", s.Epoch, "error", err)
	}
	r.config.Logger.Info("cluster", "epoch", s.Epoch, "nodes", len(s.Nodes), "moving", s.Moving())
}

// work makes or changes the coordinator. One goroutine at a time calls it.
func (r *running) work(s membership.State) error {
	if err := r.peers.Set(s.Addresses()); err != nil {
		return err
	}
	view, err := s.View()
	if err != nil {
		return err
	}
	if now := r.cluster.Load(); now != nil {
		err = now.SetView(view)
	} else if now, err = replica.New(replica.Config{
		Node: r.peers.Node, Clock: r.clock(), Need: s.Need, Timeout: r.config.Timeout, Grace: r.config.Grace, Log: r.config.Logger,
	}, view); err == nil {
		r.cluster.Store(now)
	}
	if err == nil {
		r.known.Store(&s)
	}
	return err
}

// recall works by the state that was heard of last.
func (r *running) recall() error {
	path := filepath.Join(r.dir, stateName)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && r.member.Epoch() == 0 {
		return nil
	}
	var s membership.State
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err == nil {
		err = r.work(s)
	}
	if err != nil {
		r.config.Logger.Warn("the state of the cluster, as it was last, cannot be read", "path", path, "error", err)
	}
	return nil
}

// cluster answers about the cluster.
type cluster struct{ *running }

func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	registry := c.registry.Load()
	if registry == nil {
		if r.Method == http.MethodGet && r.URL.Path == membership.Root {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(membership.Status{Node: c.config.Node.Name, State: *c.known.Load(), Unreachable: "NATS has not answered yet"})
			return
		}
		http.Error(w, `{"error":"NATS has not answered yet"}`, http.StatusServiceUnavailable)
		return
	}
	api := &membership.API{Node: c.config.Node.Name, Registry: registry, Known: func() membership.State { return *c.known.Load() }}
	api.ServeHTTP(w, r)
}
