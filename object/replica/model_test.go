package replica

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"carillon/object"
)

// step is something that happens to a cluster of the model.
type step struct {
	what  string
	name  string
	node  string
	mode  Read
	other bool // by the other coordinator
}

func drawSteps(t *rapid.T) []step {
	whats := []string{"put", "put", "delete", "get", "get", "down", "deaf", "up", "flip", "scrub", "pass", "settle"}
	steps := make([]step, rapid.IntRange(1, 40).Draw(t, "steps"))
	for i := range steps {
		steps[i] = step{
			what:  rapid.SampledFrom(whats).Draw(t, "what"),
			name:  rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "name"),
			node:  rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "node"),
			mode:  Read(rapid.IntRange(0, 3).Draw(t, "mode")),
			other: rapid.Bool().Draw(t, "other"),
		}
	}
	return steps
}

// TestModel compares a cluster with a map of contents, one operation after the other by
// either of two coordinators, while one node at a time is away or deaf, or one copy
// has a bit flipped: everything must go on, and in the end every copy is in its place.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps, server := drawSteps(rt), rapid.Bool().Draw(rt, "server copies")
		var failure string
		synctest.Test(t, func(t *testing.T) { // rapid's Fatal must not be called in a bubble
			m := newModel(t, server)
			for i, s := range steps {
				if failure = m.do(i, s); failure != "" {
					failure = fmt.Sprintf("step %d, %+v: %s", i, s, failure)
					break
				}
			}
			if failure == "" {
				failure = m.end()
			}
			m.close()
		})
		if failure != "" {
			rt.Fatal(failure)
		}
	})
}

// modelled is a cluster and what it should hold.
type modelled struct {
	t      *testing.T
	c      *cluster
	both   [2]*Coordinator
	holds  map[string]string
	broken string // the node that is away or deaf
}

const modelGrace = time.Hour

func newModel(t *testing.T, server bool) *modelled {
	m := &modelled{t: t, c: start(t, "a", "b", "c", "d"), holds: make(map[string]string)}
	view := View{Epoch: 1, Now: mapOf(t, "a", "b", "c", "d")}
	for i := range m.both {
		m.both[i] = m.c.coordinator(view, func(c *Config) { c.Grace, c.ServerCopies = modelGrace, server && i == 0 })
	}
	return m
}

func (m *modelled) close() {
	for _, o := range m.both {
		o.Close()
	}
	for _, member := range m.c.members {
		member.Close()
	}
}

// do makes a step, and says what is wrong with the outcome.
func (m *modelled) do(i int, s step) string {
	ctx, o := m.t.Context(), m.both[0]
	if s.other {
		o = m.both[1]
	}
	switch s.what {
	case "put":
		text := fmt.Sprintf("%s of step %d", s.name, i)
		if _, err := o.Put(ctx, s.name, sourceOf(text)); err != nil {
			return err.Error()
		}
		m.holds[s.name] = text
	case "delete":
		if _, err := o.Delete(ctx, s.name); err != nil {
			return err.Error()
		}
		m.holds[s.name] = ""
	case "get":
		got, err := content(ctx, o, s.name, Newest)
		if err != nil || got != m.holds[s.name] {
			return fmt.Sprintf("got %q, %v, want %q", got, err, m.holds[s.name])
		}
		if _, err := content(ctx, o, s.name, s.mode); err != nil && s.mode != One {
			return err.Error()
		}
	case "down", "deaf":
		return m.breakNode(s)
	case "up":
		m.heal()
	case "flip":
		return m.flip(s)
	case "scrub":
		if _, err := o.Scrub(ctx, Scrub{Deep: s.other}); err != nil {
			return err.Error()
		}
	case "pass":
		time.Sleep(modelGrace / 2)
	case "settle":
		return m.settle()
	}
	return ""
}

// breakNode makes a node unreachable or deaf, after the one that was so is well and knows
// what it missed: two copies must not be missing at once.
func (m *modelled) breakNode(s step) string {
	if failure := m.settle(); failure != "" {
		return failure
	}
	m.broken = s.node
	if s.what == "down" {
		m.c.wire(s.node).down()
	} else {
		m.c.wire(s.node).deaf()
	}
	return ""
}

func (m *modelled) heal() {
	if m.broken != "" {
		m.c.wire(m.broken).up()
		m.broken = ""
	}
}

// settle heals the cluster and scrubs it.
func (m *modelled) settle() string {
	m.heal()
	synctest.Wait()
	if got, err := m.both[0].Scrub(m.t.Context(), Scrub{Deep: true}); err != nil || !got.Settled() {
		return fmt.Sprintf("settling: %+v, %v", got, err)
	}
	return ""
}

// flip damages a copy, reads the object all the same, and expects a scrub to mend it.
func (m *modelled) flip(s step) string {
	if failure := m.settle(); failure != "" {
		return failure
	}
	flipped := m.c.stores[s.node].flip(s.name)
	got, err := content(m.t.Context(), m.both[1], s.name, s.mode)
	if err != nil || got != m.holds[s.name] {
		return fmt.Sprintf("with a flipped bit: got %q, %v, want %q", got, err, m.holds[s.name])
	}
	synctest.Wait() // the read may have mended it
	if failure := m.settle(); failure != "" {
		return failure
	}
	if err := m.c.members[s.node].Check(m.t.Context(), s.name, object.Version{}); flipped && err != nil {
		return fmt.Sprintf("the flipped bit was not mended: %v", err)
	}
	return ""
}

// end compares every copy, and lets what was deleted be forgotten.
func (m *modelled) end() string {
	if failure := m.settle(); failure != "" {
		return failure
	}
	time.Sleep(2 * modelGrace)
	if failure := m.settle(); failure != "" {
		return failure
	}
	for name, text := range m.holds {
		copies := m.c.copies(name)
		if text == "" {
			if len(copies) > 0 {
				return fmt.Sprintf("deleted %s is on %v", name, copies)
			}
			continue
		}
		if len(copies) != 3 {
			return fmt.Sprintf("%s is on %v", name, copies)
		}
		for _, node := range m.both[0].view.Load().Now.Place(name) {
			if copies[node].Sum != object.SumOf([]byte(text)) {
				return fmt.Sprintf("%s on %s is %+v, want %q", name, node, copies[node], text)
			}
		}
	}
	return ""
}
