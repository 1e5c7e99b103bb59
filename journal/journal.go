// Package journal keeps what was acknowledged safe until it is sealed: parts of
// requests come in (Append), durable and ordered messages go out, to each
// partition what is its own (Reader). The receivers append, and are answered once their
// parts are synced to disk; each partition's loop reads, and trims what the store has sealed.
// It is the only user of NATS JetStream, which runs inside this process unless a URL
// names an external server.
package journal

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"carillon/ring"
)

const (
	// DefaultQueuedBytes is Config.MaxQueuedBytes if that is zero.
	DefaultQueuedBytes = 64 << 20
	// drainFor is how long Close waits for what is queued.
	drainFor = 15 * time.Second
	// watchEvery is how often the stream is looked at for what others wrote.
	watchEvery = 2 * time.Second
)

// Errors of Append on which a caller decides.
var (
	// ErrBusy means that the queue is full; nothing was stored, try again later.
	ErrBusy = errors.New("journal queue is full")
	// ErrClosed means that the journal is closed; nothing was stored.
	ErrClosed = errors.New("journal is closed")
	// ErrUnavailable means that a message could not be stored, or that no answer
	// came; parts of the request may be in the journal. Send it again.
	ErrUnavailable = errors.New("journal is unavailable")
)

// Config says where the journal is.
type Config struct {
	// Dir holds the streams of the embedded server. One process at a time.
	Dir string
	// URL names an external NATS server (nats://host:port, several with commas)
	// to use instead. Whether it syncs before it acknowledges is its own setting
	// (jetstream sync_interval: always).
	URL string
	// Partitions is what the parts are for, fixed when the stream is created.
	Partitions int
	// MaxQueuedBytes bounds what waits for acknowledgement, over all partitions.
	MaxQueuedBytes int64
	// Room, if there is one, is asked before anything is queued.
	Room       Room
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: metrics are not registered
}

// Room grants bytes on the disk before they are written. Who is refused has stored
// nothing.
type Room interface {
	Reserve(bytes int64) error
	// Settle ends a reservation, of which so many bytes were, or may have been, written.
	Settle(reserved, written int64)
}

// boundless is the Room of a journal without one.
type boundless struct{}

func (boundless) Reserve(int64) error { return nil }
func (boundless) Settle(int64, int64) {}

// Journal is one stream for all partitions. Its methods may be called at the same
// time.
type Journal struct {
	config   Config
	stream   *stream
	metrics  *metrics
	writer   *writer
	readers  readers
	requests sync.Pool // of *request
	queued   atomic.Int64
	near     atomic.Int64 // Appends announced, or begun and not queued yet

	writing  sync.WaitGroup
	stop     context.CancelFunc // ends the writer's attempts
	watching sync.WaitGroup
	ended    context.Context // ends watching and the readers
	end      context.CancelFunc

	trimming sync.Mutex
	trimmed  []uint64 // by partition: what it no longer needs; guarded by trimming
	purged   uint64   // what no partition needed any more, and is gone; guarded by trimming

	closed atomic.Bool
}

// Open starts the embedded server, or connects to the external one, and creates
// the stream if it is missing. A stream for another number of partitions is an error.
func Open(ctx context.Context, config Config) (*Journal, error) {
	if config.Partitions < 1 || config.Partitions > maxPartitions {
		return nil, fmt.Errorf("opening the journal: %d partitions, want 1 to %d", config.Partitions, maxPartitions)
	}
	if config.MaxQueuedBytes <= 0 {
		config.MaxQueuedBytes = DefaultQueuedBytes
	}
	s, err := connect(&config)
	if err != nil {
		return nil, err
	}
	if err := s.ensure(ctx); err != nil {
		s.close()
		return nil, err
	}
	s.logStart(config.Logger)
	_, last, err := s.bounds(ctx)
	if err != nil {
		s.close()
		return nil, err
	}
	j, err := newJournal(config, s.sectionsBytes(), last, s)
	if err != nil {
		s.close()
		return nil, err
	}
	j.stream = s
	j.watching.Go(j.watch)
	return j, nil
}

// newJournal starts the writer, behind the message that was acknowledged last. The
// publisher is a parameter so that tests can hold a message on its way.
func newJournal(config Config, limitBytes int, acknowledged uint64, p publisher) (*Journal, error) {
	if config.Room == nil {
		config.Room = boundless{}
	}
	j := &Journal{config: config, trimmed: make([]uint64, config.Partitions)}
	j.requests.New = func() any { return newRequest() }
	var err error
	j.metrics, err = newMetrics(config.Registerer, func() float64 { return float64(j.queued.Load()) })
	if err != nil {
		j.metrics.unregister(config.Registerer)
		return nil, fmt.Errorf("registering the journal's metrics: %w", err)
	}
	var nonce [8]byte
	rand.Read(nonce[:])
	attempts, stop := context.WithCancel(context.Background())
	j.stop = stop
	j.ended, j.end = context.WithCancel(context.Background())
	j.writer = &writer{
		limitBytes: limitBytes,
		nonce:      hex.EncodeToString(nonce[:]) + "-",
		publisher:  p,
		metrics:    j.metrics,
		now:        time.Now,
		queued:     &j.queued,
		near:       &j.near,
		room:       config.Room,
		readers:    &j.readers,
		requests:   ring.NewMPSC[*request](queuedRequests),
		batch:      batch{shares: make([]share, config.Partitions)},
		linger:     time.NewTimer(0),
	}
	j.writer.linger.Stop()
	j.writer.acknowledged.Store(acknowledged)
	j.writing.Go(func() { j.writer.run(attempts) })
	return j, nil
}

// Append stores parts[p] for partition p, for all p, and returns when every one of
// them is acknowledged, synced to disk. A nil or empty part brings nothing. Parts of
// one caller that waits in between keep their order; the parts may be used again
// after Append returns.
//
// ErrBusy, ErrClosed and ErrTooLarge mean that nothing was stored. After
// ErrUnavailable, or when ctx ends first, some parts may be stored or may yet
// be: the request may be sent again, and its hash sees to it that it counts once.
func (j *Journal) Append(ctx context.Context, parts []*Part) error {
	if len(parts) != j.config.Partitions {
		return fmt.Errorf("appending to the journal: %d parts for %d partitions", len(parts), j.config.Partitions)
	}
	if j.queued.Load() >= j.config.MaxQueuedBytes { // before the work of encoding
		return ErrBusy
	}
	r := j.requests.Get().(*request)
	j.near.Add(1)
	err := r.encode(parts, j.writer.limitBytes)
	j.near.Add(-1)
	if err == nil && len(r.sections) > 0 {
		err = j.enqueue(r)
	}
	if err != nil || len(r.sections) == 0 {
		j.recycle(r)
		return err
	}
	select {
	case err := <-r.done:
		j.recycle(r)
		return err
	case <-ctx.Done(): // the writer still has the request
		return fmt.Errorf("waiting for the journal, outcome unknown: %w", ctx.Err())
	}
}

// Announce says that its caller is at work on what it is going to Append within
// milliseconds: the writer may wait for it, so that one sync does for both. Withdraw ends
// that, just before Append or where nothing comes of it.
func (j *Journal) Announce() { j.near.Add(1) }

// Withdraw ends what one Announce began.
func (j *Journal) Withdraw() { j.near.Add(-1) }

// recycle keeps a request for another Append, unless it grew large.
func (j *Journal) recycle(r *request) {
	if cap(r.encoded) <= maxKeptBytes {
		j.requests.Put(r)
	}
}

// enqueue hands a request to the writer.
func (j *Journal) enqueue(r *request) error {
	size := r.queuedBytes()
	if size > j.config.MaxQueuedBytes {
		return fmt.Errorf("%w: %d bytes, the queue holds %d", ErrTooLarge, size, j.config.MaxQueuedBytes)
	}
	if j.queued.Add(size) > j.config.MaxQueuedBytes {
		j.queued.Add(-size)
		return ErrBusy
	}
	if err := j.config.Room.Reserve(size); err != nil {
		j.queued.Add(-size)
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	err := j.writer.requests.Push(r)
	switch {
	case errors.Is(err, ring.ErrClosed):
		err = ErrClosed
	case errors.Is(err, ring.ErrFull):
		err = ErrBusy
	}
	if err != nil {
		j.queued.Add(-size)
		j.config.Room.Settle(size, 0)
	}
	return err
}

// Acknowledged is the highest sequence of the stream that this process knows to
// be acknowledged: the stream's end at Open, later that of the last Append.
func (j *Journal) Acknowledged() uint64 { return j.writer.acknowledged.Load() }

// Bounds is the first and the last sequence of the stream; of an empty one, last
// is first-1.
func (j *Journal) Bounds(ctx context.Context) (first, last uint64, err error) {
	return j.stream.bounds(ctx)
}

// Read calls visit with what a Reader has, as it comes. It returns when ctx ends
// (ctx's error), the reader ends (its error) or visit returns an error (that one).
func (j *Journal) Read(ctx context.Context, partition int, from uint64, visit func(Message) error) error {
	r := j.Reader(partition, from)
	defer r.Close()
	return r.Each(ctx, visit)
}

// Each is Journal.Read for a Reader that there is. Owner only.
func (r *Reader) Each(ctx context.Context, visit func(Message) error) error {
	for {
		m, ok, err := r.Next()
		if err == nil && ok {
			err = visit(m)
		}
		if err != nil {
			return err
		}
		select {
		case <-r.Arrived():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Trim says that a partition no longer needs messages up to and with sequence
// through. Those that no partition needs are removed.
func (j *Journal) Trim(ctx context.Context, partition int, through uint64) error {
	j.trimming.Lock()
	defer j.trimming.Unlock()
	j.trimmed[partition] = max(through, j.trimmed[partition])
	through = slices.Min(j.trimmed)
	if through <= j.purged {
		return nil
	}
	if err := j.stream.trim(ctx, through); err != nil {
		return err
	}
	j.purged = through
	return nil
}

// watch looks at the stream from time to time.
func (j *Journal) watch() {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for last := uint64(0); ; {
		select {
		case <-tick.C:
			last = j.look(last)
		case <-j.ended.Done():
			return
		}
	}
}

// look finds out whether the stream held, already the last time, a message that
// nobody here has written, or does not know to have written; then it makes the
// readers look for it. One that our writer stored is acknowledged by now.
func (j *Journal) look(before uint64) (last uint64) {
	if before > j.Acknowledged() {
		j.readers.lookAgain()
	}
	_, last, err := j.stream.bounds(j.ended)
	if err != nil {
		return before // the next look may succeed
	}
	return last
}

// Connection is the journal's own connection to NATS, for a part that keeps a
// stream of its own there. It outlives restarts of the embedded server, and is
// closed by Close and nobody else.
func (j *Journal) Connection() *nats.Conn { return j.stream.connection }

// Bytes is the size of the stream.
func (j *Journal) Bytes(ctx context.Context) (int64, error) {
	state, err := j.stream.state(ctx)
	return int64(state.Bytes), err
}

// Close stops new appends, publishes what is queued, for drainFor at most,
// ends the readers and stops the embedded server. It may be called twice.
func (j *Journal) Close() error {
	if j.closed.Swap(true) {
		return nil
	}
	j.writer.requests.Close()
	giveUp := time.AfterFunc(drainFor, j.stop)
	j.writing.Wait()
	giveUp.Stop()
	j.stop()
	j.end()
	j.watching.Wait()
	if j.stream != nil {
		j.stream.close()
	}
	j.metrics.unregister(j.config.Registerer)
	return nil
}
