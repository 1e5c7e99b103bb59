package newest

import (
	"sync"

	"carillon/quantize"
)

const (
	// maxWaitingBytes bounds what waits for the cache: three million samples, or half a
	// million buckets of several.
	maxWaitingBytes = 64 << 20
	// maxSpare bounds the batches that are kept to be filled again.
	maxSpare = 16

	sampleBytes = 20 // of a sample in a quantize.Batch
	wholeBytes  = 104
)

// batch is completed buckets of one partition.
type batch struct {
	partition int
	quantize.Batch
}

func (b *batch) size() int { return bytesOf(&b.Batch) }

func bytesOf(b *quantize.Batch) int { return sampleBytes*len(b.Numbers) + wholeBytes*len(b.Wholes) }

// queue holds batches, in order, until they are taken. One goroutine takes, any may put.
type queue struct {
	max    int           // bytes that may wait
	filled chan struct{} // capacity 1: something was put

	mu      sync.Mutex
	batches []*batch
	bytes   int    // of the batches
	buckets int    // in them
	lost    uint64 // buckets that found no room, ever
	spare   []*batch
}

func newQueue(max int) *queue { return &queue{max: max, filled: make(chan struct{}, 1)} }

// put adds a copy of buckets, or counts them as lost.
func (q *queue) put(partition int, completed *quantize.Batch) {
	b := q.reserve(completed)
	if b == nil {
		return
	}
	b.partition = partition
	b.Numbers = append(b.Numbers[:0], completed.Numbers...)
	b.Times = append(b.Times[:0], completed.Times...)
	b.Values = append(b.Values[:0], completed.Values...)
	b.Wholes = append(b.Wholes[:0], completed.Wholes...)
	q.mu.Lock()
	q.batches = append(q.batches, b)
	q.mu.Unlock()
	select {
	case q.filled <- struct{}{}:
	default:
	}
}

// reserve takes room for buckets, and a batch to copy them to outside the lock; nil if there
// is no room.
func (q *queue) reserve(completed *quantize.Batch) *batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	bytes := bytesOf(completed)
	if q.bytes+bytes > q.max {
		q.lost += uint64(completed.Len())
		return nil
	}
	q.bytes += bytes
	q.buckets += completed.Len()
	if last := len(q.spare) - 1; last >= 0 {
		b := q.spare[last]
		q.spare = q.spare[:last]
		return b
	}
	return new(batch)
}

// take is the oldest batch, nil if there is none. Its room is given back by recycle.
func (q *queue) take() *batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.batches) == 0 {
		return nil
	}
	b := q.batches[0]
	q.batches[0] = nil
	if q.batches = q.batches[1:]; len(q.batches) == 0 {
		q.batches = nil
	}
	return b
}

// recycle gives back the room of a batch that was taken, and maybe the batch.
func (q *queue) recycle(b *batch) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.bytes -= b.size()
	q.buckets -= b.Len()
	if len(q.spare) < maxSpare {
		q.spare = append(q.spare, b)
	}
}

// state is how many buckets wait, and how many were lost.
func (q *queue) state() (waiting int, lost uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.buckets, q.lost
}
