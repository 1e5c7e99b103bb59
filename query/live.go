package query

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"carillon/bucket"
	"carillon/series"
)

// LiveBucket is a bucket of the finest tier that has just been completed.
type LiveBucket struct {
	ID     series.ID
	Bucket bucket.Bucket
}

const (
	// liveReaders bounds the subscribers at a time.
	liveReaders = 256
	// liveQueue bounds the buckets that wait for one subscriber, twice: those not
	// yet looked at, and those that match and are not yet sent.
	liveQueue = 1 << 16
)

// errLiveClosed ends a subscription when the hub closes.
var errLiveClosed = errors.New("live buckets: the server is stopping")

// Live is the hub between the partitions, which complete buckets, and those who
// watch. A publisher never waits: what a subscriber has no room for, it loses, and
// is told how many. Any goroutine may call any method.
type Live struct {
	readers atomic.Int32 // len(subscriptions), so that Publish is free without any

	mu            sync.Mutex
	subscriptions map[*subscription]struct{}
	closed        bool
}

// NewLive makes a hub.
func NewLive() *Live {
	return &Live{subscriptions: make(map[*subscription]struct{})}
}

// Watched tells whether there is anybody to publish for.
func (l *Live) Watched() bool { return l.readers.Load() > 0 }

// Publish passes completed buckets of the finest tier to whoever watches. It keeps
// a copy, not the slice.
func (l *Live) Publish(buckets []LiveBucket) {
	if l.readers.Load() == 0 || len(buckets) == 0 {
		return
	}
	shared := append([]LiveBucket(nil), buckets...)
	l.mu.Lock()
	defer l.mu.Unlock()
	for s := range l.subscriptions {
		s.queue.put(shared)
	}
}

// Close ends all subscriptions and refuses new ones.
func (l *Live) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for s := range l.subscriptions {
		close(s.closed)
	}
	l.subscriptions = nil
	l.readers.Store(0)
}

func (l *Live) subscribe() (*subscription, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errLiveClosed
	}
	if len(l.subscriptions) == liveReaders {
		return nil, fmt.Errorf("live buckets: the limit of %d readers at a time is reached", liveReaders)
	}
	s := &subscription{queue: newQueue(), closed: make(chan struct{})}
	l.subscriptions[s] = struct{}{}
	l.readers.Store(int32(len(l.subscriptions)))
	return s, nil
}

func (l *Live) unsubscribe(s *subscription) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	delete(l.subscriptions, s)
	l.readers.Store(int32(len(l.subscriptions)))
}

// subscription is one who watches.
type subscription struct {
	queue  *queue
	closed chan struct{} // closed when the hub is
}

// queue holds batches of buckets, liveQueue buckets at most. One goroutine takes,
// any may put.
type queue struct {
	filled chan struct{} // capacity 1: something was put since the last take

	mu      sync.Mutex
	batches [][]LiveBucket
	size    int    // buckets in batches
	lost    uint64 // buckets that found no room since the last take
}

func newQueue() *queue { return &queue{filled: make(chan struct{}, 1)} }

// put adds a batch, or counts it as lost.
func (q *queue) put(batch []LiveBucket) {
	q.mu.Lock()
	if q.size+len(batch) > liveQueue {
		q.lost += uint64(len(batch))
	} else {
		q.batches = append(q.batches, batch)
		q.size += len(batch)
	}
	q.mu.Unlock()
	q.signal()
}

// lose counts buckets as lost that an earlier queue had no room for.
func (q *queue) lose(buckets uint64) {
	q.mu.Lock()
	q.lost += buckets
	q.mu.Unlock()
	q.signal()
}

func (q *queue) signal() {
	select {
	case q.filled <- struct{}{}:
	default:
	}
}

// take empties the queue.
func (q *queue) take() (batches [][]LiveBucket, lost uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	batches, lost = q.batches, q.lost
	q.batches, q.size, q.lost = nil, 0, 0
	return batches, lost
}
