package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"carillon/pause"
)

const (
	// A pull asks for up to this much; two pulls may be buffered. The client drops what
	// it has no room for, and what the server says about a pull takes room beside it: with
	// small numbers that happens.
	pullMessages = 256
	pullBytes    = maxSectionsBytes + messageOverheadBytes

	pullExpiry = 30 * time.Second
	// pullHeartbeat is half of how long a follower waits for messages that were dropped.
	pullHeartbeat = time.Second
	// readerIdle is after how long the server forgets a reader that went away.
	readerIdle = time.Minute
	forgetFor  = 2 * time.Second

	// nearMessages is how near its end a follower is done with the stream: what it
	// has left then and what comes until it is there must fit into live.
	nearMessages = liveMessages / 4
)

// ErrMissing means that the stream no longer has messages that were neither
// read nor trimmed by this process: lost by the server, or removed by others.
var ErrMissing = errors.New("messages are missing from the journal")

// errRestart makes a follower go on with a new consumer.
var errRestart = errors.New("reading starts over")

// handError carries an error of the receiver out of the follower unchanged.
type handError struct{ error }

// follower reads the stream to its end, each message once, for one reader or for several
// that began together.
//
// The server's consumer is only a pump, and may die at any time: with the
// connection, the server, or because it delivered too much for the client. What
// is true is next alone: every message handed out has sequence next, after
// which next rises. A message that comes too late for that is a repetition; one
// too early means that some were lost on the way, so a new consumer starts at
// next. If its first message is too early as well, they are not in the stream.
type follower struct {
	streams *stream
	logger  *slog.Logger
	next    uint64
	hand    func(Message, frame) error // the message but for what is encoded, which is in the frame
	attach  func()                     // from here on messages come another way too, see Reader
}

// run reads to the end. It fails when ctx ends, the stream ends before next, or
// the receiver fails.
func (f *follower) run(ctx context.Context) error {
	for wait := minRetryWait; ; wait = min(2*wait, maxRetryWait) {
		before := f.next
		err := f.toEnd(ctx)
		var handed handError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &handed):
			return handed.error
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrMissing):
			return err
		case errors.Is(err, errRestart) || f.next != before:
			wait = minRetryWait
		}
		level := slog.LevelDebug
		if wait == maxRetryWait {
			level = slog.LevelWarn
		}
		f.logger.Log(ctx, level, "journal reader starts over", "next", f.next, "error", err)
		if err := pause.For(ctx, wait); err != nil {
			return err
		}
	}
}

// toEnd reads until little is left, attaches, and reads what was left.
func (f *follower) toEnd(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(f.streams.link(), cancel)()
	for {
		last, err := f.locate(ctx)
		if err != nil {
			return err
		}
		if last < f.next+nearMessages {
			break
		}
		if err := f.through(ctx, last); err != nil {
			return err
		}
	}
	f.attach()
	last, err := f.locate(ctx)
	if err != nil || last < f.next {
		return err
	}
	return f.through(ctx, last)
}

// locate makes sure that the stream goes on at next, and returns where it ends.
// Messages before the stream's first are reported missing; a stream that ends
// before next has lost its end, and would take what is written now for what was
// read long ago.
func (f *follower) locate(ctx context.Context) (last uint64, err error) {
	first, last, err := f.streams.bounds(ctx)
	if err != nil {
		return 0, err
	}
	if f.next > last+1 {
		return 0, fmt.Errorf("%w: stream %s ends at message %d, reading was to go on at %d", ErrMissing, streamName, last, f.next)
	}
	return last, f.skipTo(first)
}

// through reads with one consumer up to and with a message.
func (f *follower) through(ctx context.Context, last uint64) error {
	consumer, err := f.streams.jetstream.CreateConsumer(ctx, streamName, jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       f.next,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: readerIdle,
	})
	if err != nil {
		return fmt.Errorf("creating a reader of stream %s: %w", streamName, err)
	}
	defer f.forget(consumer.CachedInfo().Name)
	messages, err := consumer.Messages(
		jetstream.PullMaxMessagesWithBytesLimit(pullMessages, pullBytes),
		jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(pullHeartbeat))
	if err != nil {
		return fmt.Errorf("reading stream %s: %w", streamName, err)
	}
	defer messages.Stop()
	for fresh := true; f.next <= last; fresh = false {
		message, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("reading stream %s: %w", streamName, err)
		}
		if err := f.deliver(message, fresh); err != nil {
			return err
		}
	}
	return nil
}

// skipTo reports messages from next up to sequence as missing, if there are any.
func (f *follower) skipTo(sequence uint64) error {
	if sequence <= f.next {
		return nil
	}
	from := f.next
	f.next = sequence
	return f.give(Message{
		Sequence: sequence - 1,
		Err:      fmt.Errorf("%w: %d to %d of stream %s", ErrMissing, from, sequence-1, streamName),
	}, frame{})
}

// deliver hands one message on; fresh tells that it is the consumer's first.
func (f *follower) deliver(message jetstream.Msg, fresh bool) error {
	about, err := message.Metadata()
	if err != nil {
		return fmt.Errorf("reading stream %s: %w", streamName, err)
	}
	sequence := about.Sequence.Stream
	if sequence < f.next {
		return nil
	}
	if sequence > f.next && !fresh {
		return fmt.Errorf("%w: message %d came, want %d", errRestart, sequence, f.next)
	}
	if err := f.skipTo(sequence); err != nil {
		return err
	}
	f.next++
	opened, err := openMessage(message.Data())
	at := opened.at
	if err != nil { // its own time may be what is damaged
		at = about.Timestamp
	}
	return f.give(Message{Sequence: sequence, Time: at, Err: err}, opened)
}

func (f *follower) give(message Message, opened frame) error {
	if err := f.hand(message, opened); err != nil {
		return handError{err}
	}
	return nil
}

// forget removes the consumer at once where that is possible; otherwise the
// server does it after readerIdle.
func (f *follower) forget(consumer string) {
	ctx, cancel := context.WithTimeout(context.Background(), forgetFor)
	defer cancel()
	if err := f.streams.jetstream.DeleteConsumer(ctx, streamName, consumer); err != nil {
		f.logger.Debug("journal reader was not removed", "stream", streamName, "error", err)
	}
}
