package node

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"carillon/object"
	"carillon/object/replica"
)

const (
	maxBatches    = 4         // on their way to a node at once
	maxQueuedPuts = peerQueue // that wait for one
	lingerFor     = 4 * time.Millisecond
	putLasts      = time.Minute // where the caller sets no time
)

var _ replica.Queuer = (*Client)(nil)

// batches are a client's small puts, in batches on their way and waiting for the next.
//
// While a batch is on its way, what comes waits for the next one. That goes when as many wait as travelled in the one
// before, or lingerFor later: whoever has got an answer is about to put again. So the more there is to do, the larger
// batches are, and one who puts alone never waits. A batch beside another goes only if it is full, to fill a long way, too.
type batches struct {
	enough chan struct{} // has one element when a sender may go on

	mu      sync.Mutex
	waiting []*queuedPut // guarded by mu
	bytes   int          // guarded by mu; of contents that wait
	found   int          // guarded by mu; puts in the batch before
	senders int          // guarded by mu; goroutines, each of which sends a batch or waits for one
	conns   []*batchConn // guarded by mu; those that nobody uses, at most maxBatches
	closed  bool         // guarded by mu; none is kept any more
}

// queuedPut is a put before it has its answer.
type queuedPut struct {
	replica.ContentPut
	until time.Time
	done  func(replica.Receipt, error)
}

// QueuePut implements replica.Queuer.
func (c *Client) QueuePut(put replica.ContentPut, until time.Time, done func(replica.Receipt, error)) {
	if err := object.CheckName(put.Name); err != nil {
		done(replica.Receipt{}, err)
		return
	}
	sender, err := c.batches.add(&queuedPut{ContentPut: put, until: until, done: done})
	if err != nil {
		done(replica.Receipt{}, err)
		return
	}
	if sender {
		go c.sendBatches()
	}
}

// putQueued is Put by the queue. If ctx ends, what becomes of the put is not known.
func (c *Client) putQueued(ctx context.Context, name string, body io.Reader, w replica.Write) (replica.Receipt, error) {
	content, err := replica.ReadSized(nil, body, int(w.Size))
	if err = cmp.Or(ctx.Err(), err); err != nil {
		return replica.Receipt{}, fmt.Errorf("put %q: %w", name, err)
	}
	until, set := ctx.Deadline()
	if !set {
		until = time.Now().Add(putLasts)
	}
	type result struct {
		receipt replica.Receipt
		err     error
	}
	results := make(chan result, 1)
	c.QueuePut(replica.ContentPut{Name: name, Content: content, Write: w}, until, func(r replica.Receipt, err error) {
		results <- result{r, err}
	})
	select {
	case r := <-results:
		return r.receipt, r.err
	case <-ctx.Done():
		return replica.Receipt{}, fmt.Errorf("put %q on %s: %w", name, c.base, ctx.Err())
	}
}

// add lets a put wait, and tells whether it needs another sender.
func (b *batches) add(put *queuedPut) (sender bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) == maxQueuedPuts {
		return false, fmt.Errorf("%w: %d", ErrBusy, maxQueuedPuts)
	}
	b.waiting = append(b.waiting, put)
	b.bytes += len(put.Content)
	if b.senders == 0 || b.full() && b.senders < maxBatches {
		b.senders++
		return true, nil
	}
	if b.ripe() {
		select {
		case b.enough <- struct{}{}:
		default:
		}
	}
	return false, nil
}

// full tells whether no more goes into the next batch, with mu held.
func (b *batches) full() bool { return len(b.waiting) >= maxBatchPuts || b.bytes >= maxBatchBytes }

// ripe tells whether the next batch need not wait for more, with mu held.
func (b *batches) ripe() bool { return len(b.waiting) >= b.found || b.full() }

// next is a sender's next batch, nil if it is not needed any more.
func (b *batches) next() []*queuedPut {
	linger := time.NewTimer(lingerFor)
	defer linger.Stop()
	for late := false; ; {
		if batch, wait := b.take(late); !wait {
			return batch
		}
		select {
		case <-b.enough:
		case <-linger.C:
			late = true
		}
	}
}

// take makes a batch of what waits, or tells that the sender is to wait for more.
func (b *batches) take(late bool) (batch []*queuedPut, wait bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case len(b.waiting) == 0, b.senders > 1 && !b.full():
		b.senders--
		return nil, false
	case !b.ripe() && !late:
		return nil, true
	}
	n, bytes := 0, 0
	for n < min(len(b.waiting), maxBatchPuts) && bytes < maxBatchBytes {
		bytes += len(b.waiting[n].Content)
		n++
	}
	batch = append(batch, b.waiting[:n]...)
	rest := copy(b.waiting, b.waiting[n:])
	clear(b.waiting[rest:])
	b.waiting = b.waiting[:rest]
	b.bytes -= bytes
	b.found = n
	return batch, false
}

// sendBatches is a sender.
func (c *Client) sendBatches() {
	for {
		batch := c.batches.next()
		if batch == nil {
			return
		}
		answers, err := c.sendBatch(batch)
		for i, put := range batch {
			if err != nil {
				put.done(replica.Receipt{}, err)
				continue
			}
			put.done(replica.Receipt{Info: answers[i].info}, answers[i].err)
		}
	}
}

// sendBatch sends a batch on a connection that nobody uses or a new one. One that was used may have been closed meanwhile by
// the node: then it is sent again, which for puts of versions is always right.
func (c *Client) sendBatch(batch []*queuedPut) ([]putAnswer, error) {
	until := batch[0].until
	for _, put := range batch[1:] {
		if put.until.After(until) {
			until = put.until
		}
	}
	for {
		conn := c.batches.idle()
		if conn == nil {
			var err error
			if conn, err = c.dialer.connect(until); err != nil {
				return nil, fmt.Errorf("POST %s: %w", c.base, err)
			}
		}
		text, good, err := conn.send(batch, until)
		again := err != nil && !good && conn.used && time.Now().Before(until)
		c.batches.leave(conn, good)
		switch {
		case again:
			continue
		case err != nil:
			return nil, fmt.Errorf("POST %s: %w", c.base, err)
		}
		answers, err := parseAnswers(batch, text)
		if err != nil {
			return nil, fmt.Errorf("POST %s: answer: %w", c.base, err)
		}
		return answers, nil
	}
}

// idle takes a connection that nobody uses, nil if there is none.
func (b *batches) idle() *batchConn {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.conns) == 0 {
		return nil
	}
	last := len(b.conns) - 1
	conn := b.conns[last]
	b.conns = b.conns[:last]
	return conn
}

// leave keeps a connection for the next batch, if it is good.
func (b *batches) leave(conn *batchConn, good bool) {
	conn.used = true
	b.mu.Lock()
	defer b.mu.Unlock()
	if good && !b.closed {
		b.conns = append(b.conns, conn)
		return
	}
	_ = conn.conn.Close() // its answer has come, or an error
}

// close closes the connections that nobody uses, now and later.
func (b *batches) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for _, conn := range b.conns {
		_ = conn.conn.Close() // nothing is on its way
	}
	b.conns = nil
}
