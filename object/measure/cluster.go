package measure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"carillon/figure"
	"carillon/object/node"
	"carillon/object/replica"
	"carillon/peer"
)

// Cluster is how many objects are written to three nodes in a turn.
type Cluster struct{ Turns, Objects int }

const (
	formWithin = 30 * time.Second // a cluster of NATS servers
	askEvery   = 50 * time.Millisecond
)

// ours is three nodes of this build, and a client that writes to two of them before it goes on.
type ours struct {
	nodes       cluster
	peers       *node.Peers
	coordinator *replica.Coordinator
}

func nodeNames() []string { return []string{"a", "b", "c"} }

// startOurs starts nodes of the names given.
func (r *run) startOurs(ctx context.Context, dir, sync string, names ...string) (o *ours, err error) {
	addresses, err := peer.FreeAddresses(peer.Loopback, len(names))
	if err != nil {
		return nil, err
	}
	routes := map[string]string{}
	for i, name := range names {
		routes[name] = "http://" + addresses[i]
	}
	o = &ours{peers: node.NewPeers(node.Dial{}, nil)}
	for i, name := range names {
		p, err := r.node(nodeConfig{Name: name, Dir: filepath.Join(dir, name), Listen: addresses[i], Routes: routes, Sync: sync})
		if err != nil {
			return nil, err
		}
		o.nodes = append(o.nodes, p)
	}
	if err := o.peers.Set(routes); err != nil {
		return nil, err
	}
	if o.coordinator, err = coordinate(routes, o.peers.Node); err != nil {
		return nil, err
	}
	if err := o.nodes.start(ctx); err != nil {
		o.coordinator.Close()
		return nil, err
	}
	return o, nil
}

func (o *ours) end() error {
	o.coordinator.Close()
	o.peers.Close()
	return o.nodes.end()
}

func source(content []byte) replica.Source {
	return replica.Source{Size: int64(len(content)), Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }}
}

func (o *ours) put(ctx context.Context, name string, content []byte) error {
	_, err := o.coordinator.Put(ctx, name, source(content))
	return err
}

// theirs is three NATS servers with a key-value bucket of three replicas, each of which syncs before it answers.
type theirs struct {
	servers cluster
	conn    *nats.Conn
	bucket  jetstream.KeyValue
}

func (r *run) startTheirs(ctx context.Context, dir string) (t *theirs, err error) {
	names := nodeNames()
	addresses, err := peer.FreeAddresses(peer.Loopback, 2*len(names))
	if err != nil {
		return nil, err
	}
	routes := map[string]string{}
	for i, name := range names {
		routes[name] = "nats://" + addresses[len(names)+i]
	}
	t = &theirs{}
	for i, name := range names {
		p, err := r.node(nodeConfig{JetStream: true, Name: name, Dir: filepath.Join(dir, "nats-"+name), Listen: addresses[i], Routes: routes})
		if err != nil {
			return nil, err
		}
		t.servers = append(t.servers, p)
	}
	if err := t.servers.start(ctx); err != nil {
		return nil, err
	}
	if err := t.connect(ctx, addresses[0]); err != nil {
		return nil, errors.Join(err, t.end())
	}
	return t, nil
}

func (t *theirs) connect(ctx context.Context, address string) (err error) {
	if t.conn, err = nats.Connect("nats://" + address); err != nil {
		return err
	}
	js, err := jetstream.New(t.conn)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, formWithin)
	defer cancel()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for { // until the servers have found each other
		ask, cancel := context.WithTimeout(ctx, time.Second)
		t.bucket, err = js.CreateKeyValue(ask, jetstream.KeyValueConfig{Bucket: "objects", Replicas: len(nodeNames())})
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("make a bucket of three replicas: %w", err)
		case <-tick.C:
		}
	}
}

func (t *theirs) end() error {
	if t.conn != nil {
		t.conn.Close()
	}
	return t.servers.end()
}

func (t *theirs) put(ctx context.Context, name string, content []byte) error {
	_, err := t.bucket.Put(ctx, name, content)
	return err
}

// cluster writes to both in turns.
func (r *run) cluster(ctx context.Context) (figures []figure.Figure, err error) {
	dir, done, err := peer.Scratch(r.Dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	us, err := r.startOurs(ctx, dir, "always", nodeNames()...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, us.end()) }()
	them, err := r.startTheirs(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, them.end()) }()
	scale := r.Scale.Cluster
	var mine, their []float64
	content := r.content(0, objectBytes)
	for turn := range scale.Turns + 1 {
		r.Progress("cluster", uint64(turn), uint64(scale.Turns+1))
		a, err := putAll(ctx, us.put, content, turn*scale.Objects, scale.Objects)
		if err != nil {
			return nil, fmt.Errorf("our nodes: %w", err)
		}
		b, err := putAll(ctx, them.put, content, turn*scale.Objects, scale.Objects)
		if err != nil {
			return nil, fmt.Errorf("JetStream: %w", err)
		}
		if turn > 0 { // the first one warms up
			mine, their = append(mine, a), append(their, b)
		}
	}
	ratio := median(ratios(their, mine))
	return []figure.Figure{{ID: "object.cluster_ratio", Value: ratio, Unit: "x", Better: figure.Higher, Goal: 4, Floor: 2,
		Note: fmt.Sprintf("objects/s: %.0f with W=2 of 3, JetStream R3 %.0f", 1/median(mine), 1/median(their))}}, nil
}

// putAll is how many seconds an object takes.
func putAll(ctx context.Context, put func(context.Context, string, []byte) error, content []byte, first, n int) (float64, error) {
	begun := time.Now()
	err := each(writers, n, func() func(int) error {
		own := bytes.Clone(content) // both have read it when they return
		return func(i int) error {
			label(own, first+i)
			return put(ctx, nameOf(first+i), own)
		}
	})
	return time.Since(begun).Seconds() / float64(n), err
}
