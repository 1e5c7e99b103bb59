package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"carillon/object"
	"carillon/object/clock"
)

// Epochs keeps a node's epoch beside its objects. Who loses the objects must lose it too.
type Epochs interface {
	Load() (uint64, error)   // 0 if none was saved
	Save(epoch uint64) error // durable when it returns
}

// MemberConfig is what a Member needs.
type MemberConfig struct {
	Name   string
	Store  object.Store
	Epochs Epochs
	Clock  *clock.Clock
	Peers  func(name string) (Node, error) // where it forwards to
	// Timeout bounds a copy that is forwarded.
	Timeout time.Duration
}

// Member is a node: a store behind the rules that copies live by.
//
// The epoch is the number of the newest view that the node heard of, and only rises. Once
// it has risen no write of an older view is made here any more. For guarded writes that is
// exact: they hold gate while they change the store, and the epoch rises under its lock;
// compare-and-set hands a name over from one owner to the next by it. A plain write, whose
// body can take minutes to come, looks at the epoch before and after: if it rose meanwhile the
// write is made but not acknowledged.
type Member struct {
	config MemberConfig

	gate  sync.RWMutex
	epoch uint64 // guarded by gate

	copying sync.WaitGroup // forwarded copies after the answer
}

var _ Node = (*Member)(nil)

// NewMember opens a node. It has no part in the cluster until it was admitted once.
func NewMember(config MemberConfig) (*Member, error) {
	epoch, err := config.Epochs.Load()
	if err != nil {
		return nil, fmt.Errorf("opening node %s: reading its epoch: %w", config.Name, err)
	}
	if config.Timeout <= 0 {
		config.Timeout = DefaultTimeout
	}
	return &Member{config: config, epoch: epoch}, nil
}

// Admit makes the node a part of the cluster from the view of that epoch on. Only who
// joins nodes calls it, with an epoch in whose view the node is new or declared lost.
func (m *Member) Admit(epoch uint64) error { return m.rise(epoch, true) }

// Close waits for the copies that the node still makes for others. The store is its owner's to close.
func (m *Member) Close() { m.copying.Wait() }

func (m *Member) rise(epoch uint64, admit bool) error {
	m.gate.RLock()
	known := m.epoch
	m.gate.RUnlock()
	if known != 0 && known == epoch {
		return nil
	}
	m.gate.Lock()
	defer m.gate.Unlock()
	switch {
	case m.epoch == 0 && !admit:
		return fmt.Errorf("node %s: %w", m.config.Name, ErrBlank)
	case epoch < m.epoch:
		return fmt.Errorf("node %s is at epoch %d, asked at %d: %w", m.config.Name, m.epoch, epoch, ErrStale)
	case epoch == m.epoch:
		return nil
	}
	if err := m.config.Epochs.Save(epoch); err != nil {
		return fmt.Errorf("node %s: saving epoch %d: %w", m.config.Name, epoch, err)
	}
	m.epoch = epoch
	return nil
}

// still calls change, for which the epoch cannot rise, if it has not risen yet.
func (m *Member) still(epoch uint64, change func() error) error {
	m.gate.RLock()
	defer m.gate.RUnlock()
	if m.epoch != epoch {
		return fmt.Errorf("node %s is at epoch %d, asked at %d: %w", m.config.Name, m.epoch, epoch, ErrStale)
	}
	return change()
}

// Put is Node's.
func (m *Member) Put(ctx context.Context, name string, body io.Reader, w Write) (Receipt, error) {
	if err := m.admits(ctx, name, w); err != nil {
		return Receipt{}, err
	}
	var info object.Info
	put := func() (err error) {
		info, err = m.config.Store.Put(ctx, name, body, object.Put{
			Version: w.Version, Size: w.Size, Sum: w.Sum, If: w.If, Repair: w.Repair,
		})
		return err
	}
	if clock.Guarded(w.Version) {
		content, err := io.ReadAll(io.LimitReader(body, MaxGuarded+1))
		switch {
		case err != nil:
			return Receipt{}, fmt.Errorf("node %s: receiving %q: %w", m.config.Name, name, err)
		case len(content) > MaxGuarded:
			return Receipt{}, fmt.Errorf("%q has more than the %d bytes that compare-and-set takes: %w", name, MaxGuarded, object.ErrSize)
		}
		body = bytes.NewReader(content)
		if err := m.still(w.Epoch, put); err != nil {
			return Receipt{}, err
		}
	} else {
		if err := put(); err != nil {
			return Receipt{}, err
		}
		if err := m.still(w.Epoch, func() error { return nil }); err != nil {
			return Receipt{}, err
		}
	}
	return m.forward(ctx, info, w, m.copyTo)
}

// Delete is Node's.
func (m *Member) Delete(ctx context.Context, name string, w Write) (Receipt, error) {
	if err := m.admits(ctx, name, w); err != nil {
		return Receipt{}, err
	}
	var info object.Info
	err := m.still(w.Epoch, func() (err error) {
		info, err = m.config.Store.Delete(ctx, name, object.Delete{Version: w.Version, If: w.If})
		return err
	})
	if err != nil {
		return Receipt{}, err
	}
	return m.forward(ctx, info, w, deleteOn)
}

// admits tells whether a write may be made here: its view and its clock are right and,
// unless it is a copy, what it writes would be the newest version.
func (m *Member) admits(ctx context.Context, name string, w Write) error {
	if err := object.CheckName(name); err != nil {
		return err
	}
	if err := m.rise(w.Epoch, false); err != nil {
		return err
	}
	if err := m.config.Clock.Observe(w.Version); err != nil {
		return fmt.Errorf("node %s: writing %q: %w", m.config.Name, name, err)
	}
	if w.Copy {
		return nil
	}
	newest, err := m.newest(ctx, name)
	if err != nil {
		return err
	}
	if newest.Version.Compare(w.Version) > 0 {
		return &object.ConflictError{Newest: newest}
	}
	return nil
}

// newest is Stat's result with no error for marks of deletes and unknown names.
func (m *Member) newest(ctx context.Context, name string) (object.Info, error) {
	info, err := m.config.Store.Stat(ctx, name)
	if err != nil && !errors.Is(err, object.ErrNotFound) {
		return object.Info{}, err
	}
	return info, nil
}

// known fails at a node that was not admitted: what it does not have says nothing.
func (m *Member) known() error {
	m.gate.RLock()
	defer m.gate.RUnlock()
	if m.epoch == 0 {
		return fmt.Errorf("node %s: %w", m.config.Name, ErrBlank)
	}
	return nil
}

// Epoch is that of the newest view that the node heard of; 0 if it was not admitted.
func (m *Member) Epoch() uint64 {
	m.gate.RLock()
	defer m.gate.RUnlock()
	return m.epoch
}

// Get is Node's.
func (m *Member) Get(ctx context.Context, name string, o object.Get) (object.Body, error) {
	if err := m.known(); err != nil {
		return nil, err
	}
	return m.config.Store.Get(ctx, name, o)
}

// Stat is Node's.
func (m *Member) Stat(ctx context.Context, name string, epoch uint64) (object.Info, error) {
	if err := m.rise(epoch, false); err != nil {
		return object.Info{}, err
	}
	return m.newest(ctx, name)
}

// Check is Node's.
func (m *Member) Check(ctx context.Context, name string, v object.Version) error {
	body, err := m.Get(ctx, name, object.Get{Version: v})
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, body)
	return errors.Join(err, body.Close())
}

// History is Node's.
func (m *Member) History(ctx context.Context, name string) ([]object.Info, error) {
	if err := m.known(); err != nil {
		return nil, err
	}
	return m.config.Store.History(ctx, name)
}

// List is Node's.
func (m *Member) List(ctx context.Context, o object.List) (object.Page, error) {
	if err := m.known(); err != nil {
		return object.Page{}, err
	}
	return m.config.Store.List(ctx, o)
}

// Drop is Node's.
func (m *Member) Drop(ctx context.Context, name string, v object.Version, epoch uint64) error {
	if err := m.rise(epoch, false); err != nil {
		return err
	}
	return m.still(epoch, func() error { return m.config.Store.Drop(ctx, name, v) })
}

// Forget is Node's.
func (m *Member) Forget(ctx context.Context, before object.Version, epoch uint64) (int, error) {
	if err := m.rise(epoch, false); err != nil {
		return 0, err
	}
	forgotten := 0
	err := m.still(epoch, func() (err error) {
		forgotten, err = m.config.Store.Forget(ctx, before)
		return err
	})
	return forgotten, err
}

// forward copies what was written here to other nodes and answers when enough have it.
// The other copies go on.
func (m *Member) forward(ctx context.Context, info object.Info, w Write, write copier) (Receipt, error) {
	receipt := Receipt{Info: info, Acked: []string{m.config.Name}}
	if len(w.Forward.To) == 0 {
		return receipt, nil
	}
	onward := w
	onward.Forward, onward.If = Forward{}, object.Condition{}
	onward.Size, onward.Sum = info.Size, &info.Sum
	acked, err := gather(ctx, &m.copying, m.config.Timeout, w.Forward.To, w.Forward.Need-1,
		func(ctx context.Context, to string) error {
			node, err := m.config.Peers(to)
			if err != nil {
				return err
			}
			return write(ctx, node, info.Name, onward)
		}, nil)
	receipt.Acked = append(receipt.Acked, acked...)
	return receipt, err
}

// copier writes a version that is here on another node.
type copier func(ctx context.Context, to Node, name string, w Write) error

func (m *Member) copyTo(ctx context.Context, to Node, name string, w Write) error {
	body, err := m.config.Store.Get(ctx, name, object.Get{Version: w.Version})
	if err != nil {
		return err
	}
	_, err = to.Put(ctx, name, body, w)
	return errors.Join(err, body.Close())
}

func deleteOn(ctx context.Context, to Node, name string, w Write) error {
	_, err := to.Delete(ctx, name, w)
	return err
}
