package replica

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"carillon/object"
)

const hot = "hot"

// overwriting is a name that somebody writes while another reads it.
type overwriting struct {
	t      *testing.T
	c      *cluster
	reader *Coordinator
	writer *Coordinator
	puts   int
	nodes  []string // of the name, the first one first
}

// overwrite runs a test with a name that was put once.
func overwrite(t *testing.T, test func(w *overwriting)) {
	bubble(t, nil, func(t *testing.T, c *cluster, o *Coordinator) {
		w := &overwriting{t: t, c: c, reader: o, writer: c.coordinator(*o.view.Load(), nil), nodes: o.view.Load().Now.Place(hot)}
		defer w.writer.Close()
		w.put()
		test(w)
	})
}

func (w *overwriting) newest() string { return fmt.Sprintf("put %d", w.puts) }

func (w *overwriting) put() {
	w.puts++
	if _, err := w.writer.Put(w.t.Context(), hot, sourceOf(w.newest())); err != nil {
		w.t.Error(err)
	}
	synctest.Wait() // for the third copy
}

// displace puts so often that a store keeps nothing of what was there.
func (w *overwriting) displace() {
	for range keep {
		w.put()
	}
}

// remove deletes so often that a store keeps nothing but the marks.
func (w *overwriting) remove() {
	for range keep {
		if _, err := w.writer.Delete(w.t.Context(), hot); err != nil {
			w.t.Error(err)
		}
	}
	synctest.Wait()
}

// meanwhile does something whenever one of some nodes is read from, before it answers, and one thing at a time.
func (w *overwriting) meanwhile(nodes []string, do func(op string)) {
	turn := make(chan struct{}, 1)
	for _, node := range nodes {
		w.c.wire(node).set(func(op string) (error, error) {
			if op == "stat" || op == "get" {
				turn <- struct{}{}
				do(op)
				<-turn
			}
			return nil, nil
		})
	}
}

// beforeGet does something whenever a content is got from one of some nodes.
func (w *overwriting) beforeGet(nodes []string, do func()) {
	w.meanwhile(nodes, func(op string) {
		if op == "get" {
			do()
		}
	})
}

// stop is a SIGSTOP: requests get no answer until resume is called.
func (w *overwriting) stop(node string) (resume func()) {
	stopped := make(chan struct{})
	w.c.wire(node).set(func(string) (error, error) { <-stopped; return nil, nil })
	return func() { w.c.wire(node).up(); close(stopped) }
}

// TestNewestWhileItIsOverwritten displaces what a read has found to be newest before it is got: what has displaced it is read,
// without waiting for a node that is stopped.
func TestNewestWhileItIsOverwritten(t *testing.T) {
	for _, stopped := range []bool{false, true} {
		overwrite(t, func(w *overwriting) {
			w.beforeGet(w.nodes, w.displace)
			if stopped {
				defer w.stop(w.nodes[2])()
			}
			begun := time.Now()
			got, err := content(w.t.Context(), w.reader, hot, Newest)
			if took := time.Since(begun); err != nil || got != w.newest() || w.puts == 1 || took != 0 {
				w.t.Errorf("a node is stopped: %v: got %q, %v, in %v, want %q", stopped, got, err, took, w.newest())
			}
		})
	}
}

// TestNewestWhileItsNodeStops: the one node that had the newest version when it was asked stops then, and what the others have
// got meanwhile is newer.
func TestNewestWhileItsNodeStops(t *testing.T) {
	overwrite(t, func(w *overwriting) {
		has, hasNot, late := w.nodes[0], w.nodes[1], w.nodes[2]
		w.c.wire(hasNot).down()
		w.put()
		w.c.wire(hasNot).up()
		resumeLate := w.stop(late)
		w.beforeGet([]string{has}, func() {
			resumeLate()
			time.AfterFunc(time.Minute, w.stop(has))
			w.displace()
			time.Sleep(10 * time.Second) // ten times the timeout
		})
		if got, err := content(w.t.Context(), w.reader, hot, Newest); err != nil || got != w.newest() {
			w.t.Errorf("got %q, %v, want %q", got, err, w.newest())
		}
	})
}

// TestNewestWhileItIsDeleted: then, and only then, there is none.
func TestNewestWhileItIsDeleted(t *testing.T) {
	overwrite(t, func(w *overwriting) {
		w.beforeGet(w.nodes, w.remove)
		defer w.stop(w.nodes[2])()
		if _, err := w.reader.Get(w.t.Context(), hot, Newest, object.Get{}); !errors.Is(err, object.ErrNotFound) || errors.Is(err, ErrTooFew) {
			w.t.Errorf("deleted meanwhile: %v", err)
		}
	})
}

// TestNewestThatComesAndGoes is deleted whenever it was found, and put again. A read does not try for ever, and does not say that
// there is none.
func TestNewestThatComesAndGoes(t *testing.T) {
	overwrite(t, func(w *overwriting) {
		defer w.stop(w.nodes[2])()
		there := true
		w.meanwhile(w.nodes[:2], func(op string) {
			switch {
			case op == "get" && there:
				w.remove()
			case op == "stat" && !there:
				w.put()
			default:
				return
			}
			there = !there
		})
		_, err := w.reader.Get(w.t.Context(), hot, Newest, object.Get{})
		if !errors.Is(err, ErrTooFew) || errors.Is(err, object.ErrNotFound) || w.puts != maxAttempts {
			w.t.Errorf("put %d times, and a read says %v", w.puts, err)
		}
	})
}

// TestVersionThatAStoppedNodeMayHave: it is not for the others to say that there is none.
func TestVersionThatAStoppedNodeMayHave(t *testing.T) {
	overwrite(t, func(w *overwriting) {
		first, err := w.reader.Stat(w.t.Context(), hot)
		if err != nil {
			w.t.Fatal(err)
		}
		defer w.stop(w.nodes[2])()
		w.displace()
		for _, mode := range []Read{Newest, Race, Failover, One} {
			_, err := w.reader.Get(w.t.Context(), hot, mode, object.Get{Version: first.Version})
			if !errors.Is(err, ErrTooFew) || errors.Is(err, object.ErrNotFound) {
				w.t.Errorf("mode %d: %v", mode, err)
			}
		}
	})
}

// TestBodyThatCannotGoOn breaks off in the middle, when no other node has the version any more.
func TestBodyThatCannotGoOn(t *testing.T) {
	overwrite(t, func(w *overwriting) {
		put(w.t, w.writer, hot, strings.Repeat("0123456789", 1000))
		synctest.Wait()
		w.c.wires[w.nodes[0]] = &wire{Node: breaking{w.c.members[w.nodes[0]], 777}}
		body, err := w.reader.Get(w.t.Context(), hot, Failover, object.Get{})
		if err != nil {
			w.t.Fatal(err)
		}
		w.displace()
		if got, err := io.ReadAll(body); !errors.Is(err, errDown) || errors.Is(err, object.ErrNotFound) {
			w.t.Errorf("read %d bytes, %v", len(got), err)
		}
	})
}

// TestMendWhileItIsOverwritten displaces what is to be copied to a node that missed it.
func TestMendWhileItIsOverwritten(t *testing.T) {
	overwrite(t, func(w *overwriting) {
		w.c.wire(w.nodes[2]).down()
		w.put()
		w.c.wire(w.nodes[2]).up()
		w.beforeGet(w.nodes, sync.OnceFunc(w.displace))
		if got, err := w.reader.Scrub(w.t.Context(), Scrub{}); err != nil || !got.Settled() {
			w.t.Errorf("%+v, %v", got, err)
		}
	})
}
