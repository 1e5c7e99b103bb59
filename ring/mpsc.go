package ring

import (
	"errors"
	"sync/atomic"
	"time"
)

// Errors of Push.
var (
	ErrFull   = errors.New("ring is full")
	ErrClosed = errors.New("ring is closed")
)

// spins is how often Wait looks before it sleeps: long enough for a producer that is
// in the middle of Push, far too short to take the processor from one that is not.
const spins = 64

// closedBit is set in the tail of a ring that takes no more.
const closedBit = 1 << 63

// MPSC is a bounded queue between many producers and one consumer.
//
// A producer claims the slot at tail by raising tail with a compare-and-swap; so
// the claims have one order, which is that of the queue. The slot's turn says whose
// it is: position p (of all values ever put) may be filled while turn is p, is full
// when turn is p+1, and after it was taken turn is p+capacity, the position that
// comes to the slot next. The consumer takes slots in order and stops at the first
// that is claimed but not yet filled, though later ones may be.
//
// Closing sets a bit of tail, so that no claim can succeed any more: whatever was
// claimed before is going to be filled, and the queue has come to its end when head
// is where tail stopped.
//
// The consumer's head is its own; producers learn from turn that there is room. It
// breaks if two goroutines consume at the same time.
type MPSC[T any] struct {
	slots []slot[T]
	mask  uint64
	bell  Bell // rung when something was put, or the ring closed

	_    [lineBytes]byte
	tail atomic.Uint64 // the producers'
	_    [lineBytes]byte
	head uint64 // consumer only
	_    [lineBytes]byte
}

type slot[T any] struct {
	turn  atomic.Uint64
	value T
	_     [lineBytes / 2]byte // producers that come one after the other do not meet in a line
}

// NewMPSC makes a ring that holds at least capacity values, a power of two of at
// least 2.
func NewMPSC[T any](capacity int) *MPSC[T] {
	n := powerOfTwo(max(capacity, 2)) // with one slot, "full" and "free for the next" were the same turn
	r := &MPSC[T]{slots: make([]slot[T], n), mask: uint64(n - 1), bell: NewBell()}
	for i := range r.slots {
		r.slots[i].turn.Store(uint64(i))
	}
	return r
}

// Push puts a value. It fails with ErrFull or ErrClosed. Any goroutine.
func (r *MPSC[T]) Push(value T) error {
	for {
		tail := r.tail.Load()
		if tail&closedBit != 0 {
			return ErrClosed
		}
		s := &r.slots[tail&r.mask]
		switch turn := s.turn.Load(); {
		case turn == tail:
			if r.tail.CompareAndSwap(tail, tail+1) {
				s.value = value
				s.turn.Store(tail + 1)
				r.bell.Ring()
				return nil
			}
		case turn < tail:
			return ErrFull
		} // turn > tail: another producer was here since tail was read
	}
}

// Close refuses further values; those in the ring can still be taken. Any
// goroutine, any number of times.
func (r *MPSC[T]) Close() {
	r.tail.Or(closedBit)
	r.bell.Ring()
}

// Pop takes up to len(dst) values and returns how many there were. Consumer only.
func (r *MPSC[T]) Pop(dst []T) int {
	var zero T
	for i := range dst {
		s := &r.slots[r.head&r.mask]
		if s.turn.Load() != r.head+1 {
			return i
		}
		dst[i], s.value = s.value, zero
		s.turn.Store(r.head + uint64(len(r.slots)))
		r.head++
	}
	return len(dst)
}

// Wait takes as Pop does, but waits until there is at least one value, or until it may
// receive from giveUp, which may be nil. It returns 0 when it gave up, or when the ring is
// closed and empty. Consumer only.
func (r *MPSC[T]) Wait(dst []T, giveUp <-chan time.Time) int {
	for {
		for range spins {
			if n := r.Pop(dst); n > 0 {
				return n
			}
			if r.ended() {
				return 0
			}
		}
		woken := r.bell.Listen()
		if n := r.Pop(dst); n > 0 {
			return n
		}
		if r.ended() {
			return 0
		}
		select {
		case <-woken:
		case <-giveUp:
			return 0
		}
	}
}

// ended tells that the ring is closed and everything in it was taken.
func (r *MPSC[T]) ended() bool { return r.tail.Load() == r.head|closedBit }
