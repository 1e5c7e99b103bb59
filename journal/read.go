package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// A pull asks for up to this much; two pulls may be buffered.
	pullMessages = 256
	pullBytes    = maxPayloadBytes + 64<<10

	pullExpiry    = 30 * time.Second
	pullHeartbeat = 5 * time.Second
	// readerIdle is after how long the server forgets a reader that went away.
	readerIdle = time.Minute
	forgetFor  = 2 * time.Second
)

// ErrMissing means that the stream no longer has messages that were neither
// read nor trimmed by this process: lost by the server, or removed by others.
var ErrMissing = errors.New("messages are missing from the journal")

// errRestart makes a reader go on with a new consumer.
var errRestart = errors.New("reading starts over")

// visitError carries an error of the visitor out of the reader unchanged.
type visitError struct{ error }

// reader reads one partition's stream in order, each message once.
//
// The server's consumer is only a pump, and may die at any time: with the
// connection, the server, or because it delivered too much for the client. What
// is true is next alone: every message handed out has sequence next, after
// which next rises. A message that comes too late for that is a repetition; one
// too early means that some were lost on the way, so a new consumer starts at
// next. If its first message is too early as well, they are not in the stream.
type reader struct {
	streams   *streams
	logger    *slog.Logger
	partition int
	next      uint64
	visit     func(Message) error
}

// run reads until ctx ends or visit returns an error.
func (r *reader) run(ctx context.Context) error {
	for wait := minRetryWait; ; wait = min(2*wait, maxRetryWait) {
		before := r.next
		err := r.follow(ctx)
		var visited visitError
		switch {
		case errors.As(err, &visited):
			return visited.error
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrMissing):
			return err
		case errors.Is(err, errRestart) || r.next != before:
			wait = minRetryWait
		}
		level := slog.LevelDebug
		if wait == maxRetryWait {
			level = slog.LevelWarn
		}
		r.logger.Log(ctx, level, "journal reader starts over", "partition", r.partition, "next", r.next, "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// follow reads with one consumer, for as long as that works.
func (r *reader) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.streams.link(), cancel)()

	if err := r.locate(ctx); err != nil {
		return err
	}
	stream := streamName(r.partition)
	consumer, err := r.streams.jetstream.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       r.next,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: readerIdle,
	})
	if err != nil {
		return fmt.Errorf("creating a reader of stream %s: %w", stream, err)
	}
	defer r.forget(stream, consumer.CachedInfo().Name)
	messages, err := consumer.Messages(
		jetstream.PullMaxMessagesWithBytesLimit(pullMessages, pullBytes),
		jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(pullHeartbeat))
	if err != nil {
		return fmt.Errorf("reading stream %s: %w", stream, err)
	}
	defer messages.Stop()
	for fresh := true; ; fresh = false {
		message, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("reading stream %s: %w", stream, err)
		}
		if err := r.deliver(message, fresh); err != nil {
			return err
		}
	}
}

// locate makes sure that the stream goes on at next. Messages before the
// stream's first are reported missing; a stream that ends before next has lost
// its end, and would take what is written now for what was read long ago.
func (r *reader) locate(ctx context.Context) error {
	first, last, err := r.streams.bounds(ctx, r.partition)
	if err != nil {
		return err
	}
	if r.next > last+1 {
		return fmt.Errorf("%w: stream %s ends at message %d, reading was to go on at %d",
			ErrMissing, streamName(r.partition), last, r.next)
	}
	return r.skipTo(first)
}

// skipTo reports messages from next up to sequence as missing, if there are any.
func (r *reader) skipTo(sequence uint64) error {
	if sequence <= r.next {
		return nil
	}
	from := r.next
	r.next = sequence
	return r.hand(Message{
		Sequence: sequence - 1,
		Err:      fmt.Errorf("%w: %d to %d of stream %s", ErrMissing, from, sequence-1, streamName(r.partition)),
	})
}

// deliver hands one message to the visitor; fresh tells that it is the
// consumer's first.
func (r *reader) deliver(message jetstream.Msg, fresh bool) error {
	about, err := message.Metadata()
	if err != nil {
		return fmt.Errorf("reading stream %s: %w", streamName(r.partition), err)
	}
	sequence := about.Sequence.Stream
	if sequence < r.next {
		return nil
	}
	if sequence > r.next && !fresh {
		return fmt.Errorf("%w: message %d came, want %d", errRestart, sequence, r.next)
	}
	if err := r.skipTo(sequence); err != nil {
		return err
	}
	r.next++
	parts, err := Decode(message.Data())
	return r.hand(Message{Sequence: sequence, Time: about.Timestamp, Parts: parts, Err: err})
}

func (r *reader) hand(message Message) error {
	if err := r.visit(message); err != nil {
		return visitError{err}
	}
	return nil
}

// forget removes the consumer at once where that is possible; otherwise the
// server does it after readerIdle.
func (r *reader) forget(stream, consumer string) {
	ctx, cancel := context.WithTimeout(context.Background(), forgetFor)
	defer cancel()
	if err := r.streams.jetstream.DeleteConsumer(ctx, stream, consumer); err != nil {
		r.logger.Debug("journal reader was not removed", "stream", stream, "error", err)
	}
}
