package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"carillon/directory/location"
	"carillon/pause"
)

const (
	// maxBatch is the changes applied with one sync.
	maxBatch = 1024
	// A pull asks for up to this much.
	pullMessages = 512
	pullBytes    = 4 << 20

	pullExpiry    = 10 * time.Second
	pullHeartbeat = time.Second
	// readerIdle is after how long the server forgets a reader that went away.
	readerIdle = time.Minute
	forgetFor  = time.Second
)

// errRestart makes the node go on with a new consumer.
var errRestart = errors.New("reading the directory's feed starts over")

// stopError carries an error that ends Run.
type stopError struct{ error }

func (e stopError) Unwrap() error { return e.error }

// Run reads the feed and applies it, until ctx ends or the node cannot go on: after
// an error of the directory, and as ErrVersion, ErrForeign and ErrReplaced tell.
// A Node runs once.
func (n *Node) Run(ctx context.Context) error {
	if n.started.Swap(true) {
		return errors.New("the directory's feed runs already, or ran")
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return n.read(ctx) })
	group.Go(func() error { return n.serveRounds(ctx) })
	group.Go(func() error { n.watch(ctx); return nil })
	n.reason = group.Wait()
	n.setLive(false, n.reason.Error())
	close(n.ended)
	return n.reason
}

// read follows the stream with one consumer after the other. The server's consumer
// is only a pump, and may die at any time, with the connection or the server. What
// is true is n.progress: the next consumer starts behind it.
func (n *Node) read(ctx context.Context) error {
	for wait := minRetryWait; ; wait = min(2*wait, maxRetryWait) {
		before, _ := n.progress.look()
		err := n.follow(ctx)
		var stop stopError
		switch {
		case errors.As(err, &stop):
			return stop.error
		case ctx.Err() != nil:
			return ctx.Err()
		case n.connection.IsClosed():
			return fmt.Errorf("reading the directory's feed: %w", nats.ErrConnectionClosed)
		}
		at, _ := n.progress.look()
		if at != before || errors.Is(err, errRestart) {
			wait = minRetryWait
		}
		n.logger.Log(ctx, slog.LevelDebug, "reading the directory's feed starts over", "revision", at, "error", err)
		if err := pause.For(ctx, wait); err != nil {
			return err
		}
	}
}

// follow reads with one consumer, for as long as that works.
func (n *Node) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	back := n.connection.StatusChanged(nats.CONNECTED)
	defer n.connection.RemoveStatusListener(back)

	consumer, err := n.newConsumer(ctx)
	if err != nil {
		return err
	}
	defer n.forget(consumer.CachedInfo().Name)
	messages := make(chan jetstream.Msg, pullMessages) // a batch forms in it
	failed := make(chan error, 1)
	pump, err := consumer.Consume(
		func(m jetstream.Msg) {
			select {
			case messages <- m:
			case <-ctx.Done():
			}
		},
		jetstream.PullMaxMessagesWithBytesLimit(pullMessages, pullBytes),
		jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(pullHeartbeat),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			select {
			case failed <- err:
			default:
			}
		}))
	if err != nil {
		return fmt.Errorf("reading stream %s: %w", streamName, err)
	}
	defer pump.Stop()
	r := reader{node: n}
	for {
		select {
		case m := <-messages:
			if err := r.gather(m, messages); err != nil {
				return err
			}
		case err := <-failed:
			return fmt.Errorf("reading stream %s: %w", streamName, err)
		case <-back:
			return fmt.Errorf("%w: the connection is a new one", errRestart)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (n *Node) newConsumer(ctx context.Context) (jetstream.Consumer, error) {
	if !n.connection.IsConnected() {
		return nil, errAway
	}
	ctx, cancel := context.WithTimeout(ctx, attemptFor)
	defer cancel()
	at, _ := n.progress.look()
	consumer, err := n.jetstream.CreateConsumer(ctx, streamName, jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       at + 1,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: readerIdle,
	})
	if err != nil {
		return nil, fmt.Errorf("creating a reader of stream %s: %w", streamName, err)
	}
	return consumer, nil
}

// forget removes the consumer at once where that is possible; otherwise the server
// does it after readerIdle.
func (n *Node) forget(consumer string) {
	if !n.connection.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), forgetFor)
	defer cancel()
	if err := n.jetstream.DeleteConsumer(ctx, streamName, consumer); err != nil {
		n.logger.Debug("a reader of the directory's feed was not removed", "consumer", consumer, "error", err)
	}
}

// reader makes batches of one consumer's messages.
type reader struct {
	node     *Node
	consumed uint64 // number of the consumer's last message
}

// batch is the messages between two places in the stream.
type batch struct {
	changes []location.Numbered
	ids     []string // of the changes
	through uint64   // sequence of the last message, change or not
}

// gather makes a batch of a message and of what has come behind it, and applies it.
func (r *reader) gather(m jetstream.Msg, more <-chan jetstream.Msg) error {
	var b batch
	err := r.add(&b, m)
	for err == nil && len(b.changes) < maxBatch {
		select {
		case m = <-more:
			err = r.add(&b, m)
			continue
		default:
		}
		break
	}
	if b.through == 0 {
		return err
	}
	return errors.Join(r.node.apply(&b), err)
}

// add takes a message into the batch. Gaps between sequences are barriers that went;
// a gap between the consumer's own numbers is a loss on the way.
func (r *reader) add(b *batch, m jetstream.Msg) error {
	about, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("reading stream %s: %w", streamName, err)
	}
	if about.Sequence.Consumer != r.consumed+1 {
		return fmt.Errorf("%w: message %d of the consumer came, want %d", errRestart, about.Sequence.Consumer, r.consumed+1)
	}
	r.consumed++
	sequence := about.Sequence.Stream
	if m.Subject() == changeSubject {
		id := m.Headers().Get(jetstream.MsgIDHeader)
		change, err := Decode(m.Data())
		switch {
		case errors.Is(err, ErrVersion):
			return stopError{fmt.Errorf("revision %d of the directory's feed: %w", sequence, err)}
		case err != nil:
			r.node.passOver(sequence, id, err)
		default:
			b.changes = append(b.changes, location.Numbered{Revision: sequence, Change: change})
			b.ids = append(b.ids, id)
		}
	}
	b.through = sequence
	return nil
}

// passOver says that a message is applied as nothing, as it is on every node.
func (n *Node) passOver(sequence uint64, id string, err error) {
	n.health.damaged.Add(1)
	n.logger.Error("a change of the directory's feed cannot be read, no node applies it", "revision", sequence, "error", err)
	n.proposals.settle(id, outcome{err: fmt.Errorf("revision %d of the directory's feed: %w", sequence, err)})
}

// apply applies a batch, settles the proposals in it and wakes who waits for it.
func (n *Node) apply(b *batch) error {
	if len(b.changes) > 0 {
		if at := n.directory.Revision(); at != n.changed {
			return stopError{fmt.Errorf("%w: it is at revision %d, want %d", ErrReplaced, at, n.changed)}
		}
		results, err := n.directory.ApplyAll(b.changes)
		if err != nil {
			return stopError{fmt.Errorf("applying revisions %d to %d of the directory's feed: %w",
				b.changes[0].Revision, b.through, err)}
		}
		n.changed = b.changes[len(b.changes)-1].Revision
		for i, id := range b.ids {
			n.proposals.settle(id, outcome{result: results[i]})
		}
	}
	n.progress.advance(b.through)
	return nil
}
