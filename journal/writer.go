package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// maxSectionsBytes bounds the body of one message before compression.
	maxSectionsBytes = 4 << 20
	// maxKeptBytes is how large a buffer may be and still be kept for later.
	maxKeptBytes = 1 << 20
	// sectionOverheadBytes is what a queued section costs beside its bytes.
	sectionOverheadBytes = 128

	// attemptFor is how long one publish waits for its acknowledgement.
	attemptFor = 10 * time.Second
	// publishFor is for how long new attempts begin. It must stay well under
	// duplicateWindow, within which a message that was stored but whose
	// acknowledgement got lost is stored once.
	publishFor = 30 * time.Second

	minRetryWait = 50 * time.Millisecond
	maxRetryWait = 2 * time.Second
)

// publisher stores a message durably. The id marks a message that is published
// again; the sequence is its place in the partition's stream.
type publisher interface {
	publish(ctx context.Context, partition int, id string, message []byte) (sequence uint64, err error)
}

// section is one encoded part on its way into a message.
type section struct {
	partition int
	encoded   []byte
	points    int
	items     int // of MaxMessageItems
	request   *request
}

func (s *section) queuedBytes() int64 { return int64(len(s.encoded)) + sectionOverheadBytes }

// request is one Append that waits for its sections.
type request struct {
	mu   sync.Mutex
	left int   // sections without an outcome
	err  error // of the first section that failed
	done chan struct{}
}

// finish takes the outcome of one section.
func (r *request) finish(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
	if r.left--; r.left == 0 {
		close(r.done)
	}
}

// writer publishes the sections of one partition.
//
// It commits in groups, and clocks itself: while one message is on its way to
// the disk, whatever arrives waits, and all of that is the next message. So an
// idle journal answers after one sync, and a busy one shares each sync among as
// many senders as came during the one before; no timer and no size has to be tuned.
// With one publish in flight a partition, order in the stream is order of arrival.
type writer struct {
	partition  int
	limitBytes int    // of the sections of a message
	nonce      string // makes ids of this process differ from any other's
	publisher  publisher
	metrics    *metrics
	queued     *atomic.Int64 // the journal's count of bytes in all queues

	acknowledged atomic.Uint64

	mu     sync.Mutex
	arrive sync.Cond // on mu: queue or closed changed
	queue  []section
	closed bool

	// Owned by run.
	count         uint64 // messages begun
	batch         []section
	body, message []byte
}

// push queues sections of the partition; it does not block.
func (w *writer) push(sections []section) {
	w.mu.Lock()
	w.queue = append(w.queue, sections...)
	w.mu.Unlock()
	w.arrive.Signal()
}

// close lets run end once the queue is empty.
func (w *writer) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.arrive.Signal()
}

// run publishes until the writer is closed and its queue empty. When ctx ends,
// publishing is no longer tried again, and what is queued fails fast.
func (w *writer) run(ctx context.Context) {
	for w.take() {
		w.commit(ctx)
	}
}

// take waits for sections and moves those that fit one message to batch. It is
// false when there will be none.
func (w *writer) take() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.queue) == 0 {
		if w.closed {
			return false
		}
		w.arrive.Wait()
	}
	n, bytes, items := 0, 0, 0
	for ; n < len(w.queue); n++ {
		bytes += len(w.queue[n].encoded)
		items += w.queue[n].items
		if n > 0 && (bytes > w.limitBytes || items > MaxMessageItems) {
			break
		}
	}
	w.batch = append(w.batch[:0], w.queue[:n]...)
	w.queue = slices.Delete(w.queue, 0, n)
	return true
}

// commit publishes the batch as one message and tells everyone who waits.
func (w *writer) commit(ctx context.Context) {
	points := 0
	w.body = w.body[:0]
	for i := range w.batch {
		w.body = append(w.body, w.batch[i].encoded...)
		points += w.batch[i].points
	}
	w.message = appendFrame(w.message[:0], w.body)
	begin := time.Now()
	sequence, err := w.publish(ctx, w.message)
	if err == nil {
		w.metrics.publishSeconds.Observe(time.Since(begin).Seconds())
		w.metrics.messages.Inc()
		w.metrics.points.Add(float64(points))
		w.metrics.bytes.Add(float64(len(w.message)))
		w.metrics.messagePoints.Observe(float64(points))
		w.acknowledged.Store(max(sequence, w.acknowledged.Load()))
	} else {
		w.metrics.failures.Inc()
		err = fmt.Errorf("%w: partition %d: %w", ErrUnavailable, w.partition, err)
	}
	for i := range w.batch {
		w.queued.Add(-w.batch[i].queuedBytes())
		w.batch[i].request.finish(err)
	}
	clear(w.batch)
	if cap(w.body) > maxKeptBytes {
		w.body = nil
	}
	if cap(w.message) > maxKeptBytes {
		w.message = nil
	}
}

// publish stores the message, trying again under the same id while no answer
// comes. An answer that refuses it is final: the next message tries afresh.
func (w *writer) publish(ctx context.Context, message []byte) (uint64, error) {
	w.count++
	id := w.nonce + strconv.Itoa(w.partition) + "." + strconv.FormatUint(w.count, 10)
	giveUp := time.Now().Add(publishFor)
	for wait := minRetryWait; ; wait = min(2*wait, maxRetryWait) {
		attempt, cancel := context.WithTimeout(ctx, attemptFor)
		sequence, err := w.publisher.publish(attempt, w.partition, id, message)
		cancel()
		if err == nil || !mayRetry(err) || time.Now().After(giveUp) {
			return sequence, err
		}
		select {
		case <-ctx.Done():
			return 0, err
		case <-time.After(wait):
		}
		w.metrics.retries.Inc()
	}
}

// mayRetry tells an error that leaves open whether the message is stored, or that
// may pass by itself, from a final answer.
func mayRetry(err error) bool {
	var refused *jetstream.APIError
	return !errors.As(err, &refused) && !errors.Is(err, errServer) &&
		!errors.Is(err, nats.ErrConnectionClosed) && !errors.Is(err, nats.ErrMaxPayload)
}
