// Package journal keeps what was acknowledged safe until it is sealed: parts of
// requests come in (Append), durable and ordered messages go out (Read), one
// stream a partition. The receivers append, and are answered once their parts are
// synced to disk; each partition's loop reads, and trims what the store has sealed.
// It is the only user of NATS JetStream, which runs inside this process unless a URL
// names an external server.
package journal

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// DefaultQueuedBytes is Config.MaxQueuedBytes if that is zero.
	DefaultQueuedBytes = 64 << 20
	// drainFor is how long Close waits for what is queued.
	drainFor = 15 * time.Second
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
	// Partitions is the number of streams, fixed when they are created.
	Partitions int
	// MaxQueuedBytes bounds what waits for acknowledgement, over all partitions.
	MaxQueuedBytes int64
	Logger         *slog.Logger
	Registerer     prometheus.Registerer // nil: metrics are not registered
}

// Journal is a set of streams, one a partition. Its methods may be called at
// the same time.
type Journal struct {
	config  Config
	streams *streams
	metrics *metrics
	writers []*writer
	scratch sync.Pool // of *[]byte, to encode in
	queued  atomic.Int64

	running sync.WaitGroup     // writers
	stop    context.CancelFunc // ends the writers' attempts
	ended   context.Context    // ends the readers
	end     context.CancelFunc

	mu     sync.RWMutex // Append holds it shared while it queues
	closed bool
}

// Open starts the embedded server, or connects to the external one, and creates
// the streams that are missing. Streams of another number of partitions are an
// error.
func Open(ctx context.Context, config Config) (*Journal, error) {
	if config.Partitions < 1 {
		return nil, fmt.Errorf("opening the journal: %d partitions", config.Partitions)
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
	j, err := newJournal(config, s.sectionsBytes(), s)
	if err != nil {
		s.close()
		return nil, err
	}
	j.streams = s
	for partition, w := range j.writers {
		_, last, err := s.bounds(ctx, partition)
		if err != nil {
			return nil, errors.Join(err, j.Close())
		}
		w.acknowledged.Store(last)
	}
	return j, nil
}

// newJournal starts the writers. The publisher is a parameter so that tests can
// hold a message on its way.
func newJournal(config Config, limitBytes int, p publisher) (*Journal, error) {
	j := &Journal{config: config}
	j.scratch.New = func() any { return new([]byte) }
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
	for partition := range config.Partitions {
		w := &writer{
			partition:  partition,
			limitBytes: limitBytes,
			nonce:      hex.EncodeToString(nonce[:]) + "-",
			publisher:  p,
			metrics:    j.metrics,
			queued:     &j.queued,
		}
		w.arrive.L = &w.mu
		j.writers = append(j.writers, w)
		j.running.Go(func() { w.run(attempts) })
	}
	return j, nil
}

// Append stores parts[p] in partition p's stream, for all p, and returns when
// every one of them is acknowledged, synced to disk. A nil or empty part brings
// nothing. Parts of one caller that waits in between keep their order; the parts
// may be used again after Append returns.
//
// ErrBusy, ErrClosed and ErrTooLarge mean that nothing was stored. After
// ErrUnavailable, or when ctx ends first, some parts may be stored or may yet
// be: the request may be sent again, and its hash sees to it that it counts once.
func (j *Journal) Append(ctx context.Context, parts []*Part) error {
	if len(parts) != len(j.writers) {
		return fmt.Errorf("appending to the journal: %d parts for %d partitions", len(parts), len(j.writers))
	}
	if j.queued.Load() >= j.config.MaxQueuedBytes { // before the work of encoding
		return ErrBusy
	}
	sections, err := j.encode(parts)
	if err != nil {
		return err
	}
	request := &request{left: len(sections), done: make(chan struct{})}
	if err := j.enqueue(sections, request); err != nil {
		return err
	}
	if len(sections) == 0 {
		return nil
	}
	select {
	case <-request.done:
		return request.err
	case <-ctx.Done():
		return fmt.Errorf("waiting for the journal, outcome unknown: %w", ctx.Err())
	}
}

// encode turns parts into sections, in the order of the partitions. A section
// holds exactly its bytes, so that counting them bounds the queue's memory.
func (j *Journal) encode(parts []*Part) ([]section, error) {
	var sections []section
	scratch := j.scratch.Get().(*[]byte)
	defer func() {
		if cap(*scratch) <= maxKeptBytes {
			j.scratch.Put(scratch)
		}
	}()
	encode := func(piece *Part) []byte {
		*scratch = appendPart((*scratch)[:0], piece)
		return *scratch
	}
	for partition, part := range parts {
		if part == nil || part.Empty() {
			continue
		}
		if err := part.check(); err != nil {
			return nil, fmt.Errorf("appending to the journal: part of partition %d: %w", partition, err)
		}
		err := eachPiece(part, j.writers[partition].limitBytes, encode, func(piece *Part, encoded []byte) {
			sections = append(sections, section{
				partition: partition, encoded: bytes.Clone(encoded), points: piece.Points(), items: piece.items(),
			})
		})
		if err != nil {
			return nil, fmt.Errorf("appending to the journal: part of partition %d: %w", partition, err)
		}
	}
	return sections, nil
}

// enqueue hands all sections to the writers, or none of them.
func (j *Journal) enqueue(sections []section, request *request) error {
	total := int64(0)
	for i := range sections {
		sections[i].request = request
		total += sections[i].queuedBytes()
	}
	j.mu.RLock()
	defer j.mu.RUnlock()
	if j.closed {
		return ErrClosed
	}
	if total > j.config.MaxQueuedBytes {
		return fmt.Errorf("%w: %d bytes, the queue holds %d", ErrTooLarge, total, j.config.MaxQueuedBytes)
	}
	if j.queued.Add(total) > j.config.MaxQueuedBytes {
		j.queued.Add(-total)
		return ErrBusy
	}
	for from := 0; from < len(sections); {
		to := from + 1
		for to < len(sections) && sections[to].partition == sections[from].partition {
			to++
		}
		j.writers[sections[from].partition].push(sections[from:to])
		from = to
	}
	return nil
}

// Acknowledged is the highest sequence of the partition's stream that this
// process knows to be acknowledged: the stream's end at Open, later that of the
// last Append.
func (j *Journal) Acknowledged(partition int) uint64 {
	return j.writers[partition].acknowledged.Load()
}

// Bounds is the first and the last sequence of the partition's stream; of an
// empty one, last is first-1.
func (j *Journal) Bounds(ctx context.Context, partition int) (first, last uint64, err error) {
	return j.streams.bounds(ctx, partition)
}

// Read calls visit with the messages of the partition's stream in order, each
// once, from sequence from (at least 1) to the end, and then with new ones as
// they come. It returns when ctx ends (ctx's error), the journal is closed
// (ErrClosed) or visit returns an error (that one), and goes on by itself after
// the connection was lost. The visitor owns the message's parts.
//
// A message that does not decode comes with Err set. Messages that the stream
// no longer has come as one with Err wrapping ErrMissing and the sequence of the last
// of them. If the stream ends before from, Read returns an error that wraps ErrMissing.
func (j *Journal) Read(ctx context.Context, partition int, from uint64, visit func(Message) error) error {
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(j.ended, cancel)()
	r := &reader{
		streams: j.streams, logger: j.config.Logger,
		partition: partition, next: max(from, 1), visit: visit,
	}
	err := r.run(reading)
	if ctx.Err() == nil && reading.Err() != nil && errors.Is(err, context.Canceled) {
		return ErrClosed
	}
	return err
}

// Trim removes the messages of the partition's stream up to and with sequence
// through.
func (j *Journal) Trim(ctx context.Context, partition int, through uint64) error {
	return j.streams.trim(ctx, partition, through)
}

// Connection is the journal's own connection to NATS, for a part that keeps a
// stream of its own there. It outlives restarts of the embedded server, and is
// closed by Close and nobody else.
func (j *Journal) Connection() *nats.Conn { return j.streams.connection }

// Bytes is the size of all streams.
func (j *Journal) Bytes(ctx context.Context) (int64, error) { return j.streams.bytes(ctx) }

// Close stops new appends, publishes what is queued, for drainFor at most,
// ends the readers and stops the embedded server. It may be called twice.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return nil
	}
	j.closed = true
	j.mu.Unlock()
	for _, w := range j.writers {
		w.close()
	}
	giveUp := time.AfterFunc(drainFor, j.stop)
	j.running.Wait()
	giveUp.Stop()
	j.stop()
	j.end()
	if j.streams != nil {
		j.streams.close()
	}
	j.metrics.unregister(j.config.Registerer)
	return nil
}
