package ring

import "sync/atomic"

// Bell wakes the one goroutine that listens to it. To ring while nobody sleeps costs
// a load of a word that nobody writes meanwhile.
//
// A listener goes through three steps: it calls Listen, looks again for what it
// waits for, and only if there is none waits for the channel. A producer goes
// through two: it publishes, then rings. Atomic operations have one order that all
// goroutines agree on; in it, either the producer's look at sleeping comes after the
// listener's store, and it wakes the listener, or the listener's second look comes
// after what was published, and it does not sleep. Without the second look a ring
// could get lost. A wake-up for nothing is possible, and harmless.
type Bell struct {
	_        [lineBytes]byte
	sleeping atomic.Bool
	wake     chan struct{} // capacity 1
	_        [lineBytes]byte
}

// NewBell makes a bell.
func NewBell() Bell { return Bell{wake: make(chan struct{}, 1)} }

// Listen announces that its caller is about to sleep, and returns the channel that
// then receives.
func (b *Bell) Listen() <-chan struct{} {
	b.sleeping.Store(true)
	return b.wake
}

// Ring wakes the listener, if there is one. Any goroutine.
func (b *Bell) Ring() {
	if b.sleeping.Load() && b.sleeping.CompareAndSwap(true, false) {
		select {
		case b.wake <- struct{}{}:
		default: // it has not yet noticed the last one
		}
	}
}
