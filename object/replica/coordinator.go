package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"carillon/object"
	"carillon/object/clock"
	"carillon/object/placement"
)

// Defaults of Config.
const (
	DefaultTimeout = 30 * time.Second
	DefaultGrace   = 24 * time.Hour
)

// View is what a coordinator knows of the cluster. Views come one after the other, from one place that
// numbers them; a node that has heard of one refuses what is done by an earlier.
type View struct {
	Epoch uint64 // 1 or more
	Now   *placement.Map
	// Before is the map of the view before, as long as objects may still be where it says;
	// nil afterwards. It is done with when a Scrub of everything settled everything.
	Before *placement.Map
	// Lost are nodes of Before whose objects are gone for good, also if a node of the same name
	// is in Now. To declare a node lost that is only away is to give up what it alone knows.
	Lost []string
}

// Config is what a Coordinator needs.
type Config struct {
	Node  func(name string) (Node, error)
	Clock *clock.Clock // with a number of its own, drawn at random at start
	// Need is W: how many nodes must have a write before it is acknowledged. 0 means most of the copies. Where
	// there are fewer copies, because there are so few nodes, it is all of them.
	Need int
	// ServerCopies lets the first node make the others' copies; otherwise the coordinator sends each its own.
	ServerCopies bool
	Timeout      time.Duration // bounds what one node does for one request
	// Grace is how long marks of deletes are kept. It must be far longer than any request lives.
	Grace time.Duration
	Log   *slog.Logger
}

// Coordinator does to all copies what callers ask to do to an object. Its methods may be
// called by many goroutines at once.
type Coordinator struct {
	config   Config
	view     atomic.Pointer[View]
	latency  latency
	repairs  repairs
	contents sync.Pool      // of *[]byte, for small contents on their way
	working  sync.WaitGroup // requests to nodes, some of which outlive the answer they were made for
	counts   counts
}

type counts struct {
	hedges, resumed, mended, dropped, overflow atomic.Int64
}

// Stats counts since the start.
type Stats struct {
	Hedges   int64 // second reads that were begun because the first took long
	Resumed  int64 // reads that went on at another node
	Copied   int64 // copies that repairs made
	Dropped  int64 // copies that repairs removed
	Overflow int64 // repairs not queued because the queue was full; a scrub finds them
}

// New makes a coordinator. The caller closes it.
func New(config Config, view View) (*Coordinator, error) {
	if config.Timeout <= 0 {
		config.Timeout = DefaultTimeout
	}
	if config.Grace <= 0 {
		config.Grace = DefaultGrace
	}
	if config.Grace < 10*config.Timeout {
		return nil, fmt.Errorf("marks of deletes are to be kept for %v, want at least ten times the timeout of %v", config.Grace, config.Timeout)
	}
	c := &Coordinator{config: config}
	if err := c.SetView(view); err != nil {
		return nil, err
	}
	c.repairs.start(c)
	return c, nil
}

// Close ends repairs and waits for the writes that still go on. Nothing else may be called any more.
func (c *Coordinator) Close() {
	c.repairs.stop()
	c.working.Wait()
}

// SetView replaces the view. The new one's epoch must be higher.
func (c *Coordinator) SetView(view View) error {
	if view.Epoch == 0 || view.Now == nil {
		return errors.New("view of the cluster: want an epoch of 1 or more, and a map")
	}
	if c.config.Need < 0 {
		return fmt.Errorf("view %d: %d acknowledgements are wanted", view.Epoch, c.config.Need)
	}
	for {
		old := c.view.Load()
		if old != nil && old.Epoch >= view.Epoch {
			return fmt.Errorf("view %d after view %d: %w", view.Epoch, old.Epoch, ErrStale)
		}
		if c.view.CompareAndSwap(old, &view) {
			return nil
		}
	}
}

// Seal tells all nodes of the view its epoch, after which no write by an earlier view can be
// acknowledged. Moving objects begins with it. It fails unless all nodes answer that are not
// lost.
func (c *Coordinator) Seal(ctx context.Context) error {
	view := c.view.Load()
	var missing []error
	nodes := view.members()
	answers := ask(ctx, &c.working, nodes, func(ctx context.Context, node string) (object.Info, error) {
		return c.stat(ctx, node, "seal", view.Epoch)
	})
	for range nodes {
		if a := <-answers; a.err != nil {
			missing = append(missing, fmt.Errorf("node %s: %w", a.node, a.err))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("sealing epoch %d: %w: %w", view.Epoch, ErrTooFew, errors.Join(missing...))
	}
	return nil
}

// Stats is what was counted so far.
func (c *Coordinator) Stats() Stats {
	return Stats{
		Hedges: c.counts.hedges.Load(), Resumed: c.counts.resumed.Load(), Copied: c.counts.mended.Load(),
		Dropped: c.counts.dropped.Load(), Overflow: c.counts.overflow.Load(),
	}
}

// members is all nodes that may have objects, of both maps, without those that are lost.
func (v *View) members() []string {
	var names []string
	for _, n := range v.Now.Nodes() {
		names = append(names, n.Name)
	}
	if v.Before != nil {
		for _, n := range v.Before.Nodes() {
			if !slices.Contains(v.Lost, n.Name) {
				names = union(names, []string{n.Name})
			}
		}
	}
	return names
}

// holders is where the copies of a name belong, and where they may be besides: on the
// nodes of the old map that are not lost.
func (v *View) holders(name string) (now, all []string) {
	now = v.Now.Place(name)
	if v.Before == nil {
		return now, now
	}
	before := slices.DeleteFunc(v.Before.Place(name), func(n string) bool { return slices.Contains(v.Lost, n) })
	return now, union(now, before)
}

// need is W.
func (c *Coordinator) need(v *View) int {
	if c.config.Need > 0 {
		return min(c.config.Need, v.Now.Copies())
	}
	return majority(v.Now)
}

// majority is how many of the copies on a map are most of them.
func majority(m *placement.Map) int { return m.Copies()/2 + 1 }

// enough tells whether those who answered include one that has any acknowledged write: of each map
// so many nodes that those who did not answer are fewer than W.
func (c *Coordinator) enough(v *View, name string, answered []string) bool {
	covers := func(m *placement.Map, lost []string) bool {
		missing := 0
		for _, n := range m.Place(name) {
			if !slices.Contains(answered, n) || slices.Contains(lost, n) {
				missing++
			}
		}
		need := c.config.Need
		if need == 0 {
			need = majority(m)
		}
		return missing < min(need, m.Copies())
	}
	return covers(v.Now, nil) && (v.Before == nil || covers(v.Before, v.Lost))
}

func (c *Coordinator) stat(ctx context.Context, node, name string, epoch uint64) (object.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	n, err := c.config.Node(node)
	if err != nil {
		return object.Info{}, err
	}
	return n.Stat(ctx, name, epoch)
}
