// Package ring hands values from goroutines that make them to the one that uses
// them, without a lock: bounded queues of one producer (SPSC) or of many (MPSC), and
// the Bell that wakes a consumer which sleeps. Values go in and come out in order,
// each once; a full ring refuses, and it is for the producer to decide what then.
// The journal calls it, between senders, its writer, and the loops of the partitions.
package ring

import (
	"context"
	"sync/atomic"
)

// lineBytes keeps words of different goroutines apart. It is two cache lines,
// because processors fetch them in pairs.
const lineBytes = 128

// SPSC is a bounded queue between one producer and one consumer.
//
// Each side owns a count that only it writes: tail is how many values were ever
// put, head how many were taken. So head ≤ tail ≤ head+capacity, and the slots of
// [head, tail) are the consumer's, all others the producer's. A side moves its
// count only after it is done with the slots, by an atomic store: the other side
// which reads the new count sees the slots as they were left. That store is what
// costs (on amd64 it locks the cache line), so it is done once a call, however many
// values that moves. Each side keeps the other's count as it last saw it, and reads
// it again only when that says full or empty: the line of a count changes hands
// once a batch.
//
// It breaks if two goroutines produce, or two consume, at the same time.
type SPSC[T any] struct {
	slots []T
	mask  uint64
	bell  *Bell // rung when something was put
	room  Bell  // rung when something was taken

	_        [lineBytes]byte
	tail     atomic.Uint64 // written by the producer
	headSeen uint64        // producer only
	_        [lineBytes]byte
	head     atomic.Uint64 // written by the consumer
	tailSeen uint64        // consumer only
	_        [lineBytes]byte
}

// NewSPSC makes a ring that holds at least capacity values, a power of two. The
// bell, which the consumer listens to, may be that of several rings.
func NewSPSC[T any](capacity int, bell *Bell) *SPSC[T] {
	n := powerOfTwo(capacity)
	return &SPSC[T]{slots: make([]T, n), mask: uint64(n - 1), bell: bell, room: NewBell()}
}

func powerOfTwo(capacity int) int {
	n := 1
	for n < capacity {
		n *= 2
	}
	return n
}

// Push puts as many of the values as there is room for, from the first on, and
// returns how many. Producer only.
func (r *SPSC[T]) Push(values ...T) int {
	tail := r.tail.Load()
	if len(r.slots)-int(tail-r.headSeen) < len(values) {
		r.headSeen = r.head.Load()
	}
	n := min(len(values), len(r.slots)-int(tail-r.headSeen))
	if n == 0 {
		return 0
	}
	for i, v := range values[:n] {
		r.slots[(tail+uint64(i))&r.mask] = v
	}
	r.tail.Store(tail + uint64(n))
	r.bell.Ring()
	return n
}

// Put puts a value, and waits for room until ctx ends. Producer only.
func (r *SPSC[T]) Put(ctx context.Context, value T) error {
	for r.Push(value) == 0 {
		room := r.room.Listen()
		if r.Push(value) == 1 {
			break
		}
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Pop takes up to len(dst) values and returns how many there were. Consumer only.
func (r *SPSC[T]) Pop(dst []T) int {
	head := r.head.Load()
	if r.tailSeen-head < uint64(len(dst)) {
		r.tailSeen = r.tail.Load()
	}
	n := min(len(dst), int(r.tailSeen-head))
	if n == 0 {
		return 0
	}
	var zero T
	for i := range dst[:n] {
		slot := &r.slots[(head+uint64(i))&r.mask]
		dst[i], *slot = *slot, zero // what the slot refers to may be freed
	}
	r.head.Store(head + uint64(n))
	r.room.Ring()
	return n
}

// Empty tells that there is nothing to take. Consumer only.
func (r *SPSC[T]) Empty() bool { return r.head.Load() == r.tail.Load() }
