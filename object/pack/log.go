package pack

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"carillon/object"
	"carillon/object/backend"

	"golang.org/x/sys/unix"
)

// write is a record to be appended.
type write struct {
	info      object.Info
	content   []byte // not needed any more once the record is in a group
	blob      uint64
	condition object.Condition
	repair    bool
	from      *place // not nil if compaction moves the record from there
	drop      bool   // forget the name, if info's version is not older than its newest

	group   *group // that has the record; nil if there is none
	at      int64  // in its segment
	refused error  // why there is none, if it would be needed
}

func (w *write) record() record { return record{info: w.info, blob: w.blob, drop: w.drop} }

// wait returns when the record is what readers see and, if the policy is always, durable.
func (w *write) wait() error {
	if w.group == nil {
		return w.refused
	}
	<-w.group.done
	return w.group.err
}

// written tells, after wait, whether there is a record.
func (w *write) written() bool { return w.group != nil && w.group.err == nil }

// group is records that are written and synced at once.
type group struct {
	number uint64
	seg    *segment
	start  int64  // of buffer in the segment
	buffer []byte // the segment's header, if it belongs to the same page, and records
	last   int    // where the last record begins in it
	writes []*write
	done   chan struct{} // closed when err is set
	err    error
}

func (g *group) end() int64 { return g.start + int64(len(g.buffer)) }

// pad fills the last page with zeros, which become part of the last record.
func (g *group) pad(page int) {
	padding := -len(g.buffer) & (page - 1)
	setPadding(g.buffer[g.last:], g.seg.header.salt, padding)
	g.buffer = append(g.buffer, make([]byte, padding)...)
}

// log is the order of the records. Who puts adds a record to the open group, also while the writer is busy with the one before it.
type log struct {
	segmentBytes int64
	page         int // groups begin at multiples of it

	mu      sync.Mutex
	landed  sync.Cond           // a group was taken or is done
	open    *group              // nil if it would be empty
	names   map[string]struct{} // of the records in the open group and in the one that is being written
	seg     *segment            // to append to; nil before there is one
	at      int64               // where in it the next group begins
	group   uint64              // number of the last one
	next    uint64              // number of the next segment
	buffers [2][]byte           // groups have them in turns
	crowd   crowd

	ready chan struct{} // has one element when the writer may have something to do
	ended chan struct{} // closed when nothing will be added any more
}

// init prepares an empty log. The memory of the groups begins at a page, as writes past the page cache need it.
func (l *log) init(config Config) error {
	l.segmentBytes, l.page, l.next = config.SegmentBytes, align, 1
	if config.Sync == backend.SyncAlways {
		l.page = pageSize
	}
	l.landed.L = &l.mu
	l.names = map[string]struct{}{}
	l.ready, l.ended = make(chan struct{}, 1), make(chan struct{})
	for i := range l.buffers {
		buffer, err := unix.Mmap(-1, 0, maxGroupBytes+maxRecord+2*pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			return fmt.Errorf("allocate memory for a group: %w", err)
		}
		l.buffers[i] = buffer
	}
	return nil
}

// release gives the memory back.
func (l *log) release() (err error) {
	for i, buffer := range l.buffers {
		if buffer != nil && err == nil {
			err = unix.Munmap(buffer)
		}
		l.buffers[i] = nil
	}
	return err
}

// add decides about writes, in order, and puts the records that are needed into the open group; after it, each can be waited for. A write waits
// here while another of the same name is under way, whose outcome it depends on, and while the open group is full.
func (s *Store) add(writes ...*write) {
	l := &s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range writes {
		for l.full() || l.underWay(w.info.Name) {
			l.landed.Wait()
		}
		needed, err := s.decide(w)
		if err != nil || !needed {
			w.refused = err
			continue
		}
		l.append(w)
	}
}

func (l *log) full() bool { return l.open != nil && len(l.open.buffer) >= maxGroupBytes }

func (l *log) underWay(name string) bool {
	_, there := l.names[name]
	return there
}

// append encodes a record into the open group.
func (l *log) append(w *write) {
	if l.open == nil {
		l.begin()
	}
	g := l.open
	r := w.record()
	w.group, w.at = g, g.end()
	r.offset, r.group, r.synced = w.at, g.number, g.seg.synced.Load()
	g.last = len(g.buffer)
	g.buffer = r.append(g.buffer, g.seg.header.salt, w.content)
	g.writes = append(g.writes, w)
	l.names[w.info.Name] = struct{}{}
	if n := len(g.writes); n == 1 || n == l.crowd.expected() || l.full() {
		l.wake()
	}
}

// begin opens a group, in a new segment if there is none or it is full.
func (l *log) begin() {
	if l.seg == nil || l.at >= l.segmentBytes {
		l.seg = newSegment(segmentHeader{number: l.next, salt: randomSalt()}, nil)
		l.at = segmentHeaderSize
		l.next++
	}
	l.group++
	g := &group{number: l.group, seg: l.seg, start: l.at &^ int64(l.page-1), buffer: l.buffers[l.group%2][:0], done: make(chan struct{})}
	if g.start < l.at {
		g.buffer = l.seg.header.append(g.buffer)
	}
	l.open = g
}

func randomSalt() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

func (l *log) wake() {
	select {
	case l.ready <- struct{}{}:
	default:
	}
}

// take waits for a group, and for those who are expected to join it. It returns nil at the end.
func (l *log) take() *group {
	for !l.begun() {
		select {
		case <-l.ready:
		case <-l.ended:
			return nil
		}
	}
	l.linger()
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.open
	g.pad(l.page)
	l.open, l.at = nil, g.end()
	l.landed.Broadcast()
	return g
}

func (l *log) begun() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open != nil
}

// linger waits until the open group is as large as it should be, or has waited enough.
func (l *log) linger() {
	if l.gathered() {
		return
	}
	timer := time.NewTimer(l.crowd.patience)
	defer timer.Stop()
	for !l.gathered() {
		select {
		case <-l.ready:
		case <-timer.C:
			return
		}
	}
}

func (l *log) gathered() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open.writes) >= l.crowd.expected() || l.full()
}

// synced notes what it took to make a group durable.
func (l *log) synced(g *group, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	others := 0
	if l.open != nil {
		others = len(l.open.writes)
	}
	l.crowd.synced(len(g.writes), others, took)
}

// finish answers a group. If it failed, so does the open one, which was to come behind it: the next one takes its place.
func (l *log) finish(g *group, err error) {
	l.mu.Lock()
	finished := []*group{g}
	if err != nil {
		if l.open != nil {
			finished = append(finished, l.open)
			l.open = nil
		}
		l.seg, l.at = g.seg, max(g.start, segmentHeaderSize)
		if g.seg.file == nil {
			l.seg = nil
		}
	}
	for _, g := range finished {
		for _, w := range g.writes {
			delete(l.names, w.info.Name)
		}
		g.err = err
	}
	l.landed.Broadcast()
	l.mu.Unlock()
	for _, g := range finished {
		close(g.done)
	}
}
