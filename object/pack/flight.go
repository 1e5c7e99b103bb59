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

// maxSyncs is how many syncs are under way at once. With one, whatever comes during a sync waits for the next; with more, what
// some writers write is hashed and laid out while others' is synced. docs/benchmarks-object.md has what was measured.
const maxSyncs = 3

// flights are the groups that are written and not yet published, in order. The writer adds to them, the syncers
// take from them; without syncers, when the policy is not always, the writer removes what it has added.
//
// A sync makes all durable that was written before it began, so they may overlap. They publish in the order in which they
// began: one that fails takes with it those behind it, because the kernel tells of lost
// writes only once.
type flights struct {
	mu      sync.Mutex
	changed sync.Cond // something landed
	names   map[string]struct{}
	written []batch
	last    chan struct{} // closed when the last sync that was begun has published
	ready   chan struct{} // has one element when something may be written
	ended   chan struct{} // closed when the writer is done
}

func newFlights() *flights {
	f := &flights{names: map[string]struct{}{}, last: make(chan struct{}), ready: make(chan struct{}, 1), ended: make(chan struct{})}
	f.changed.L = &f.mu
	close(f.last)
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

// take returns what is written and not yet being synced, a channel that is closed when all before it is published,
// and one to close after it.
func (f *flights) take() (batches []batch, before <-chan struct{}, after chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.written) == 0 {
		return nil, nil, nil
	}
	batches, f.written = f.written, nil
	before, after = f.last, make(chan struct{})
	f.last = after
	return batches, before, after
}

// sync is a syncer.
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
	batches, before, after := s.flights.take()
	if batches == nil {
		return
	}
	defer close(after)
	seg := s.current // stays while anything is in flight
	err := seg.file.SyncData()
	<-before
	stopped := s.life.Stopped()
	if err != nil {
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
