package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"carillon/object"
)

// maxRepairs bounds the names that wait to be mended. What does not fit is left to the
// next scrub.
const maxRepairs = 4096

// repair is a name to mend.
type repair struct {
	name string
	deep bool // read the copies, too
}

// repairs is the queue of names to mend, with one goroutine that mends them.
type repairs struct {
	queue chan repair
	done  chan struct{} // closed when the goroutine ended
	end   context.CancelFunc
	c     *Coordinator

	mu     sync.Mutex
	queued map[repair]bool // guarded by mu
	closed bool            // guarded by mu
}

func (r *repairs) start(c *Coordinator) {
	ctx, cancel := context.WithCancel(context.Background())
	r.c, r.end = c, cancel
	r.queue, r.done, r.queued = make(chan repair, maxRepairs), make(chan struct{}), make(map[repair]bool)
	go func() {
		defer close(r.done)
		for next := range r.queue {
			r.mu.Lock()
			delete(r.queued, next)
			r.mu.Unlock()
			if _, err := c.mend(ctx, next.name, nil, next.deep); err != nil && ctx.Err() == nil && c.config.Log != nil {
				c.config.Log.Warn("an object could not be mended", "name", next.name, "err", err)
			}
		}
	}()
}

func (r *repairs) add(next repair) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.queued[next] {
		return
	}
	select {
	case r.queue <- next:
		r.queued[next] = true
	default:
		r.c.counts.overflow.Add(1)
	}
}

// stop ends the goroutine after the repair it is at.
func (r *repairs) stop() {
	r.mu.Lock()
	if !r.closed {
		r.closed = true
		close(r.queue)
	}
	r.mu.Unlock()
	r.end()
	<-r.done
}

// Mended is what was done about a name.
type Mended struct {
	Newest   object.Info // the mark of a delete, if it is that
	Copied   int         // copies made where they were missing or stale
	Repaired int         // copies replaced that were damaged
	Dropped  int         // copies removed where none belongs
	// Settled: every node that should have the newest version has it, every other that can be known has nothing.
	Settled bool
}

// mend brings the newest version of a name to all nodes where it belongs, and removes it from others when
// they have it. Nodes besides those of the view that may have a copy are extra. If deep, the
// copies are read on their nodes and damaged ones replaced from good ones. The error says what
// could not be done; the rest was. If the name is overwritten meanwhile, that version is brought to all.
func (c *Coordinator) mend(ctx context.Context, name string, extra []string, deep bool) (mended Mended, err error) {
	for range maxAttempts {
		var m Mended
		m, err = c.mendOnce(ctx, name, extra, deep)
		m.Copied, m.Repaired, m.Dropped = m.Copied+mended.Copied, m.Repaired+mended.Repaired, m.Dropped+mended.Dropped
		mended = m
		if !errors.Is(err, object.ErrNotFound) {
			break
		}
	}
	return mended, err
}

// mendOnce fails with ErrNotFound among its errors if what it found to be newest is displaced before it could be copied.
func (c *Coordinator) mendOnce(ctx context.Context, name string, extra []string, deep bool) (Mended, error) {
	view := c.view.Load()
	now, all := view.holders(name)
	all = union(all, extra)
	m := mending{c: c, view: view, name: name, at: make(map[string]object.Version)}
	answers := ask(ctx, &c.working, all, func(ctx context.Context, node string) (object.Info, error) {
		return c.stat(ctx, node, name, view.Epoch)
	})
	for range all {
		a := <-answers
		if a.err != nil {
			m.fail(a.node, a.err)
			continue
		}
		m.at[a.node] = a.value.Version
		if a.value.Version.Compare(m.Newest.Version) > 0 {
			m.Newest = a.value
		}
	}
	if m.Newest.Version.IsZero() {
		m.Settled = len(m.failures) == 0
		return m.Mended, m.err()
	}
	for _, node := range all {
		if v, known := m.at[node]; known && v == m.Newest.Version {
			m.good = append(m.good, node)
		}
	}
	if deep && !m.Newest.Deleted {
		m.check(ctx)
	}
	m.copy(ctx, now)
	m.drop(ctx, now)
	m.Settled = len(m.failures) == 0
	c.counts.mended.Add(int64(m.Copied + m.Repaired))
	c.counts.dropped.Add(int64(m.Dropped))
	return m.Mended, m.err()
}

// mending is a mend in progress. One goroutine owns it.
type mending struct {
	Mended
	c        *Coordinator
	view     *View
	name     string
	at       map[string]object.Version // the newest version of each node that answered
	good     []string                  // nodes with a copy of the newest version
	damaged  []string                  // nodes whose copy of it is damaged
	failures []error
}

func (m *mending) fail(node string, err error) {
	m.failures = append(m.failures, fmt.Errorf("node %s: %w", node, err))
}

func (m *mending) err() error {
	if len(m.failures) == 0 {
		return nil
	}
	return fmt.Errorf("mending %q: %w", m.name, errors.Join(m.failures...))
}

// check has the good copies read, and sorts out those that are not good.
func (m *mending) check(ctx context.Context) {
	answers := ask(ctx, &m.c.working, m.good, func(ctx context.Context, node string) (struct{}, error) {
		n, err := m.c.config.Node(node)
		if err != nil {
			return struct{}{}, err
		}
		return struct{}{}, n.Check(ctx, m.name, m.Newest.Version)
	})
	for range len(m.good) {
		a := <-answers
		if a.err == nil {
			continue
		}
		m.good = slices.DeleteFunc(slices.Clone(m.good), func(n string) bool { return n == a.node })
		if errors.Is(a.err, object.ErrDamaged) {
			m.damaged = append(m.damaged, a.node)
		} else {
			m.fail(a.node, a.err)
		}
	}
}

// copy brings the newest version to where it belongs and is not, or is damaged.
func (m *mending) copy(ctx context.Context, now []string) {
	for _, node := range now {
		if _, known := m.at[node]; !known || slices.Contains(m.good, node) {
			continue
		}
		damaged := slices.Contains(m.damaged, node)
		if m.at[node] == m.Newest.Version && !damaged {
			continue // it could not be checked, which is said already
		}
		if err := m.transfer(ctx, node, damaged); err != nil {
			m.fail(node, err)
			continue
		}
		m.good = append(m.good, node)
		if damaged {
			m.Repaired++
		} else {
			m.Copied++
		}
	}
}

// transfer copies the newest version from the first good node that can give it.
func (m *mending) transfer(ctx context.Context, to string, damaged bool) error {
	ctx, cancel := context.WithTimeout(ctx, m.c.config.Timeout)
	defer cancel()
	node, err := m.c.config.Node(to)
	if err != nil {
		return err
	}
	return m.transferTo(ctx, node, damaged)
}

func (m *mending) transferTo(ctx context.Context, node Node, damaged bool) error {
	w := Write{Epoch: m.view.Epoch, Version: m.Newest.Version, Copy: true, Repair: damaged}
	if m.Newest.Deleted {
		return deleteOn(ctx, node, m.name, w)
	}
	w.Size, w.Sum = m.Newest.Size, &m.Newest.Sum
	err := fmt.Errorf("no good copy of version %v: %w", m.Newest.Version, object.ErrDamaged)
	for _, from := range m.good {
		if failed := m.pipe(ctx, from, node, w); failed != nil {
			err = fmt.Errorf("copying from node %s: %w", from, failed)
			continue
		}
		return nil
	}
	return err
}

func (m *mending) pipe(ctx context.Context, from string, to Node, w Write) error {
	source, err := m.c.config.Node(from)
	if err != nil {
		return err
	}
	body, err := source.Get(ctx, m.name, object.Get{Version: w.Version})
	if err != nil {
		return err
	}
	_, err = to.Put(ctx, m.name, body, w)
	return errors.Join(err, body.Close())
}

// drop removes extra copies, if all that belong are there.
func (m *mending) drop(ctx context.Context, now []string) {
	for _, node := range now {
		if !slices.Contains(m.good, node) {
			return
		}
	}
	for node, v := range m.at {
		if v.IsZero() || slices.Contains(now, node) {
			continue
		}
		n, err := m.c.config.Node(node)
		if err == nil {
			err = n.Drop(ctx, m.name, m.Newest.Version, m.view.Epoch)
		}
		if err != nil {
			m.fail(node, err)
			continue
		}
		m.Dropped++
	}
}
