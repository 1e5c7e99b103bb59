package store

import (
	"runtime"
	"time"
)

const (
	paceSlice = time.Millisecond       // of work between two looks at the others
	paceBusy  = 200 * time.Microsecond // the cores are busy when it takes that long to get one back
	paceShare = 4                      // then pauses are so many times as long as the work

	passPatience = 5 * time.Second // after which a seal or a rollup pauses no more
)

// pacer keeps work that can wait off the cores while others want them: the goroutine
// offers its core time and again, and when it does not get it back at once it
// takes a fifth of one only. The worker's.
type pacer struct {
	now   func() time.Time
	yield func()
	sleep func(time.Duration)
	begun time.Time // of the slice
}

func newPacer() pacer { return pacer{now: time.Now, yield: runtime.Gosched, sleep: time.Sleep} }

// step is called between two pieces of work that take microseconds. It does not pause
// if somebody waits for the work to end.
func (p *pacer) step(hurry func() bool) {
	now := p.now()
	worked := now.Sub(p.begun)
	if worked < paceSlice {
		return
	}
	p.yield()
	back := p.now()
	if back.Sub(now) >= paceBusy && !hurry() {
		p.sleep(paceShare * min(worked, 2*paceSlice))
		back = p.now()
	}
	p.begun = back
}
