package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	streamPrefix  = "carillon-points-"
	subjectPrefix = "carillon.points."
	// partitionsKey is the entry of a stream's metadata that holds how many
	// partitions the journal was created with.
	partitionsKey = "carillon-partitions"

	// duplicateWindow is for how long JetStream knows the id of a message that
	// it stored.
	duplicateWindow = 2 * time.Minute
	// messageOverheadBytes is what NATS adds to a body: frame and headers.
	messageOverheadBytes = 1 << 10

	connectFor    = 5 * time.Second
	reconnectWait = 100 * time.Millisecond
)

// streams is the connection to JetStream and the streams behind it. It is the
// publisher of the writers.
type streams struct {
	embedded   *embedded // nil if the server is elsewhere
	connection *nats.Conn
	jetstream  jetstream.JetStream
	partitions int

	mu     sync.Mutex
	linked context.Context // ends when the connection is a new one, or closed
	unlink context.CancelFunc
}

// connect starts the embedded server or finds the external one.
func connect(config *Config) (*streams, error) {
	s := &streams{partitions: config.Partitions}
	s.linked, s.unlink = context.WithCancel(context.Background())
	logger := config.Logger
	options := []nats.Option{
		nats.Name("carillon journal"),
		nats.Timeout(connectFor),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectBufSize(-1), // a publish that cannot be sent fails now, and is tried again by us
		nats.ReconnectHandler(func(*nats.Conn) {
			logger.Info("journal connection is back")
			s.relink()
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				logger.Warn("journal connection lost", "error", err)
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			logger.Warn("journal connection", "error", err)
		}),
	}
	if config.URL == "" {
		var err error
		if s.embedded, err = startEmbedded(config.Dir, logger); err != nil {
			return nil, err
		}
		options = append(options, nats.InProcessServer(s.embedded))
	}
	var err error
	if s.connection, err = nats.Connect(config.URL, options...); err != nil {
		s.close()
		return nil, fmt.Errorf("connecting to the journal server: %w", err)
	}
	if s.jetstream, err = jetstream.New(s.connection); err != nil {
		s.close()
		return nil, fmt.Errorf("connecting to the journal server: %w", err)
	}
	return s, nil
}

func (s *streams) close() {
	if s.connection != nil {
		s.connection.Close()
	}
	s.mu.Lock()
	s.unlink()
	s.mu.Unlock()
	if s.embedded != nil {
		s.embedded.close()
	}
}

// relink tells those who use state of the old connection that it is gone.
func (s *streams) relink() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unlink()
	s.linked, s.unlink = context.WithCancel(context.Background())
}

// link ends when the connection has been replaced by a new one.
func (s *streams) link() context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.linked
}

// sectionsBytes is how many bytes of sections fit one message.
func (s *streams) sectionsBytes() int {
	return min(maxSectionsBytes, int(s.connection.MaxPayload())-messageOverheadBytes)
}

func streamName(partition int) string { return streamPrefix + strconv.Itoa(partition) }
func subject(partition int) string    { return subjectPrefix + strconv.Itoa(partition) }

// ensure creates the streams that are missing and checks the others. A stream
// knows how many partitions the journal has, so that creation that was cut short
// can be told from another number of partitions.
func (s *streams) ensure(ctx context.Context) error {
	found := make(map[string]bool)
	names := s.jetstream.StreamNames(ctx, jetstream.WithStreamListSubject(subjectPrefix+"*"))
	for name := range names.Name() {
		found[name] = true
	}
	if err := names.Err(); err != nil {
		return fmt.Errorf("listing the journal's streams: %w", err)
	}
	for name := range found {
		if err := s.verify(ctx, name); err != nil {
			return err
		}
	}
	for partition := range s.partitions {
		if found[streamName(partition)] {
			continue
		}
		if err := s.create(ctx, partition); err != nil {
			return err
		}
	}
	return nil
}

func (s *streams) create(ctx context.Context, partition int) error {
	_, err := s.jetstream.CreateStream(ctx, jetstream.StreamConfig{
		Name:        streamName(partition),
		Description: "Carillon's journal: points that are acknowledged and not yet sealed",
		Subjects:    []string{subject(partition)},
		Retention:   jetstream.LimitsPolicy,
		Storage:     jetstream.FileStorage,
		Replicas:    1,
		Duplicates:  duplicateWindow,
		Metadata:    map[string]string{partitionsKey: strconv.Itoa(s.partitions)},
	})
	if err != nil {
		return fmt.Errorf("creating stream %s: %w", streamName(partition), err)
	}
	return nil
}

// verify refuses a stream of a journal with another number of partitions, and
// one that may drop what was acknowledged.
func (s *streams) verify(ctx context.Context, name string) error {
	stream, err := s.jetstream.Stream(ctx, name)
	if err != nil {
		return fmt.Errorf("opening stream %s: %w", name, err)
	}
	c := stream.CachedInfo().Config
	if have := c.Metadata[partitionsKey]; have != strconv.Itoa(s.partitions) {
		return fmt.Errorf("stream %s belongs to a journal of %q partitions, not %d: the number is fixed when the journal is created",
			name, have, s.partitions)
	}
	if c.Storage != jetstream.FileStorage || c.Retention != jetstream.LimitsPolicy ||
		c.MaxAge > 0 || c.MaxBytes > 0 || c.MaxMsgs > 0 || c.MaxMsgsPerSubject > 0 {
		return fmt.Errorf("stream %s may lose what it acknowledged: it must be kept in files, without limits of age, bytes or messages", name)
	}
	if c.Duplicates < duplicateWindow {
		return fmt.Errorf("stream %s forgets message ids after %s, want at least %s", name, c.Duplicates, duplicateWindow)
	}
	return nil
}

// publish stores one message; see publisher. An embedded server that does not
// answer is started anew.
func (s *streams) publish(ctx context.Context, partition int, id string, message []byte) (uint64, error) {
	if s.embedded == nil {
		return s.send(ctx, partition, id, message)
	}
	generation := s.embedded.running()
	guarded, cancel := s.embedded.logger.guard(ctx)
	defer cancel()
	sequence, err := s.send(guarded, partition, id, message)
	if err == nil || !mayRetry(err) || errors.Is(ctx.Err(), context.Canceled) {
		return sequence, err
	}
	if guarded.Err() != nil && ctx.Err() == nil {
		err = errServer
	}
	err = fmt.Errorf("%w: %w", err, s.embedded.logger.reason())
	return 0, errors.Join(err, s.embedded.restart(generation))
}

func (s *streams) send(ctx context.Context, partition int, id string, message []byte) (uint64, error) {
	ack, err := s.jetstream.Publish(ctx, subject(partition), message,
		jetstream.WithMsgID(id), jetstream.WithExpectStream(streamName(partition)), jetstream.WithRetryAttempts(0))
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// bounds is the first and the last sequence of a partition's stream.
func (s *streams) bounds(ctx context.Context, partition int) (first, last uint64, err error) {
	state, err := s.state(ctx, partition)
	if err != nil {
		return 0, 0, err
	}
	if state.Msgs == 0 {
		return state.LastSeq + 1, state.LastSeq, nil
	}
	return state.FirstSeq, state.LastSeq, nil
}

func (s *streams) state(ctx context.Context, partition int) (jetstream.StreamState, error) {
	stream, err := s.jetstream.Stream(ctx, streamName(partition))
	if err != nil {
		return jetstream.StreamState{}, fmt.Errorf("reading the state of stream %s: %w", streamName(partition), err)
	}
	return stream.CachedInfo().State, nil
}

// trim removes messages up to and with the given sequence.
func (s *streams) trim(ctx context.Context, partition int, through uint64) error {
	stream, err := s.jetstream.Stream(ctx, streamName(partition))
	if err != nil {
		return fmt.Errorf("trimming stream %s: %w", streamName(partition), err)
	}
	// Beyond its end JetStream would skip the sequences in between.
	if last := stream.CachedInfo().State.LastSeq; through > last {
		return fmt.Errorf("trimming stream %s through message %d: it ends at %d", streamName(partition), through, last)
	}
	if err := stream.Purge(ctx, jetstream.WithPurgeSequence(through+1)); err != nil {
		return fmt.Errorf("trimming stream %s through message %d: %w", streamName(partition), through, err)
	}
	return nil
}

// bytes is the size of all streams.
func (s *streams) bytes(ctx context.Context) (int64, error) {
	total := int64(0)
	for partition := range s.partitions {
		state, err := s.state(ctx, partition)
		if err != nil {
			return 0, err
		}
		total += int64(state.Bytes)
	}
	return total, nil
}

// logStart says where the journal is.
func (s *streams) logStart(logger *slog.Logger) {
	where := s.connection.ConnectedUrlRedacted()
	if s.embedded != nil {
		where = s.embedded.dir
	}
	logger.Debug("journal is open", "at", where, "server", s.connection.ConnectedServerVersion())
}
