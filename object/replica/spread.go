package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"carillon/object"
)

// MaxQueued is the size up to which a content goes through the queues of nodes, in bytes: that of larger ones costs more than
// their requests, and they had better have connections of their own.
const MaxQueued = 16 << 10

// Queuer is a Node with a queue for puts of up to MaxQueued bytes, so that many can travel together and none needs a
// goroutine.
type Queuer interface {
	Node
	// QueuePut is Put without a wait. The content stays as it is until done is called, once, at the latest soon after until.
	// What it calls does not block.
	QueuePut(put ContentPut, until time.Time, done func(Receipt, error))
}

// putContent is Put of a small content, which is read once.
func (c *Coordinator) putContent(ctx context.Context, name string, s Source) (object.Info, error) {
	content, err := c.read(s)
	if err != nil {
		return object.Info{}, fmt.Errorf("writing %q: %w", name, err)
	}
	defer content.release()
	return c.write(ctx, name, func(ctx context.Context, nodes []string, need int, w Write) (object.Info, error) {
		w.Size, w.Sum = s.Size, s.Sum
		return c.spread(ctx, ContentPut{Name: name, Content: content.bytes, Write: w}, content, nodes, need)
	})
}

// spread queues a put for all nodes and returns when need of them acknowledged, or cannot any more. The other copies go on.
func (c *Coordinator) spread(ctx context.Context, put ContentPut, content *sharedContent, nodes []string, need int) (object.Info, error) {
	answers := make(chan answer[Receipt], len(nodes))
	var left atomic.Int64
	var failed atomic.Bool
	left.Store(int64(len(nodes)))
	content.users.Add(1)
	c.working.Add(1)
	until := time.Now().Add(c.config.Timeout)
	for _, to := range nodes {
		c.queuePut(to, put, until, func(r Receipt, err error) {
			if err != nil {
				failed.Store(true)
			}
			answers <- answer[Receipt]{to, r, err}
			if left.Add(-1) > 0 {
				return
			}
			if content.release(); failed.Load() {
				c.repairs.add(repair{name: put.Name})
			}
			c.working.Done()
		})
	}
	acked, err := hear(ctx, answers, len(nodes), need)
	if err != nil {
		return object.Info{}, err
	}
	return acked[0].value.Info, nil
}

func (c *Coordinator) queuePut(to string, put ContentPut, until time.Time, done func(Receipt, error)) {
	node, err := c.config.Node(to)
	if err != nil {
		done(Receipt{}, err)
		return
	}
	if q, ok := node.(Queuer); ok {
		q.QueuePut(put, until, done)
		return
	}
	go func() {
		ctx, cancel := context.WithDeadline(context.Background(), until)
		defer cancel()
		done(node.Put(ctx, put.Name, bytes.NewReader(put.Content), put.Write))
	}()
}

// sharedContent is read by several nodes at once. Its memory is used again when the last has done.
type sharedContent struct {
	bytes []byte
	users atomic.Int64
	back  func()
}

func (s *sharedContent) release() {
	if s.users.Add(-1) == 0 {
		s.back()
	}
}

// read reads a content of known size.
func (c *Coordinator) read(s Source) (*sharedContent, error) {
	body, err := s.Open()
	if err != nil {
		return nil, err
	}
	buffer, ok := c.contents.Get().(*[]byte)
	if !ok {
		buffer = new([]byte)
	}
	*buffer, err = ReadSized(*buffer, body, int(s.Size))
	if err = errors.Join(err, body.Close()); err != nil {
		c.contents.Put(buffer)
		return nil, err
	}
	shared := &sharedContent{bytes: *buffer, back: func() { c.contents.Put(buffer) }}
	shared.users.Store(1)
	return shared, nil
}

// ReadSized reads all of a body, which must be of the size given, into a buffer or a larger one.
func ReadSized(buffer []byte, body io.Reader, size int) ([]byte, error) {
	if cap(buffer) <= size {
		buffer = make([]byte, size+1) // one more, to meet the end
	}
	n, err := io.ReadFull(body, buffer[:size+1])
	switch {
	case err == nil:
		return buffer, fmt.Errorf("%w: it is longer than %d bytes", object.ErrSize, size)
	case err != io.EOF && err != io.ErrUnexpectedEOF:
		return buffer, err
	case n < size:
		return buffer, fmt.Errorf("%w: %d bytes came, %d were announced", object.ErrSize, n, size)
	}
	return buffer[:size], nil
}
