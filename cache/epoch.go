package cache

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// readerStripes is a power of two, and several times the cores of a machine.
const readerStripes = 64

// epochs tell when every goroutine that was reading has left its read section: sleepable
// RCU (McKenney, Linux Documentation/RCU). A reader counts itself in at the parity that is
// current, and out at the same one. Counters that all cores wrote would cost more than
// the look-up, so there are many, and a goroutine writes those of its stripe.
//
// # Why nobody is overlooked
//
// Whoever was in a section when wait began has been counted in at one of the two parities,
// and wait sees both empty out, one after the other, each while new readers come to the
// other one. A reader that picked its parity and was stopped before it counted itself in is
// not waited for, but it has not read anything yet. The departures are summed before the
// arrivals, so that equal sums mean that all who had arrived were gone.
type epochs struct {
	current atomic.Uint32 // its lowest bit is the parity that readers take
	stripes [readerStripes]stripe
	waiting sync.Mutex // one wait at a time
}

// stripe is written by the readers that hash to it, and summed by wait and Stats.
type stripe struct {
	arrived  [2]atomic.Uint64
	departed [2]atomic.Uint64
	misses   atomic.Uint64
	_        [24]byte
	hits     [maxClasses]atomic.Uint64
}

// stripe is picked by the address of the goroutine's stack: the one thing at hand that
// differs between goroutines and stays with each. That two meet in a stripe, or that a
// stack moves, costs time only.
func (e *epochs) stripe() *stripe {
	var here byte
	at := uint64(uintptr(unsafe.Pointer(&here))) >> 11 // the smallest stack has 2 KiB
	return &e.stripes[at*0x9e3779b97f4a7c15>>(64-6)%readerStripes]
}

// enter begins a read section.
func (e *epochs) enter() (*stripe, uint32) {
	s, parity := e.stripe(), e.current.Load()&1
	s.arrived[parity].Add(1)
	return s, parity
}

// wait returns when every section that was open when it was called has ended.
func (e *epochs) wait() {
	e.waiting.Lock()
	defer e.waiting.Unlock()
	for range 2 {
		old := e.current.Add(1) - 1
		e.drain(old & 1)
	}
}

// drain waits for the readers of a parity. They are done within a microsecond, unless the
// scheduler took one away.
func (e *epochs) drain(parity uint32) {
	const spins, longest = 64, time.Millisecond
	pause := 10 * time.Microsecond
	for n := 0; !e.empty(parity); n++ {
		if n < spins {
			runtime.Gosched()
			continue
		}
		time.Sleep(pause)
		pause = min(2*pause, longest)
	}
}

func (e *epochs) empty(parity uint32) bool {
	departed, arrived := uint64(0), uint64(0)
	for i := range e.stripes {
		departed += e.stripes[i].departed[parity].Load()
	}
	for i := range e.stripes {
		arrived += e.stripes[i].arrived[parity].Load()
	}
	return departed == arrived
}
