package membership

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const startFor = 30 * time.Second

// Embedded says how a NATS server inside of this process is reached.
type Embedded struct {
	Name   string // of the node
	Dir    string // of its files
	Listen string // HOST:PORT for nodes that have none of their own; empty for none
	// Cluster is HOST:PORT where other embedded servers reach this one, and Routes are theirs: with three or
	// more, the state outlives any one of them.
	Cluster string
	Routes  []string
}

// Start starts the server and connects to it. Close the connection, then Shutdown the server.
func (e Embedded) Start(logger *slog.Logger) (*server.Server, *nats.Conn, error) {
	o := &server.Options{
		ServerName: e.Name, DontListen: e.Listen == "" && e.Cluster == "",
		JetStream: true, StoreDir: e.Dir, SyncAlways: true, NoSigs: true, NoLog: true, DisableJetStreamBanner: true,
		JetStreamMaxStore: 1 << 40, JetStreamMaxMemory: 64 << 20,
	}
	if err := setAddress(e.Listen, &o.Host, &o.Port); err != nil {
		return nil, nil, err
	}
	if e.Cluster != "" {
		o.Cluster.Name = "carillon-object"
		if err := setAddress(e.Cluster, &o.Cluster.Host, &o.Cluster.Port); err != nil {
			return nil, nil, err
		}
		for _, route := range e.Routes {
			u, err := url.Parse("nats://" + strings.TrimPrefix(route, "nats://"))
			if err != nil {
				return nil, nil, fmt.Errorf("route %.200q: %w", route, err)
			}
			o.Routes = append(o.Routes, u)
		}
		if e.Listen == "" {
			o.Host, o.Port = "127.0.0.1", server.RANDOM_PORT // a server in a cluster listens
		}
	}
	s, err := server.NewServer(o)
	if err != nil {
		return nil, nil, fmt.Errorf("configuring the embedded NATS server: %w", err)
	}
	s.Start()
	if !s.ReadyForConnections(startFor) {
		s.Shutdown()
		return nil, nil, errors.New("the embedded NATS server did not start: is its address taken?")
	}
	logger.Debug("embedded NATS server", "clients", s.ClientURL(), "cluster", e.Cluster)
	connection, err := nats.Connect("", append(connectOptions(e.Name), nats.InProcessServer(s))...)
	if err != nil {
		s.Shutdown()
		return nil, nil, fmt.Errorf("connecting to the embedded NATS server: %w", err)
	}
	return s, connection, nil
}

func setAddress(address string, host *string, port *int) error {
	if address == "" {
		return nil
	}
	u, err := url.Parse("nats://" + address)
	if err == nil && u.Port() == "" {
		err = errors.New("it has no port")
	}
	if err != nil {
		return fmt.Errorf("address %.200q: %w", address, err)
	}
	*host = u.Hostname()
	_, err = fmt.Sscan(u.Port(), port)
	if *port == 0 {
		*port = server.RANDOM_PORT
	}
	return err
}

// Connect connects to NATS elsewhere, and goes on trying.
func Connect(urls, name string) (*nats.Conn, error) {
	connection, err := nats.Connect(urls, append(connectOptions(name), nats.RetryOnFailedConnect(true))...)
	if err != nil {
		return nil, fmt.Errorf("NATS at %s: %w", urls, err)
	}
	return connection, nil
}

func connectOptions(name string) []nats.Option {
	return []nats.Option{
		nats.Name("carillon object " + name), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1), nats.ReconnectWait(retryAfter),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), // every request says for itself what is wrong
	}
}
