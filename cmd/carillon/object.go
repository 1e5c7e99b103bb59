package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"carillon/object"
	"carillon/object/clock"
	"carillon/object/membership"
	"carillon/object/node"
	"carillon/object/replica"
)

func objectCommand() *cobra.Command {
	client := &objectClient{}
	cmd := &cobra.Command{
		Use:   "object",
		Short: "Keep objects in several copies on nodes, and ask for them",
		Long: `Keep objects, from 0 bytes to gigabytes under a name, in several copies on nodes of your own.
The verbs ask any node who there is and then talk to the nodes of an object directly: no node
is special. docs/objects.md says what is guaranteed.

With a token (CARILLON_OBJECT_TOKEN) nodes answer only those who have it.`,
		Example: `  carillon object serve --new
  carillon object put reports/2026-03.pdf march.pdf
  carillon object get reports/2026-03.pdf -o march.pdf
  carillon object ls reports/
  carillon object join node-4 --dry-run`,
	}
	cmd.AddCommand(objectServe())
	for _, verb := range []*cobra.Command{
		objectPut(client), objectGet(client), objectList(client), objectRemove(client), objectStat(client), objectHistory(client),
		objectVerify(client), objectBench(client), objectNodes(client), objectJoin(client), objectLeave(client), objectScrub(client),
	} {
		client.flags(verb.Flags())
		cmd.AddCommand(verb)
	}
	return cmd
}

// tokenVariable has the token, which should not be seen in a list of processes.
const tokenVariable = environmentPrefix + "OBJECT_TOKEN"

// objectClient is what the flags say of the nodes and the answers' form.
type objectClient struct {
	nodes        []string
	ca           string
	json         bool
	serverCopies bool
	timeout      time.Duration
}

func (c *objectClient) flags(f *pflag.FlagSet) {
	f.StringSliceVar(&c.nodes, "node", []string{"http://127.0.0.1:9490"}, "addresses of nodes, of which the first that answers is asked who there is")
	f.StringVar(&c.ca, "ca", "", "file with certificates that nodes with https are trusted by; empty for the system's")
	f.BoolVar(&c.json, "json", false, "print JSON, for programs")
	f.BoolVar(&c.serverCopies, "server-copies", false, "send one copy and have that node make the others")
	f.DurationVar(&c.timeout, "timeout", replica.DefaultTimeout, "longest time for one request to one node")
}

// objectCall is one command's conversation with a cluster.
type objectCall struct {
	*objectClient
	ctx         context.Context
	out         io.Writer
	progress    *progress
	members     *membership.Client
	state       membership.State
	status      membership.Status
	peers       *node.Peers
	coordinator *replica.Coordinator
}

// do asks who there is and calls f with a coordinator of the cluster.
func (c *objectClient) do(cmd *cobra.Command, f func(*objectCall) error) error {
	call, err := c.call(cmd)
	if err != nil {
		return err
	}
	defer call.peers.Close()
	if call.state.Epoch == 0 {
		return fmt.Errorf("node %s knows of no cluster: carillon object serve --new begins one", call.status.Node)
	}
	if call.coordinator, err = call.coordinate(call.state); err != nil {
		return err
	}
	err = f(call)
	call.progress.close()
	call.coordinator.Close()
	return err
}

// call asks who there is.
func (c *objectClient) call(cmd *cobra.Command) (*objectCall, error) {
	trust, err := trusted(c.ca)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	for _, address := range c.nodes {
		if _, err := node.NewClient(address, node.Dial{}); err != nil { // which makes no connection
			return nil, fmt.Errorf("--node: %w", err)
		}
	}
	token := os.Getenv(tokenVariable)
	transport := &http.Transport{TLSClientConfig: trust}
	defer transport.CloseIdleConnections()
	call := &objectCall{
		objectClient: c, ctx: cmd.Context(), out: cmd.OutOrStdout(),
		progress: newProgress(cmd.ErrOrStderr(), logger(slog.LevelWarn)),
		members:  &membership.Client{Addresses: c.nodes, Token: token, HTTP: &http.Client{Transport: transport, Timeout: c.timeout}},
		peers:    node.NewPeers(node.Dial{Token: token, TLS: trust}, nil),
	}
	if call.status, err = call.members.Status(cmd.Context()); err != nil {
		return nil, err
	}
	call.state = call.status.State
	return call, nil
}

// coordinate makes a coordinator that works by a state.
func (c *objectCall) coordinate(s membership.State) (*replica.Coordinator, error) {
	view, err := s.View()
	if err != nil {
		return nil, err
	}
	if err := c.peers.Set(s.Addresses()); err != nil {
		return nil, err
	}
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return replica.New(replica.Config{
		Node: c.peers.Node, Clock: clock.New(binary.LittleEndian.Uint64(b[:]), time.Now, 0),
		Need: s.Need, ServerCopies: c.serverCopies, Timeout: c.timeout,
		Grace: max(replica.DefaultGrace, 10*c.timeout), Log: logger(slog.LevelError),
	}, view)
}

// trusted is a configuration that trusts the certificates in a file, or the system's.
func trusted(file string) (*tls.Config, error) {
	if file == "" {
		return &tls.Config{}, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s has no certificate in PEM", file)
	}
	return &tls.Config{RootCAs: pool}, nil
}

// show prints v as JSON, or a table of it.
func (c *objectCall) show(v any, table func(io.Writer)) error {
	if c.json {
		return json.NewEncoder(c.out).Encode(v)
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	table(w)
	return w.Flush()
}

func (c *objectCall) showObjects(infos []object.Info) error {
	described := make([]node.ObjectInfo, len(infos))
	for i, info := range infos {
		described[i] = node.Describe(info)
	}
	return c.show(described, func(w io.Writer) {
		if len(infos) == 0 {
			fmt.Fprintln(w, "no objects")
			return
		}
		fmt.Fprintln(w, "name\tbytes\twritten\tversion\tblake3")
		for i := range described {
			d := &described[i]
			if d.Deleted {
				fmt.Fprintf(w, "%s\tdeleted\t%s\t%s\t-\n", d.Name, written(infos[i].Version), d.Version)
				continue
			}
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%.16s…\n", d.Name, d.Size, written(infos[i].Version), d.Version, d.Sum)
		}
	})
}

func written(v object.Version) string { return clock.StampOf(v).Time().Format(time.DateTime) }

// versionFlag reads a version; empty is none.
func versionFlag(flag, text string) (object.Version, error) {
	if text == "" {
		return object.Version{}, nil
	}
	v, err := object.ParseVersion(text)
	if err != nil {
		return v, fmt.Errorf("--%s: %w", flag, err)
	}
	return v, nil
}

var errNotThere = errors.New("not there")
