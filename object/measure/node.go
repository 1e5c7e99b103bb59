package measure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"carillon/object/backend"
	"carillon/object/clock"
	"carillon/object/node"
	"carillon/object/pack"
	"carillon/object/replica"
	"carillon/timerslack"
)

// nodeConfig is what a process that is a node of a measured cluster is told, as JSON.
type nodeConfig struct {
	JetStream bool // a NATS server with JetStream instead of a node of this build
	Name      string
	Dir       string
	Listen    string
	Routes    map[string]string // addresses of all nodes by name, for each other
	Sync      string
}

const stopWithin = 5 * time.Second

// ServeNode is a node until the context ends. A run starts such processes; the text is from it.
func ServeNode(ctx context.Context, text string, logger *slog.Logger) error {
	var c nodeConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return fmt.Errorf("node of a measured cluster: %w", err)
	}
	if c.JetStream {
		return c.serveJetStream(ctx)
	}
	timerslack.Widen() // as carillon object serve does
	return c.serveObjects(ctx, logger)
}

func (c *nodeConfig) serveObjects(ctx context.Context, logger *slog.Logger) (err error) {
	policy, err := backend.ParseSync(c.Sync)
	if err != nil {
		return err
	}
	store, err := pack.Open(pack.Config{Dir: c.Dir, Sync: policy, Logger: logger})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	here := map[string]replica.Node{}
	peers := node.NewPeers(node.Dial{}, here)
	defer peers.Close()
	if err := peers.Set(c.Routes); err != nil {
		return err
	}
	member, err := replica.NewMember(replica.MemberConfig{
		Name: c.Name, Store: store, Epochs: node.Epochs{Dir: c.Dir}, Clock: newClock(), Peers: peers.Node,
	})
	if err != nil {
		return err
	}
	defer member.Close()
	here[c.Name] = member
	if err := member.Admit(1); err != nil {
		return err
	}
	coordinator, err := coordinate(c.Routes, peers.Node)
	if err != nil {
		return err
	}
	defer coordinator.Close()
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return err
	}
	handler := node.NewServer(node.Config{Local: member, Cluster: func() *replica.Coordinator { return coordinator }, Admit: member.Admit, Spool: os.TempDir(), Logger: logger})
	return handler.Serve(ctx, listener, stopWithin)
}

func newClock() *clock.Clock { return clock.New(rand.Uint64(), time.Now, 0) }

// coordinate makes a coordinator of up to three copies, most of which acknowledge.
func coordinate(routes map[string]string, nodeOf func(string) (replica.Node, error)) (*replica.Coordinator, error) {
	var names []string
	for name := range routes {
		names = append(names, name)
	}
	slices.Sort(names)
	places, err := mapOf("sha256,sha512,blake3", names)
	if err != nil {
		return nil, err
	}
	return replica.New(replica.Config{Node: nodeOf, Clock: newClock()}, replica.View{Epoch: 1, Now: places})
}

func (c *nodeConfig) serveJetStream(ctx context.Context) error {
	host, port, err := hostPort(c.Listen)
	if err != nil {
		return err
	}
	route, err := url.Parse(c.Routes[c.Name])
	if err != nil {
		return err
	}
	routeHost, routePort, err := hostPort(route.Host)
	if err != nil {
		return err
	}
	options := &server.Options{
		ServerName: c.Name, Host: host, Port: port, JetStream: true, StoreDir: filepath.Join(c.Dir, "jetstream"), SyncAlways: true,
		NoSigs: true, NoLog: true, DisableJetStreamBanner: true, JetStreamMaxStore: 1 << 40,
		Cluster: server.ClusterOpts{Name: "measured", Host: routeHost, Port: routePort},
	}
	for _, address := range c.Routes {
		other, err := url.Parse(address)
		if err != nil {
			return err
		}
		options.Routes = append(options.Routes, other)
	}
	s, err := server.NewServer(options)
	if err != nil {
		return err
	}
	s.Start()
	<-ctx.Done()
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}

func hostPort(address string) (string, int, error) {
	a, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return "", 0, err
	}
	return a.IP.String(), a.Port, nil
}
