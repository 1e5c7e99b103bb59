package replica

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"carillon/object"
	"carillon/object/clock"
)

// bubble runs a test in which time passes only when all sleep, with three nodes and a
// coordinator.
func bubble(t *testing.T, adjust func(*Config), test func(t *testing.T, c *cluster, o *Coordinator)) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, "a", "b", "c")
		o := c.coordinator(View{Epoch: 1, Now: mapOf(t, "a", "b", "c")}, adjust)
		defer o.Close()
		test(t, c, o)
	})
}

func put(t *testing.T, o *Coordinator, name, content string) object.Info {
	t.Helper()
	info, err := o.Put(t.Context(), name, sourceOf(content))
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func want(t *testing.T, o *Coordinator, name string, mode Read, want string) {
	t.Helper()
	if got, err := content(t.Context(), o, name, mode); err != nil || got != want {
		t.Errorf("mode %d reads %q, %v, want %q", mode, got, err, want)
	}
}

func TestPutGetDelete(t *testing.T) {
	for _, server := range []bool{false, true} {
		bubble(t, func(c *Config) { c.ServerCopies = server }, func(t *testing.T, c *cluster, o *Coordinator) {
			put(t, o, "n", "first")
			put(t, o, "n", "second")
			synctest.Wait()
			if got := c.copies("n"); len(got) != 3 {
				t.Errorf("%d copies", len(got))
			}
			for _, mode := range []Read{Newest, Race, Failover, One} {
				want(t, o, "n", mode, "second")
			}
			if _, err := o.Delete(t.Context(), "n"); err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // the third node's mark: all modes but Newest may see an older version until then
			for _, mode := range []Read{Newest, Race, Failover, One} {
				want(t, o, "n", mode, "")
			}
			if _, err := o.Stat(t.Context(), "n"); !errors.Is(err, object.ErrNotFound) {
				t.Errorf("stat of what was deleted: %v", err)
			}
		})
	}
}

// TestServerCopiesSendTheBodyOnce counts what the client sends.
func TestServerCopiesSendTheBodyOnce(t *testing.T) {
	bubble(t, func(c *Config) { c.ServerCopies = true }, func(t *testing.T, c *cluster, o *Coordinator) {
		opened := 0
		s := sourceOf("content")
		open := s.Open
		s.Open = func() (io.ReadCloser, error) { opened++; return open() }
		if _, err := o.Put(t.Context(), "n", s); err != nil || opened != 1 {
			t.Errorf("the content was sent %d times, %v", opened, err)
		}
		first := o.view.Load().Now.Place("m")[0]
		c.wire(first).down()
		opened = 0
		if _, err := o.Put(t.Context(), "m", s); err != nil {
			t.Errorf("with the first node down: %v", err)
		}
		want(t, o, "m", Newest, "content")
	})
}

func TestWritesNeedW(t *testing.T) {
	for _, server := range []bool{false, true} {
		bubble(t, func(c *Config) { c.ServerCopies = server }, func(t *testing.T, c *cluster, o *Coordinator) {
			c.wire("a").down()
			put(t, o, "n", "with two")
			c.wire("b").down()
			if _, err := o.Put(t.Context(), "n", sourceOf("with one")); !errors.Is(err, ErrUncertain) {
				t.Errorf("a put with one node: %v", err)
			}
			if _, err := content(t.Context(), o, "n", Newest); !errors.Is(err, ErrTooFew) {
				t.Errorf("a get with one node: %v", err)
			}
			if _, err := content(t.Context(), o, "unknown", Race); !errors.Is(err, ErrTooFew) {
				t.Errorf("one node tells that there is none: %v", err)
			}
		})
	}
}

// TestReadRepair brings a copy to a node that was away as soon as somebody reads.
func TestReadRepair(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *cluster, o *Coordinator) {
		for _, node := range []string{"a", "b", "c"} {
			c.wire(node).down()
			put(t, o, "n", "without "+node)
			synctest.Wait()
			c.wire(node).up()
			others := slices.DeleteFunc([]string{"a", "b", "c"}, func(n string) bool { return n == node })
			c.wire(others[0]).down() // so that the read must see the stale one
			want(t, o, "n", Newest, "without "+node)
			synctest.Wait()
			c.wire(others[0]).up()
			c.wire(others[1]).down()
			want(t, o, "n", Newest, "without "+node)
			c.wire(others[1]).up()
			if got := c.copies("n")[node]; got.Sum != object.SumOf([]byte("without "+node)) {
				t.Errorf("node %s has %v", node, got)
			}
		}
	})
}

// TestSlowClock: who overwrites wins, be its clock behind.
func TestSlowClock(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *cluster, o *Coordinator) {
		slow := c.coordinator(View{Epoch: 1, Now: mapOf(t, "a", "b", "c")}, func(c *Config) {
			c.Clock = clock.New(99, func() time.Time { return time.Now().Add(-time.Hour) }, 2*time.Hour)
		})
		defer slow.Close()
		put(t, o, "n", "first")
		put(t, slow, "n", "second")
		want(t, o, "n", Newest, "second")
		fast := c.coordinator(View{Epoch: 1, Now: mapOf(t, "a", "b", "c")}, func(c *Config) {
			c.Clock = clock.New(98, func() time.Time { return time.Now().Add(time.Hour) }, 2*time.Hour)
		})
		defer fast.Close()
		if _, err := fast.Put(t.Context(), "n", sourceOf("third")); !errors.Is(err, clock.ErrSkew) {
			t.Errorf("a put from the future: %v", err)
		}
		want(t, o, "n", Newest, "second")
	})
}

// TestHedge: a stopped node costs a read the hedge, not the timeout.
func TestHedge(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *cluster, o *Coordinator) {
		put(t, o, "n", "content")
		synctest.Wait()
		took := func(d time.Duration) func(string) (error, error) {
			return func(string) (error, error) { time.Sleep(d); return nil, nil }
		}
		nodes := o.view.Load().Now.Place("n")
		for _, n := range nodes {
			c.wire(n).set(took(2 * time.Millisecond))
		}
		for range 2 * fewLatencies {
			want(t, o, "n", Race, "content")
		}
		if got := o.Stats().Hedges; got != 0 {
			t.Errorf("%d reads were hedged while all were as fast", got)
		}
		c.wire(nodes[0]).set(took(900 * time.Millisecond))
		begun := time.Now()
		want(t, o, "n", Race, "content")
		if d := time.Since(begun); d != 4250*time.Microsecond || o.Stats().Hedges != 1 {
			t.Errorf("a read took %v with %d hedges, want the hedge of 2.25 ms and 2 ms", d, o.Stats().Hedges)
		}
	})
}

// breaking is a node whose bodies end in an error after some bytes.
type breaking struct {
	Node
	after int64
}

func (b breaking) Get(ctx context.Context, name string, o object.Get) (object.Body, error) {
	body, err := b.Node.Get(ctx, name, o)
	if err != nil {
		return nil, err
	}
	return broken{body, io.MultiReader(io.LimitReader(body, b.after), failing{})}, nil
}

type broken struct {
	object.Body
	part io.Reader
}

func (b broken) Read(p []byte) (int, error) { return b.part.Read(p) }

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errDown }

// TestReadsGoOnElsewhere breaks off a body in the middle, whole and of a range.
func TestReadsGoOnElsewhere(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *cluster, o *Coordinator) {
		long := strings.Repeat("0123456789", 1000)
		put(t, o, "n", long)
		synctest.Wait()
		first := o.view.Load().Now.Place("n")[0]
		c.wires[first] = &wire{Node: breaking{c.members[first], 777}}
		for _, mode := range []Read{Race, Failover, One} {
			want(t, o, "n", mode, long)
		}
		body, err := o.Get(t.Context(), "n", Failover, object.Get{Offset: 5, Length: 2000})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(body); err != nil || string(got) != long[5:2005] {
			t.Errorf("a range of %d bytes, %v", len(got), err)
		}
		if got := o.Stats().Resumed; got != 4 {
			t.Errorf("%d reads went on elsewhere, want 4", got)
		}
	})
}

// TestFlippedBits: a damaged copy is never read and is mended, also by who reads.
func TestFlippedBits(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *cluster, o *Coordinator) {
		put(t, o, "n", "content")
		synctest.Wait()
		nodes := o.view.Load().Now.Place("n")
		c.stores[nodes[0]].flip("n")
		want(t, o, "n", One, "content")
		synctest.Wait()
		if err := c.members[nodes[0]].Check(t.Context(), "n", object.Version{}); err != nil {
			t.Errorf("after the read: %v", err)
		}
		c.stores[nodes[1]].flip("n")
		c.stores[nodes[2]].flip("n")
		if got, err := o.Scrub(t.Context(), Scrub{}); err != nil || got.Repaired != 0 {
			t.Errorf("a scrub that does not read: %+v, %v", got, err)
		}
		if got, err := o.Scrub(t.Context(), Scrub{Deep: true}); err != nil || got.Repaired != 2 || !got.Settled() {
			t.Errorf("a deep scrub: %+v, %v", got, err)
		}
		for _, n := range nodes {
			c.stores[n].flip("n")
		}
		var told error
		got, err := o.Scrub(t.Context(), Scrub{Deep: true, Report: func(_ string, _ Mended, err error) error { told = err; return nil }})
		if err != nil || got.Failed != 1 || !errors.Is(told, object.ErrDamaged) {
			t.Errorf("no good copy left: %+v, %v, told %v", got, err, told)
		}
		if _, err := content(t.Context(), o, "n", Newest); !errors.Is(err, object.ErrDamaged) {
			t.Errorf("no good copy left, and a read says %v", err)
		}
	})
}

// TestDeletesDoNotComeBack lets a node sleep through a delete, and scrubs before and
// after it is back.
func TestDeletesDoNotComeBack(t *testing.T) {
	bubble(t, func(c *Config) { c.Grace = time.Hour }, func(t *testing.T, c *cluster, o *Coordinator) {
		put(t, o, "n", "content")
		synctest.Wait()
		c.wire("c").down()
		if _, err := o.Delete(t.Context(), "n"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		got, err := o.Scrub(t.Context(), Scrub{})
		if err != nil || got.Forgotten != 0 || got.Settled() {
			t.Errorf("a scrub without a node that knows no better: %+v, %v", got, err)
		}
		c.wire("c").up()
		want(t, o, "n", Newest, "")
		synctest.Wait()
		got, err = o.Scrub(t.Context(), Scrub{})
		if err != nil || got.Forgotten != 3 || !got.Settled() {
			t.Errorf("a scrub with all nodes: %+v, %v", got, err)
		}
		if left := c.copies("n"); len(left) != 0 {
			t.Errorf("%v is left", left)
		}
		want(t, o, "n", Newest, "")
	})
}

func TestList(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *cluster, o *Coordinator) {
		for _, name := range []string{"x/1", "x/2", "x/3", "y"} {
			put(t, o, name, name)
		}
		if _, err := o.Delete(t.Context(), "x/2"); err != nil {
			t.Fatal(err)
		}
		c.wire("b").down()
		var names []string
		for after := ""; ; {
			page, err := o.List(t.Context(), object.List{Prefix: "x/", After: after, Limit: 1})
			if err != nil {
				t.Fatal(err)
			}
			for _, info := range page.Objects {
				names = append(names, info.Name)
			}
			if after = page.Next; after == "" {
				break
			}
		}
		if got := strings.Join(names, " "); got != "x/1 x/3" {
			t.Errorf("listed %s", got)
		}
		c.wire("c").down()
		if _, err := o.List(t.Context(), object.List{}); !errors.Is(err, ErrTooFew) {
			t.Errorf("a list of one node: %v", err)
		}
	})
}

func TestBadNamesAreRefused(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *cluster, o *Coordinator) {
		for _, name := range []string{"", "../x", "\xff", strings.Repeat("x", 4096)} {
			_, put := o.Put(t.Context(), name, sourceOf(""))
			_, get := o.Get(t.Context(), name, Newest, object.Get{})
			_, remove := o.Delete(t.Context(), name)
			_, set := o.CompareAndSet(t.Context(), name, object.Version{}, sourceOf(""))
			for _, err := range []error{put, get, remove, set} {
				if !errors.Is(err, object.ErrName) {
					t.Errorf("%.10q: %v", name, err)
				}
			}
		}
		if c.wire("a").calls.Load() != 0 {
			t.Errorf("bad names were sent to nodes")
		}
		wrong := sourceOf("content")
		wrong.Sum = &object.Sum{}
		if _, err := o.Put(t.Context(), "n", wrong); !errors.Is(err, object.ErrSum) || errors.Is(err, ErrUncertain) {
			t.Errorf("a wrong checksum: %v", err)
		}
	})
}

// TestBlankNodeSaysNothing: what a node that was not admitted does not have is no answer.
func TestBlankNodeSaysNothing(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *cluster, o *Coordinator) {
		put(t, o, "n", "first")
		put(t, o, "n", "second")
		synctest.Wait()
		if versions, err := o.History(t.Context(), "n"); err != nil || len(versions) != 2 || versions[0].Version.Compare(versions[1].Version) <= 0 {
			t.Errorf("history: %+v, %v", versions, err)
		}
		blank := c.replace("b")
		if _, err := blank.List(t.Context(), object.List{}); !errors.Is(err, ErrBlank) {
			t.Errorf("list: %v", err)
		}
		if _, err := blank.Get(t.Context(), "n", object.Get{}); !errors.Is(err, ErrBlank) {
			t.Errorf("get: %v", err)
		}
		if _, err := blank.History(t.Context(), "n"); !errors.Is(err, ErrBlank) {
			t.Errorf("history: %v", err)
		}
		c.wire("a").down()
		if _, err := o.List(t.Context(), object.List{}); !errors.Is(err, ErrTooFew) {
			t.Errorf("a listing of one node of three: %v", err)
		}
		if _, err := o.History(t.Context(), "n"); !errors.Is(err, ErrTooFew) {
			t.Errorf("a history of one node of three: %v", err)
		}
		c.wire("a").up()
	})
}
