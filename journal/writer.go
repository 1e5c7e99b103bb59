package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"carillon/pause"
	"carillon/ring"
)

const (
	// queuedRequests bounds the requests that wait for the writer.
	queuedRequests = 1024
	// takenRequests bounds those that it looks at for one message.
	takenRequests = 256

	// maxSectionsBytes bounds the sections of one message.
	maxSectionsBytes = 4 << 20
	// groupBytes is how large a message grows by taking in more requests. Beyond
	// that a sync is shared by enough, and readers hold messages in memory.
	groupBytes = 1 << 20

	// lingerFor is how long a message may wait for more requests.
	lingerFor = 8 * time.Millisecond

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
// again; the sequence is its place in the stream.
type publisher interface {
	publish(ctx context.Context, id string, message []byte) (sequence uint64, err error)
}

// writer publishes the requests of all partitions.
//
// It commits in groups, and clocks itself: while one message is on its way to
// the disk, whatever arrives waits, and all of that is the next message. So an
// idle journal answers after one sync, and a busy one shares each sync among as
// many senders as came during the one before, and for a few milliseconds waits for those that are
// about to send: a sync costs as much processor time as some thousand points,
// most of it in Go's runtime, which watches whoever is inside the kernel.
// With one publish in flight, order in the stream is order of arrival.
//
// A request's parts for all partitions travel in one message, because a message is
// what costs: its way through the server and above all its sync take as much
// processor time as the points of several requests. Only what is larger than a message
// takes several, in order.
type writer struct {
	limitBytes int    // of the sections of a message
	nonce      string // makes ids of this process differ from any other's
	publisher  publisher
	metrics    *metrics
	now        func() time.Time
	queued     *atomic.Int64 // the journal's count of bytes in the queue
	near       *atomic.Int64 // the journal's count of requests that are about to come
	room       Room          // in which they are reserved
	readers    *readers

	requests     *ring.MPSC[*request]
	acknowledged atomic.Uint64 // highest sequence; written by run alone, after Open

	// Owned by run.
	count   uint64     // messages begun
	last    time.Time  // time of the last message
	taken   []*request // from the ring, and not yet all in a batch
	section int        // of the first of taken: the next one to be sent
	found   int        // how many of them there were the last time
	batch   batch
	linger  *time.Timer // stopped but in gather
}

// run publishes until the ring is closed and empty. When ctx ends, publishing is no
// longer tried again, and what is queued fails fast.
func (w *writer) run(ctx context.Context) {
	for w.take() {
		w.commit(ctx)
	}
}

// take waits for requests and moves sections that fit one message to the batch. It
// is false when there will be none.
func (w *writer) take() bool {
	if !w.gather() {
		return false
	}
	w.batch.clear()
	for i, r := range w.taken {
		for w.section < len(r.sections) {
			if !w.batch.add(r, w.section, w.limitBytes) {
				w.taken = slices.Delete(w.taken, 0, i)
				return true
			}
			w.section++
		}
		w.section = 0
	}
	w.taken = slices.Delete(w.taken, 0, len(w.taken))
	return true
}

// gather fills taken with what has come, and waits until something has. Then it waits a
// little longer for what is near, and for as many requests as it found the time before:
// whoever has got an answer is about to send again. One sender alone never waits.
func (w *writer) gather() bool {
	var arrived [takenRequests]*request
	if len(w.taken) == 0 {
		w.taken = append(w.taken, arrived[:w.requests.Wait(arrived[:], nil)]...)
	} else {
		w.taken = append(w.taken, arrived[:w.requests.Pop(arrived[:takenRequests-len(w.taken)])]...)
	}
	if len(w.taken) == 0 {
		return false
	}
	w.linger.Reset(lingerFor)
	for (w.near.Load() > 0 || len(w.taken) < w.found) && !w.enough() {
		n := w.requests.Wait(arrived[:takenRequests-len(w.taken)], w.linger.C)
		if n == 0 {
			break
		}
		w.taken = append(w.taken, arrived[:n]...)
	}
	w.linger.Stop()
	w.found = len(w.taken)
	return true
}

// enough tells that another request would not fit the message anyway.
func (w *writer) enough() bool {
	bytes := 0
	for _, r := range w.taken {
		bytes += len(r.encoded)
	}
	return bytes >= groupBytes || len(w.taken) >= takenRequests
}

// commit publishes the batch as one message and tells everyone who waits.
func (w *writer) commit(ctx context.Context) {
	if now := w.now(); now.After(w.last) { // a clock that was set back does not go on before it is where it was
		w.last = now.Truncate(time.Millisecond)
	}
	message := w.batch.message(w.last)
	begin := time.Now()
	sequence, err := w.publish(ctx, message)
	if err == nil {
		w.metrics.publishSeconds.Observe(time.Since(begin).Seconds())
		w.metrics.messages.Inc()
		w.metrics.points.Add(float64(w.batch.points))
		w.metrics.bytes.Add(float64(len(message)))
		w.metrics.messagePoints.Observe(float64(w.batch.points))
		err = w.stored(sequence, message)
	}
	if err != nil {
		w.metrics.failures.Inc()
		w.readers.lookAgain() // it may be in the stream, or get there
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	for _, s := range w.batch.sections {
		if r := s.request; r.finish(err) {
			w.queued.Add(-r.queuedBytes())
			w.room.Settle(r.queuedBytes(), r.queuedBytes())
			r.done <- r.err // from here on it is the sender's
		}
	}
}

// stored notes an acknowledgement and hands the message to the readers.
func (w *writer) stored(sequence uint64, message []byte) error {
	if acknowledged := w.acknowledged.Load(); sequence <= acknowledged {
		// What is behind this sequence was taken for read by the readers.
		err := fmt.Errorf("%w: the stream goes on at message %d, but message %d was acknowledged", ErrMissing, sequence, acknowledged)
		w.readers.fail(err)
		return err
	}
	w.readers.offer(sequence, &w.batch, message)
	w.acknowledged.Store(sequence)
	return nil
}

// publish stores the message, trying again under the same id while no answer
// comes. An answer that refuses it is final: the next message tries afresh.
func (w *writer) publish(ctx context.Context, message []byte) (uint64, error) {
	w.count++
	id := w.nonce + strconv.FormatUint(w.count, 10)
	giveUp := time.Now().Add(publishFor)
	for wait := minRetryWait; ; wait = min(2*wait, maxRetryWait) {
		attempt, cancel := context.WithTimeout(ctx, attemptFor)
		sequence, err := w.publisher.publish(attempt, id, message)
		cancel()
		if err == nil || !mayRetry(err) || time.Now().After(giveUp) {
			return sequence, err
		}
		if pause.For(ctx, wait) != nil {
			return 0, err
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
