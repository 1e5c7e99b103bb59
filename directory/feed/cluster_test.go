package feed

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/nats-io/nats-server/v2/server"

	"carillon/directory/location"
	"carillon/pause"
)

const (
	nodeCount      = 3
	clientsPerNode = 3
	sharedNames    = 4
	chaosFor       = 6 * time.Second
	opFor          = 4 * time.Second
	checkFor       = 20 * time.Second
)

// startCluster starts three servers that know each other.
func startCluster(t *testing.T) []*server.Server {
	t.Helper()
	var routes []*url.URL
	var ports []int
	for range nodeCount {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }() // in vain but for a failed test
		port := l.Addr().(*net.TCPAddr).Port
		ports = append(ports, port)
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", port)})
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	servers := make([]*server.Server, nodeCount)
	for i := range servers {
		servers[i] = runServer(t, &server.Options{
			ServerName: fmt.Sprintf("s%d", i+1),
			Host:       "127.0.0.1",
			Port:       server.RANDOM_PORT,
			StoreDir:   t.TempDir(),
			Cluster:    server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: ports[i]},
			Routes:     routes,
		})
	}
	return servers
}

// startMembers starts a node at each server.
func startMembers(t *testing.T, servers []*server.Server) []*member {
	t.Helper()
	members := make([]*member, nodeCount)
	for i := range members {
		w := &wire{server: servers[i]}
		config := configOf(w.connect(t), openDirectory(t, t.TempDir()))
		config.Node, config.Replicas = fmt.Sprintf("n%d", i+1), nodeCount
		members[i] = start(t, w, config)
	}
	return members
}

// chaos cuts wires, moves nodes to other servers and makes the stream's leader step
// down, at random until ctx ends. Then all is well again.
func chaos(ctx context.Context, random *rand.Rand, servers []*server.Server, members []*member) {
	rest := func(most time.Duration) bool {
		return pause.For(ctx, time.Duration(random.Int64N(int64(most)))) == nil
	}
	for rest(300 * time.Millisecond) {
		m := members[random.IntN(nodeCount)]
		switch random.IntN(8) {
		case 0, 1, 2:
			m.wire.cut(false)
		case 3, 4:
			m.wire.cut(true)
			rest(300 * time.Millisecond)
			m.wire.set(servers[random.IntN(nodeCount)])
		case 5:
			m.wire.set(servers[random.IntN(nodeCount)])
			m.wire.cut(false)
		case 6:
			// No answer is needed: it may well be lost.
			_ = m.connection.PublishRequest("$JS.API.STREAM.LEADER.STEPDOWN."+streamName, "nobody", nil)
		}
	}
	for i, m := range members {
		m.wire.set(servers[i])
	}
}

// state is what is known of one name.
type state struct {
	present bool
	value   uint32
}

const read location.Op = math.MaxUint8 // of the history

type input struct {
	op    location.Op // create, update, delete or read
	name  string
	value uint32
}

type output struct {
	unknown bool // whether it was, or will be, done
	done    bool // a read: found
	value   uint32
}

// model is a directory of names with flags, each name by itself.
func model() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return state{} },
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			byName := make(map[string][]porcupine.Operation)
			for _, o := range history {
				name := o.Input.(input).name
				byName[name] = append(byName[name], o)
			}
			var parts [][]porcupine.Operation
			for _, part := range byName {
				parts = append(parts, part)
			}
			return parts
		},
		Step: func(s, i, o any) (bool, any) { return step(s.(state), i.(input), o.(output)) },
		DescribeOperation: func(i, o any) string {
			return fmt.Sprintf("%+v -> %+v", i, o)
		},
	}
}

func step(s state, in input, out output) (bool, state) {
	if in.op == read {
		return out.done == s.present && (!s.present || out.value == s.value), s
	}
	possible, after := s.present, state{present: true, value: in.value}
	switch in.op {
	case location.Create:
		possible = !s.present
	case location.Delete:
		after = state{}
	}
	if !possible {
		return out.unknown || !out.done, s
	}
	return out.unknown || out.done, after
}

// client works on one node and records what it sees.
type client struct {
	number  int
	node    *member
	all     []*member
	random  *rand.Rand
	began   time.Time
	history []porcupine.Operation
	created int // names of its own
	failed  int // operations that had no outcome
}

func (c *client) run(ctx context.Context, t *testing.T) {
	for i := 0; ctx.Err() == nil; i++ {
		if i%16 == 15 {
			c.createAndLook(ctx, t)
			continue
		}
		in := input{
			op:    []location.Op{location.Create, location.Update, location.Delete, read, read}[c.random.IntN(5)],
			name:  fmt.Sprintf("name-%d", c.random.IntN(sharedNames)),
			value: uint32(c.number)<<24 | uint32(i),
		}
		c.record(t, in)
	}
}

// record does one operation; one that surely did nothing is left out.
func (c *client) record(t *testing.T, in input) {
	ctx, cancel := context.WithTimeout(context.Background(), opFor)
	defer cancel()
	call := time.Since(c.began).Nanoseconds()
	var out output
	var err error
	if in.op == read {
		out, err = currentRead(ctx, t, c.node, in.name)
	} else {
		out, err = propose(ctx, t, c.node, in)
	}
	back := time.Since(c.began).Nanoseconds()
	if err != nil {
		c.failed++
		if !errors.Is(err, ErrUnknown) {
			return
		}
		out, back = output{unknown: true}, math.MaxInt64
	}
	c.history = append(c.history, porcupine.Operation{ClientId: c.number, Input: in, Call: call, Output: out, Return: back})
}

func propose(ctx context.Context, t *testing.T, m *member, in input) (output, error) {
	change := location.Change{Op: in.op, Name: in.name}
	switch in.op {
	case location.Create:
		change = createOf(in.name, in.value)
	case location.Update:
		change.Patch = location.Patch{ClearFlags: math.MaxUint32, SetFlags: in.value}
	}
	r, err := m.Propose(ctx, change)
	if err != nil {
		return output{}, err
	}
	if r.Err != nil && !errors.Is(r.Err, location.ErrExists) && !errors.Is(r.Err, location.ErrNotFound) {
		t.Errorf("%+v was refused: %v", in, r.Err)
	}
	return output{done: r.Err == nil}, nil
}

func currentRead(ctx context.Context, t *testing.T, m *member, name string) (output, error) {
	if err := m.Current(ctx); err != nil {
		return output{}, err
	}
	e, err := m.directory.Get(name)
	if err != nil && !errors.Is(err, location.ErrNotFound) {
		t.Errorf("Get(%s) = %v", name, err)
	}
	return output{done: err == nil, value: e.Flags}, nil
}

// createAndLook makes a new name, which every node has just cached as absent, and
// reads it on every node.
func (c *client) createAndLook(ctx context.Context, t *testing.T) {
	c.created++
	name := fmt.Sprintf("own-%d-%d", c.number, c.created)
	for _, m := range c.all {
		for range 2 {
			if _, err := m.directory.Get(name); !errors.Is(err, location.ErrNotFound) {
				t.Errorf("Get(%s) before it is created = %v", name, err)
			}
		}
	}
	short, cancel := context.WithTimeout(ctx, opFor)
	defer cancel()
	out, err := propose(short, t, c.node, input{op: location.Create, name: name})
	if err != nil {
		c.failed++
		return
	}
	if !out.done {
		t.Errorf("creating %s, which only one client does: it exists", name)
	}
	for i, m := range c.all {
		out, err := currentRead(short, t, m, name)
		if err == nil && !out.done {
			t.Errorf("node %d answers absent to a current read of %s after its creation was acknowledged", i+1, name)
		}
	}
}

func TestClusterIsLinearizable(t *testing.T) {
	t.Parallel()
	servers := startCluster(t)
	members := startMembers(t, servers)
	for _, m := range members {
		m.awaitLive(t, true)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed) // timing is not repeated by it, what was done is
	ctx, cancel := context.WithTimeout(context.Background(), chaosFor)
	defer cancel()
	var group sync.WaitGroup
	var clients []*client
	began := time.Now()
	for i := range nodeCount * clientsPerNode {
		c := &client{number: i, node: members[i%nodeCount], all: members, began: began,
			random: rand.New(rand.NewPCG(seed, uint64(i)))}
		clients = append(clients, c)
		group.Go(func() { c.run(ctx, t) })
	}
	group.Go(func() { chaos(ctx, rand.New(rand.NewPCG(seed, math.MaxUint64)), servers, members) })
	group.Wait()

	var history []porcupine.Operation
	created, failed := 0, 0
	for _, c := range clients {
		history = slices.Concat(history, c.history)
		created, failed = created+c.created, failed+c.failed
	}
	reconnects := uint64(0)
	for _, m := range members {
		reconnects += m.connection.Stats().Reconnects
	}
	if reconnects == 0 {
		t.Error("no connection was cut")
	}
	t.Logf("%d reconnects", reconnects)
	t.Logf("%d operations on %d names, %d names of clients' own, %d without outcome", len(history), sharedNames, created, failed)
	if len(history) < 100 {
		t.Errorf("only %d operations: the cluster hardly worked", len(history))
	}
	if got := porcupine.CheckOperationsTimeout(model(), history, checkFor); got != porcupine.Ok {
		t.Errorf("the history is not linearizable: porcupine says %s", got)
	}
	sameEverywhere(t, members)
}

// sameEverywhere checks that the nodes end in the same state.
func sameEverywhere(t *testing.T, members []*member) {
	t.Helper()
	var first location.Page
	for i, m := range members {
		m.awaitLive(t, true)
		if err := m.Current(within(t)); err != nil {
			t.Fatal(err)
		}
		page, err := m.directory.List(location.Filter{}, "", location.MaxList)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = page
		}
		if fmt.Sprint(page) != fmt.Sprint(first) {
			t.Errorf("node %d ends otherwise than node 1", i+1)
		}
	}
}

// TestModel makes sure that the check can fail.
func TestModel(t *testing.T) {
	at := func(call, back int64, in input, out output) porcupine.Operation {
		return porcupine.Operation{Input: in, Call: call, Output: out, Return: back}
	}
	create := input{op: location.Create, name: "a", value: 7}
	look := input{op: read, name: "a"}
	for about, c := range map[string]struct {
		history []porcupine.Operation
		want    bool
	}{
		"found":                {[]porcupine.Operation{at(1, 2, create, output{done: true}), at(3, 4, look, output{done: true, value: 7})}, true},
		"stale absent":         {[]porcupine.Operation{at(1, 2, create, output{done: true}), at(3, 4, look, output{})}, false},
		"other value":          {[]porcupine.Operation{at(1, 2, create, output{done: true}), at(3, 4, look, output{done: true, value: 8})}, false},
		"absent while created": {[]porcupine.Operation{at(1, 5, create, output{done: true}), at(3, 4, look, output{})}, true},
		"unknown, never done":  {[]porcupine.Operation{at(1, math.MaxInt64, create, output{unknown: true}), at(3, 4, look, output{})}, true},
		"unknown, done late": {[]porcupine.Operation{at(1, math.MaxInt64, create, output{unknown: true}), at(3, 4, look, output{}),
			at(5, 6, look, output{done: true, value: 7})}, true},
		"unknown, undone": {[]porcupine.Operation{at(1, math.MaxInt64, create, output{unknown: true}),
			at(3, 4, look, output{done: true, value: 7}), at(5, 6, look, output{})}, false},
	} {
		if got := porcupine.CheckOperations(model(), c.history); got != c.want {
			t.Errorf("%s: linearizable %t, want %t", about, got, c.want)
		}
	}
}
