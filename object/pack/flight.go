package pack

import (
	"fmt"
	"sync"
)

// queue is what waits for the writer. What it holds in memory is bounded by those who push, see Store.intake.
type queue struct {
	mu      sync.Mutex
	waiting []*write
	ready   chan struct{} // has one element when something may wait
	ended   chan struct{} // closed when nobody pushes any more
}

func (q *queue) push(writes ...*write) {
	q.mu.Lock()
	q.waiting = append(q.waiting, writes...)
	q.mu.Unlock()
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// take empties the queue.
func (q *queue) take() []*write {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := q.waiting
	q.waiting = nil
	return taken
}

// batch is a group that was written; end is behind it in the segment.
type batch struct {
	group []*write
	end   int64
}

// flights are the groups that are written and not yet published, in order. The writer adds to them, the syncer
// takes from them; without a syncer, when the policy is not always, the writer removes what it has added.
//
// One sync is under way at a time: more of them overlap, but each is of fewer groups, and the disk makes no more objects
// durable for it. docs/benchmarks-object.md has what was measured.
type flights struct {
	mu      sync.Mutex
	changed sync.Cond // something landed
	names   map[string]struct{}
	written []batch
	ready   chan struct{} // has one element when something may be written
	ended   chan struct{} // closed when the writer is done
}

func newFlights() *flights {
	f := &flights{names: map[string]struct{}{}, ready: make(chan struct{}, 1), ended: make(chan struct{})}
	f.changed.L = &f.mu
	return f
}

func (f *flights) has(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, there := f.names[name]
	return there
}

func (f *flights) add(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.names[name] = struct{}{}
}

func (f *flights) remove(group []*write) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range group {
		delete(f.names, w.info.Name)
	}
	f.changed.Broadcast()
}

// land waits until all that was written is published.
func (f *flights) land() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.names) > 0 {
		f.changed.Wait()
	}
}

func (f *flights) push(b batch) {
	f.mu.Lock()
	f.written = append(f.written, b)
	f.mu.Unlock()
	f.wake()
}

func (f *flights) wake() {
	select {
	case f.ready <- struct{}{}:
	default:
	}
}

// take returns what is written and not synced.
func (f *flights) take() []batch {
	f.mu.Lock()
	defer f.mu.Unlock()
	batches := f.written
	f.written = nil
	return batches
}

// sync is the syncer.
func (s *Store) sync() {
	for {
		select {
		case <-s.flights.ready:
			s.syncWritten()
		case <-s.flights.ended:
			s.syncWritten()
			return
		}
	}
}

// syncWritten makes what is written durable, publishes and answers it.
func (s *Store) syncWritten() {
	batches := s.flights.take()
	if batches == nil {
		return
	}
	seg := s.current // stays while anything is in flight
	stopped := s.life.Stopped()
	if err := seg.file.SyncData(); err != nil {
		stopped = s.life.Stop(fmt.Errorf("sync segment %d: %w", seg.header.number, err))
	}
	for _, b := range batches {
		if stopped == nil {
			s.publish(b)
			continue
		}
		s.flights.remove(b.group)
		for _, w := range b.group {
			w.done <- stopped
		}
	}
}
