package replica

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"carillon/object"
	"carillon/object/clock"
)

// queueing is a wire with a queue: whatever is put waits until the test lets it through.
type queueing struct {
	*wire
	mu    sync.Mutex
	queue []queued // guarded by mu
}

type queued struct {
	put  ContentPut
	done func(Receipt, error)
}

func (q *queueing) QueuePut(put ContentPut, _ time.Time, done func(Receipt, error)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.queue = append(q.queue, queued{put, done})
}

// take empties the queue, in which so many are to wait once nobody in the bubble is at work.
func (q *queueing) take(t *testing.T, n int) []queued {
	t.Helper()
	synctest.Wait()
	q.mu.Lock()
	defer q.mu.Unlock()
	queue := q.queue
	q.queue = nil
	if len(queue) != n {
		t.Fatalf("%d puts wait, want %d", len(queue), n)
	}
	return queue
}

// pass makes the puts that wait, and fail refuses them.
func (q *queueing) pass(t *testing.T, n int) {
	t.Helper()
	for _, w := range q.take(t, n) {
		w.done(q.wire.Put(t.Context(), w.put.Name, bytes.NewReader(w.put.Content), w.put.Write))
	}
}

func (q *queueing) fail(t *testing.T, n int) {
	t.Helper()
	for _, w := range q.take(t, n) {
		w.done(Receipt{}, errDown)
	}
}

// TestQueuedPuts: a put returns when most nodes have it, what is written to the others stays what it was, and who failed is
// repaired.
func TestQueuedPuts(t *testing.T) { synctest.Test(t, testQueuedPuts) }

func testQueuedPuts(t *testing.T) {
	c := start(t, "a", "b", "c")
	queues := map[string]*queueing{}
	for name, w := range c.wires {
		queues[name] = &queueing{wire: w}
	}
	o := c.coordinator(View{Epoch: 1, Now: mapOf(t, "a", "b", "c")}, func(config *Config) {
		config.Node = func(name string) (Node, error) { return queues[name], nil }
	})
	defer o.Close()
	const puts = 20
	put := func(i int, content string) error {
		_, err := o.Put(t.Context(), fmt.Sprint(i), sourceOf(content))
		return err
	}
	for i := range puts {
		done := make(chan error, 1)
		go func() { done <- put(i, fmt.Sprint("content ", i)) }()
		queues["a"].pass(t, 1)
		queues["b"].pass(t, 1)
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	queues["c"].fail(t, puts)
	synctest.Wait() // the repairs
	for i := range puts {
		copies := c.copies(fmt.Sprint(i))
		if len(copies) != 3 {
			t.Errorf("%d copies of %d", len(copies), i)
		}
		for node, info := range copies {
			if want := object.SumOf(fmt.Append(nil, "content ", i)); info.Sum != want {
				t.Errorf("%d on %s: %s, want %s", i, node, info.Sum, want)
			}
		}
	}
}

// TestMemberPutBatch: over a store that takes no batches, too, and with guarded writes among others.
func TestMemberPutBatch(t *testing.T) {
	c := start(t, "a")
	m := c.members["a"]
	put := func(name string, w Write) ContentPut {
		w.Epoch, w.Size = w.Epoch+1, 1
		return ContentPut{Name: name, Content: []byte("x"), Write: w}
	}
	now := c.clock()
	v, guarded := now.Now(), clock.Guard(now.Now())
	results := m.PutBatch(t.Context(), []ContentPut{
		put("plain", Write{Version: v}), put("guarded", Write{Version: guarded}), put("", Write{Version: v}),
		put("skew", Write{Version: object.Version{Hi: 1 << 62}}),
	})
	for i, want := range []error{nil, nil, object.ErrName, clock.ErrSkew} {
		if r := results[i]; !errors.Is(r.Err, want) || want == nil && len(r.Receipt.Acked) != 1 {
			t.Errorf("put %d: %+v, want %v", i, r, want)
		}
	}
	if r := m.PutBatch(t.Context(), []ContentPut{put("later", Write{Version: v, Epoch: 1})}); r[0].Err != nil {
		t.Error(r[0].Err)
	}
	if r := m.PutBatch(t.Context(), []ContentPut{put("stale", Write{Version: now.Now()})}); !errors.Is(r[0].Err, ErrStale) {
		t.Errorf("by an old view: %+v", r[0])
	}
}
