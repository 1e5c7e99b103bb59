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
	streamName = "carillon-points"
	subject    = "carillon.points"
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

// stream is the connection to JetStream and the stream behind it. It is the
// publisher of the writer.
type stream struct {
	embedded   *embedded // nil if the server is elsewhere
	connection *nats.Conn
	jetstream  jetstream.JetStream
	partitions int

	mu     sync.Mutex
	linked context.Context // ends when the connection is a new one, or closed
	unlink context.CancelFunc
}

// connect starts the embedded server or finds the external one.
func connect(config *Config) (*stream, error) {
	s := &stream{partitions: config.Partitions}
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

func (s *stream) close() {
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
func (s *stream) relink() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unlink()
	s.linked, s.unlink = context.WithCancel(context.Background())
}

// link ends when the connection has been replaced by a new one.
func (s *stream) link() context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.linked
}

// sectionsBytes is how many bytes of sections fit one message.
func (s *stream) sectionsBytes() int {
	return min(maxSectionsBytes, int(s.connection.MaxPayload())-messageOverheadBytes)
}

// ensure creates the stream if it is missing, and checks it otherwise.
func (s *stream) ensure(ctx context.Context) error {
	found, err := s.jetstream.Stream(ctx, streamName)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return s.create(ctx, 1)
	}
	if err != nil {
		return fmt.Errorf("opening stream %s: %w", streamName, err)
	}
	return s.verify(found.CachedInfo().Config)
}

// create makes the stream; first is the sequence of its first message.
func (s *stream) create(ctx context.Context, first uint64) error {
	_, err := s.jetstream.CreateStream(ctx, jetstream.StreamConfig{
		Name:        streamName,
		Description: "Carillon's journal: points that are acknowledged and not yet sealed",
		Subjects:    []string{subject},
		Retention:   jetstream.LimitsPolicy,
		Storage:     jetstream.FileStorage,
		Replicas:    1,
		Duplicates:  duplicateWindow,
		Metadata:    map[string]string{partitionsKey: strconv.Itoa(s.partitions)},
		FirstSeq:    first,
	})
	if err != nil {
		return fmt.Errorf("creating stream %s: %w", streamName, err)
	}
	return nil
}

// verify refuses a stream of a journal with another number of partitions, and
// one that may drop what was acknowledged.
func (s *stream) verify(c jetstream.StreamConfig) error {
	if have := c.Metadata[partitionsKey]; have != strconv.Itoa(s.partitions) {
		return fmt.Errorf("stream %s belongs to a journal of %q partitions, not %d: the number is fixed when the journal is created",
			streamName, have, s.partitions)
	}
	if c.Storage != jetstream.FileStorage || c.Retention != jetstream.LimitsPolicy ||
		c.MaxAge > 0 || c.MaxBytes > 0 || c.MaxMsgs > 0 || c.MaxMsgsPerSubject > 0 {
		return fmt.Errorf("stream %s may lose what it acknowledged: it must be kept in files, without limits of age, bytes or messages", streamName)
	}
	if c.Duplicates < duplicateWindow {
		return fmt.Errorf("stream %s forgets message ids after %s, want at least %s", streamName, c.Duplicates, duplicateWindow)
	}
	return nil
}

// publish stores one message; see publisher. An embedded server that does not
// answer is started anew.
func (s *stream) publish(ctx context.Context, id string, message []byte) (uint64, error) {
	if s.embedded == nil {
		return s.send(ctx, id, message)
	}
	generation := s.embedded.running()
	guarded, cancel := s.embedded.logger.guard(ctx)
	defer cancel()
	sequence, err := s.send(guarded, id, message)
	if err == nil || !mayRetry(err) || errors.Is(ctx.Err(), context.Canceled) {
		return sequence, err
	}
	if guarded.Err() != nil && ctx.Err() == nil {
		err = errServer
	}
	err = fmt.Errorf("%w: %w", err, s.embedded.logger.reason())
	return 0, errors.Join(err, s.embedded.restart(generation))
}

func (s *stream) send(ctx context.Context, id string, message []byte) (uint64, error) {
	ack, err := s.jetstream.Publish(ctx, subject, message,
		jetstream.WithMsgID(id), jetstream.WithExpectStream(streamName), jetstream.WithRetryAttempts(0))
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// bounds is the first and the last sequence of the stream; of an empty one, last
// is first-1.
func (s *stream) bounds(ctx context.Context) (first, last uint64, err error) {
	state, err := s.state(ctx)
	if err != nil {
		return 0, 0, err
	}
	if state.Msgs == 0 {
		return state.LastSeq + 1, state.LastSeq, nil
	}
	return state.FirstSeq, state.LastSeq, nil
}

func (s *stream) state(ctx context.Context) (jetstream.StreamState, error) {
	stream, err := s.jetstream.Stream(ctx, streamName)
	if err != nil {
		return jetstream.StreamState{}, fmt.Errorf("reading the state of stream %s: %w", streamName, err)
	}
	return stream.CachedInfo().State, nil
}

// trim removes messages up to and with the given sequence.
func (s *stream) trim(ctx context.Context, through uint64) error {
	stream, err := s.jetstream.Stream(ctx, streamName)
	if err != nil {
		return fmt.Errorf("trimming stream %s: %w", streamName, err)
	}
	// Beyond its end JetStream would skip the sequences in between.
	if last := stream.CachedInfo().State.LastSeq; through > last {
		return fmt.Errorf("trimming stream %s through message %d: it ends at %d", streamName, through, last)
	}
	if err := stream.Purge(ctx, jetstream.WithPurgeSequence(through+1)); err != nil {
		return fmt.Errorf("trimming stream %s through message %d: %w", streamName, through, err)
	}
	return nil
}

// logStart says where the journal is.
func (s *stream) logStart(logger *slog.Logger) {
	where := s.connection.ConnectedUrlRedacted()
	if s.embedded != nil {
		where = s.embedded.dir
	}
	logger.Debug("journal is open", "at", where, "server", s.connection.ConnectedServerVersion())
}
