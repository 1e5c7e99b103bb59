package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"carillon/object"
	"carillon/object/clock"
	"carillon/object/placement"
)

var errDown = errors.New("no route to node")

// wire is what lies between callers and a member: a place for faults.
type wire struct {
	Node
	mu    sync.Mutex
	fault func(op string) (before, after error) // guarded by mu; nil while there is none
	calls atomic.Int64
}

func (w *wire) set(fault func(op string) (before, after error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault = fault
}

// down makes the node unreachable, deaf makes it do what it is asked and its answers get lost.
func (w *wire) down() { w.set(func(string) (error, error) { return errDown, nil }) }
func (w *wire) deaf() { w.set(func(string) (error, error) { return nil, errDown }) }
func (w *wire) up()   { w.set(nil) }

// through calls do as the fault allows.
func through[T any](w *wire, op string, do func() (T, error)) (T, error) {
	w.calls.Add(1)
	w.mu.Lock()
	fault := w.fault
	w.mu.Unlock()
	var none T
	if fault == nil {
		return do()
	}
	before, after := fault(op)
	if before != nil {
		return none, before
	}
	value, err := do()
	if after != nil {
		return none, after
	}
	return value, err
}

func (w *wire) Put(ctx context.Context, name string, body io.Reader, o Write) (Receipt, error) {
	return through(w, "put", func() (Receipt, error) { return w.Node.Put(ctx, name, body, o) })
}

func (w *wire) Delete(ctx context.Context, name string, o Write) (Receipt, error) {
	return through(w, "delete", func() (Receipt, error) { return w.Node.Delete(ctx, name, o) })
}

func (w *wire) Get(ctx context.Context, name string, o object.Get) (object.Body, error) {
	return through(w, "get", func() (object.Body, error) { return w.Node.Get(ctx, name, o) })
}

func (w *wire) Stat(ctx context.Context, name string, epoch uint64) (object.Info, error) {
	return through(w, "stat", func() (object.Info, error) { return w.Node.Stat(ctx, name, epoch) })
}

func (w *wire) Check(ctx context.Context, name string, v object.Version) error {
	_, err := through(w, "check", func() (int, error) { return 0, w.Node.Check(ctx, name, v) })
	return err
}

func (w *wire) List(ctx context.Context, o object.List) (object.Page, error) {
	return through(w, "list", func() (object.Page, error) { return w.Node.List(ctx, o) })
}

func (w *wire) History(ctx context.Context, name string) ([]object.Info, error) {
	return through(w, "history", func() ([]object.Info, error) { return w.Node.History(ctx, name) })
}

func (w *wire) Drop(ctx context.Context, name string, v object.Version, epoch uint64) error {
	_, err := through(w, "drop", func() (int, error) { return 0, w.Node.Drop(ctx, name, v, epoch) })
	return err
}

func (w *wire) Forget(ctx context.Context, before object.Version, epoch uint64) (int, error) {
	return through(w, "forget", func() (int, error) { return w.Node.Forget(ctx, before, epoch) })
}

// epochs keeps an epoch in memory.
type epochs struct{ epoch atomic.Uint64 }

func (e *epochs) Load() (uint64, error)   { return e.epoch.Load(), nil }
func (e *epochs) Save(epoch uint64) error { e.epoch.Store(epoch); return nil }

// cluster is nodes in memory and their wires.
type cluster struct {
	t       testing.TB
	mu      sync.Mutex
	stores  map[string]*memory
	members map[string]*Member
	wires   map[string]*wire
	ids     atomic.Uint64
}

// start makes nodes, admitted at epoch 1.
func start(t testing.TB, names ...string) *cluster {
	c := &cluster{t: t, stores: make(map[string]*memory), members: make(map[string]*Member), wires: make(map[string]*wire)}
	for _, name := range names {
		if err := c.replace(name).Admit(1); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// replace puts an empty node in the place of that of a name.
func (c *cluster) replace(name string) *Member {
	c.mu.Lock()
	defer c.mu.Unlock()
	store := newMemory()
	member, err := NewMember(MemberConfig{Name: name, Store: store, Epochs: new(epochs), Clock: c.clock(), Peers: c.node})
	if err != nil {
		c.t.Fatal(err)
	}
	c.stores[name], c.members[name] = store, member
	c.wires[name] = &wire{Node: member}
	return member
}

func (c *cluster) clock() *clock.Clock { return clock.New(c.ids.Add(1), time.Now, 0) }

func (c *cluster) node(name string) (Node, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := c.wires[name]; w != nil {
		return w, nil
	}
	return nil, fmt.Errorf("unknown node %q", name)
}

func (c *cluster) wire(name string) *wire {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wires[name]
}

// coordinator makes one that the test closes at its end, if it does not before.
func (c *cluster) coordinator(view View, adjust func(*Config)) *Coordinator {
	config := Config{Node: c.node, Clock: c.clock(), Timeout: time.Second}
	if adjust != nil {
		adjust(&config)
	}
	o, err := New(config, view)
	if err != nil {
		c.t.Fatal(err)
	}
	return o
}

func mapOf(t testing.TB, names ...string) *placement.Map {
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
	return m
}

func sourceOf(content string) Source {
	sum := object.SumOf([]byte(content))
	return Source{
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader([]byte(content))), nil },
		Size: int64(len(content)), Sum: &sum,
	}
}

// content reads an object; a missing one is "".
func content(ctx context.Context, o *Coordinator, name string, mode Read) (string, error) {
	body, err := o.Get(ctx, name, mode, object.Get{})
	if errors.Is(err, object.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(body)
	return string(b), errors.Join(err, body.Close())
}

// copies is on which nodes the newest versions of a name lie.
func (c *cluster) copies(name string) map[string]object.Info {
	found := make(map[string]object.Info)
	for node, store := range c.stores {
		store.mu.Lock()
		if info := store.newest(name); !info.Version.IsZero() {
			found[node] = info
		}
		store.mu.Unlock()
	}
	return found
}
