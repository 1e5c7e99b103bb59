package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"carillon/object/clock"
	"carillon/object/membership"
	"carillon/object/replica"
	"carillon/object/server"
	"carillon/timerslack"
)

// objectOptions are the flags of the verb that runs a node.
type objectOptions struct {
	config        server.Config
	cert, key, ca string
	level         levelFlag
}

func objectServe() *cobra.Command {
	o := &objectOptions{}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a node",
		Long: `Run a node of an object cluster. The first one begins the cluster with --new; the others are
taken in by carillon object join. Nodes find each other by NATS: one that is elsewhere (--nats), or one
embedded in each of three or more nodes (--nats-cluster and --nats-routes), or one embedded in a
single node at which the others point --nats. If NATS is away, reads and writes go on; only the
cluster cannot be changed.

Objects are also there for programs that speak HTTP: curl -T FILE ADDRESS/objects/NAME.`,
		Example: `  carillon object serve --new
  carillon object serve --new --name a --listen 10.0.0.1:9490 --nats-listen 10.0.0.1:4222
  carillon object serve --name b --listen 10.0.0.2:9490 --nats nats://10.0.0.1:4222
  carillon object serve --store pebble:///var/lib/objects --tls-cert node.pem --tls-key node.key`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			timerslack.Widen()
			if _, err := loadSettings(cmd); err != nil {
				return err
			}
			if err := o.complete(); err != nil {
				return err
			}
			o.config.Ready = func(address string) {
				fmt.Fprintf(cmd.OutOrStdout(), "\nCarillon's object node %s is ready.\n\n  address   %s\n  data      %s\n\n", o.config.Node.Name, address, o.config.Data)
			}
			return server.Run(cmd.Context(), o.config)
		},
	}
	o.flags(cmd.Flags())
	return cmd
}

func (o *objectOptions) flags(f *pflag.FlagSet) {
	c := &o.config
	o.level.Level = slog.LevelInfo
	f.SortFlags = false
	f.String("config", "", "YAML file with settings, named as the flags are")
	f.StringVar(&c.Data, "data", "./carillon-objects", "directory for everything that is kept")
	f.StringVar(&c.Node.Name, "name", "", "the node's name, which it keeps for ever; empty for the host's")
	f.StringVar(&c.Listen, "listen", "127.0.0.1:9490", "HTTP address")
	f.StringVar(&c.Node.Address, "address", "", "URL at which others reach the node; empty for where it listens")
	f.StringVar(&c.Node.Zone, "zone", "", "what fails together, such as a rack: copies go to different ones; empty for the node alone")
	f.Float64Var(&c.Node.Weight, "weight", 1, "share of the objects, relative to the other nodes': usually the size of the disk")
	f.StringVar(&c.Store, "store", "", "URL of what the objects are kept in; empty for pack in the data directory. file, pack, pebble, s3 or jetstream, with ?sync=always, none or 1s and ?keep=VERSIONS")
	f.BoolVar(&c.New, "new", false, "begin a cluster if there is none")
	f.StringVar(&c.First.Transformations, "copies", "sha256,blake3,sha512", "of a new cluster: the hashes that place the copies, one a copy")
	f.IntVar(&c.First.Need, "acks", 0, "of a new cluster: nodes that must have a write before it is acknowledged; 0 for most")
	f.StringVar(&c.NATS, "nats", "", "URLs of NATS elsewhere; empty for an embedded one")
	f.StringVar(&c.Embedded.Listen, "nats-listen", "", "address at which the embedded NATS serves nodes without one; empty for none")
	f.StringVar(&c.Embedded.Cluster, "nats-cluster", "", "address at which the embedded NATS meets those of other nodes; empty for none")
	f.StringSliceVar(&c.Embedded.Routes, "nats-routes", nil, "where those are")
	f.IntVar(&c.Replicas, "nats-replicas", 1, "copies of the cluster's state in NATS: 3 if three or more servers of NATS meet")
	f.StringVar(&o.cert, "tls-cert", "", "file with the node's certificate; empty for HTTP without TLS")
	f.StringVar(&o.key, "tls-key", "", "file with its key")
	f.StringVar(&o.ca, "ca", "", "file with certificates that other nodes are trusted by; empty for the system's")
	f.DurationVar(&c.Timeout, "timeout", replica.DefaultTimeout, "longest time for one request to another node")
	f.DurationVar(&c.Grace, "delete-grace", replica.DefaultGrace, "how long marks of deletes are kept at least")
	f.DurationVar(&c.ClockSkew, "clock-skew", clock.DefaultMaxSkew, "refuse versions further ahead of this node's clock")
	f.Var(&o.level, "log-level", "debug, info, warn or error")
}

// complete makes a configuration of the flags.
func (o *objectOptions) complete() (err error) {
	c := &o.config
	c.Logger = logger(o.level.Level)
	c.Token = os.Getenv(tokenVariable)
	if c.Node.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			return err
		}
		c.Node.Name, _, _ = strings.Cut(host, ".")
	}
	if err := membership.CheckName(c.Node.Name); err != nil {
		return fmt.Errorf("--name: %w", err)
	}
	if _, err := membership.First(c.First.Transformations, c.First.Need, c.Node); err != nil {
		return err
	}
	if c.NATS != "" && (c.Embedded.Listen != "" || c.Embedded.Cluster != "") {
		return errors.New("--nats is for NATS elsewhere; --nats-listen and --nats-cluster are for an embedded one")
	}
	if c.PeerTLS, err = trusted(o.ca); err != nil {
		return fmt.Errorf("--ca: %w", err)
	}
	if o.cert == "" && o.key == "" {
		return nil
	}
	certificate, err := tls.LoadX509KeyPair(o.cert, o.key)
	if err != nil {
		return fmt.Errorf("--tls-cert and --tls-key: %w", err)
	}
	c.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}}
	return nil
}
