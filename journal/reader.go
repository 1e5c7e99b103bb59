package journal

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"carillon/ring"
)

const (
	// liveMessages is how many messages may wait in memory for a partition's loop
	// as they come from the writer. A loop that is further behind reads the stream.
	liveMessages = 32
	// replayMessages is how many may wait as they come from the stream.
	replayMessages = 16
)

// Reader gives one partition what the journal holds, and what comes: every message
// once, in order. One goroutine, its owner, calls Arrived and Next.
//
// Most messages never make the way back from the server: the writer of this process
// knows what it stored and where, and offers the bytes to the reader (live). All
// others are read from the stream by a follower (replay): what the stream held at
// the start, what others wrote, what was stored without an acknowledgement, and
// what the loop was too slow for.
//
// What is true is next alone: a message is handed out only if it has sequence next,
// after which next rises. Live messages below it are repetitions and dropped; one above it
// shows a gap, and is held until a follower has brought what is missing. So
// nothing comes twice or out of order, whatever live brings; what remains to be shown
// is that the end is not missed, when nothing comes behind it.
//
// That is what attached is for. While it is set, every message that the writer
// stores gets into live. The writer clears it when live is full, and when it does not know
// whether a message was stored; the journal does when the connection is a new one, and
// when the stream holds what nobody here has written. A reader that has
// taken all of live and is not attached starts a follower, a new one too, for it begins that way.
// The follower reads to the end of the stream, then attaches, then
// looks for the end again and reads on to there. A message stored before the second look
// is read by it; one stored after it was offered to an attached reader. Were
// the reader attached after the last look, a message between the two would be lost
// until the next one comes.
//
// The same time counts in both ways, because it stands in the message.
type Reader struct {
	journal   *Journal
	partition int
	bell      ring.Bell
	live      *ring.SPSC[Message] // from the writer
	replay    *ring.SPSC[Message] // from the follower
	attached  atomic.Bool
	following atomic.Bool // a follower is at work; it clears this last
	failed    atomic.Pointer[error]

	ended func() bool // unhooks what the journal's end calls
	link  func() bool // unhooks what a new connection calls; the follower's, then Close's

	ctx    context.Context // ends with the reader
	cancel context.CancelFunc
	work   sync.WaitGroup // the follower's, as long as it has to do with this reader
	ready  chan struct{}  // closed: always receives

	// The owner's.
	next uint64
	held Message // from live, above next; its sequence is 0 if there is none
}

// Reader returns a reader of a partition that begins at sequence from (at least
// 1). A new one counts as not attached, so it first reads what the stream holds.
func (j *Journal) Reader(partition int, from uint64) *Reader {
	r := &Reader{journal: j, partition: partition, bell: ring.NewBell(), next: max(from, 1), ready: make(chan struct{})}
	close(r.ready)
	r.live = ring.NewSPSC[Message](liveMessages, &r.bell)
	r.replay = ring.NewSPSC[Message](replayMessages, &r.bell)
	r.ctx, r.cancel = context.WithCancel(j.ended)
	r.ended = context.AfterFunc(j.ended, func() { r.fail(ErrClosed) })
	j.readers.join(r)
	return r
}

// Readers returns a reader of each partition, of partition i from sequence from[i] on.
// What the stream holds they get from one follower, at the pace of the slowest: each
// message is read and checked once and not once a partition.
func (j *Journal) Readers(from []uint64) []*Reader {
	readers := make([]*Reader, len(from))
	for i := range from {
		readers[i] = j.Reader(i, from[i])
	}
	j.follow(readers)
	return readers
}

// Close ends the reader. Owner only, once.
func (r *Reader) Close() {
	r.journal.readers.leave(r)
	r.ended()
	r.cancel()
	r.work.Wait()
	if r.link != nil {
		r.link()
	}
}

// Arrived returns a channel that receives when Next has something to say. It may
// receive without. Owner only.
func (r *Reader) Arrived() <-chan struct{} {
	if r.pending() {
		return r.ready
	}
	woken := r.bell.Listen()
	if r.pending() {
		return r.ready
	}
	return woken
}

func (r *Reader) pending() bool {
	if r.following.Load() {
		return !r.replay.Empty()
	}
	return r.held.Sequence > 0 || !r.attached.Load() || !r.live.Empty() || !r.replay.Empty() || r.failed.Load() != nil
}

// Next returns the next message; ok is false if there is none yet. It does not
// wait. An error is the end: ErrClosed, or one that wraps ErrMissing because the
// stream ends before what was read.
//
// A message that is damaged comes with Err set. Messages that the stream no
// longer has come as one with Err wrapping ErrMissing and the sequence of the last of
// them. Owner only.
func (r *Reader) Next() (m Message, ok bool, err error) {
	following := r.following.Load() // before replay: if it is false, replay has all there will be
	if m, ok = pop(r.replay); ok {
		r.next = m.Sequence + 1
		return m, true, nil
	}
	if following {
		return m, false, nil
	}
	for {
		if r.held.Sequence == 0 {
			if r.held, ok = pop(r.live); !ok {
				break
			}
		}
		if r.held.Sequence > r.next {
			return Message{}, false, r.follow()
		}
		m, r.held = r.held, Message{}
		if m.Sequence == r.next {
			r.next++
			return m, true, nil
		}
	}
	if failed := r.failed.Load(); failed != nil {
		return Message{}, false, *failed
	}
	if !r.attached.Load() {
		return Message{}, false, r.follow()
	}
	return Message{}, false, nil
}

func pop(from *ring.SPSC[Message]) (Message, bool) {
	var one [1]Message
	n := from.Pop(one[:])
	return one[0], n == 1
}

// follow starts a follower at next.
func (r *Reader) follow() error {
	if failed := r.failed.Load(); failed != nil {
		return *failed
	}
	r.journal.follow([]*Reader{r})
	return nil
}

// attach begins to take what the writer offers. The follower calls it.
func (r *Reader) attach() {
	if r.link != nil {
		r.link()
	}
	connection := r.journal.stream.link()
	r.attached.Store(true)
	r.link = context.AfterFunc(connection, r.detach)
}

// detach makes the owner look at the stream again. Any goroutine.
func (r *Reader) detach() {
	r.attached.Store(false)
	r.bell.Ring()
}

// fail ends the reader with the first error. Any goroutine.
func (r *Reader) fail(err error) {
	r.failed.CompareAndSwap(nil, &err)
	r.bell.Ring()
}

// offer takes a message that was stored just now. The writer calls it.
func (r *Reader) offer(m Message) {
	if !r.attached.Load() {
		return
	}
	if r.live.Push(m) == 0 {
		r.detach()
	}
}

// readers are those that messages are offered to. The list is replaced when one
// joins or leaves, so that the writer reads it without a lock.
type readers struct {
	mu   sync.Mutex // held by who replaces the list
	list atomic.Pointer[[]*Reader]
}

func (rs *readers) all() []*Reader {
	if list := rs.list.Load(); list != nil {
		return *list
	}
	return nil
}

func (rs *readers) join(r *Reader) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	list := append(slices.Clone(rs.all()), r)
	rs.list.Store(&list)
}

func (rs *readers) leave(r *Reader) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(rs.all()), func(one *Reader) bool { return one == r })
	rs.list.Store(&list)
}

// offer passes on a message: to each reader what it holds for its partition, and
// be it only that there is nothing.
func (rs *readers) offer(sequence uint64, b *batch, message []byte) {
	for _, r := range rs.all() {
		r.offer(Message{Sequence: sequence, Time: b.at, encoded: b.of(r.partition, message)})
	}
}

// lookAgain makes all readers look at the stream.
func (rs *readers) lookAgain() {
	for _, r := range rs.all() {
		r.detach()
	}
}

func (rs *readers) fail(err error) {
	for _, r := range rs.all() {
		r.fail(err)
	}
}
