package fault

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"carillon/object/clock"
	"carillon/object/membership"
	"carillon/object/node"
	"carillon/object/replica"
	"carillon/pause"
	"carillon/peer"
)

const (
	timeout    = 2 * time.Second // of one request to a node
	mendWithin = time.Minute     // what an operator tries again and again
	retryAfter = 50 * time.Millisecond
)

// process is a node, which has the same address and folder over restarts. One goroutine uses it.
type process struct {
	*peer.Child
	name, data, address string
	command             []string
}

// start runs the node until it takes connections.
func (p *process) start(ctx context.Context) error {
	return again(ctx, func(ctx context.Context) error { // while it was away, another connection may have got its port
		child, err := peer.Spawn(ctx, "node "+p.name, p.command, peer.Listens(p.address))
		if err == nil {
			p.Child = child
		}
		return err
	})
}

// again tries until it succeeds, as an operator would.
func again(ctx context.Context, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, mendWithin)
	defer cancel()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		if ended := pause.For(ctx, retryAfter); ended != nil {
			return errors.Join(ended, err)
		}
	}
}

// cluster is three nodes and a client of theirs. One goroutine uses it; the coordinator is for all.
type cluster struct {
	command     []string
	nodes       []*process
	members     *membership.Client
	peers       *node.Peers
	coordinator *replica.Coordinator
}

func nodeNames() []string { return []string{"a", "b", "c"} }

// startCluster starts a node with the NATS server and two more, and joins them. The number is that of a clock.
func startCluster(ctx context.Context, c Config, number uint64) (k *cluster, err error) {
	addresses, err := peer.FreeAddresses(peer.Loopback, 1+len(nodeNames()))
	if err != nil {
		return nil, err
	}
	k = &cluster{command: c.Command, members: &membership.Client{HTTP: &http.Client{Timeout: timeout}}, peers: node.NewPeers(node.Dial{}, nil)}
	defer func() {
		if err != nil {
			k.end()
		}
	}()
	nats := addresses[0]
	of := []string{"--new", "--nats-listen", nats}
	for i, name := range nodeNames() {
		p := &process{name: name, data: filepath.Join(c.Dir, name), address: addresses[1+i]}
		p.command = k.line(append([]string{"serve", "--name", name, "--data", p.data, "--listen", p.address}, of...)...)
		if err := p.start(ctx); err != nil {
			return nil, err
		}
		k.nodes = append(k.nodes, p)
		k.members.Addresses = append(k.members.Addresses, "http://"+p.address)
		of = []string{"--nats", "nats://" + nats}
	}
	first, err := k.state(ctx)
	if err != nil {
		return nil, err
	}
	k.coordinator, err = replica.New(replica.Config{
		Node: k.peers.Node, Clock: clock.New(number, time.Now, 0), Timeout: timeout, Grace: time.Hour, Log: slog.New(slog.DiscardHandler),
	}, first)
	if err != nil {
		return nil, err
	}
	return k, k.join(ctx, nodeNames()[1:]...)
}

// end kills all processes.
func (k *cluster) end() {
	if k.coordinator != nil {
		k.coordinator.Close()
	}
	for _, p := range k.nodes {
		p.Kill()
	}
	k.peers.Close()
	k.members.HTTP.CloseIdleConnections()
}

// line is the command line of a verb about objects.
func (k *cluster) line(verb ...string) []string {
	return append(append(append([]string(nil), k.command...), "object"), append(verb, "--timeout", timeout.String())...)
}

// state asks how the cluster is, until it has begun.
func (k *cluster) state(ctx context.Context) (view replica.View, err error) {
	err = again(ctx, func(ctx context.Context) error {
		status, err := k.members.Status(ctx)
		if err != nil {
			return err
		}
		if status.Unreachable != "" { // what a node remembers may be old
			return errors.New(status.Unreachable)
		}
		if view, err = status.State.View(); err != nil {
			return err
		}
		return k.peers.Set(status.State.Addresses())
	})
	return view, err
}

// join takes nodes in by the verb, which finds them when their heartbeats are heard. Those who write hear of it when it is done:
// meanwhile the nodes refuse them.
func (k *cluster) join(ctx context.Context, args ...string) error {
	line := k.line(append([]string{"join", "--rate", "0", "--node", strings.Join(k.members.Addresses, ",")}, args...)...)
	err := again(ctx, func(ctx context.Context) error {
		said, err := exec.CommandContext(ctx, line[0], line[1:]...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(line, " "), err, said)
		}
		return nil
	})
	if err != nil {
		return err
	}
	view, err := k.state(ctx)
	if err != nil {
		return err
	}
	return k.coordinator.SetView(view)
}

// scrub brings every copy where and how it should be, and counts those that were damaged.
func (k *cluster) scrub(ctx context.Context, deep bool) (repaired int64, err error) {
	err = again(ctx, func(ctx context.Context) error {
		done, err := k.coordinator.Scrub(ctx, replica.Scrub{Deep: deep})
		repaired += done.Repaired
		if err == nil && !done.Settled() {
			err = fmt.Errorf("scrub: %d names are not settled, nodes not heard: %v", done.Failed, done.Unheard)
		}
		return err
	})
	return repaired, err
}
