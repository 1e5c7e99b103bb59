package feed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The stream. Changes are messages on its first subject. The others are for marks,
// which are empty and change nothing:
//   - start: the stream's first message, there for good. Without it, a stream whose
//     first change is missing could not be told from one that began with a
//     barrier.
//   - barrier: see rounds. Only the newest one stays in the stream.
const (
	streamName     = "carillon-directory"
	changeSubject  = "carillon.directory.changes"
	startSubject   = "carillon.directory.start"
	barrierSubject = "carillon.directory.barrier"

	// duplicateWindow is for how long the stream knows the id of a message that it
	// stored.
	duplicateWindow = 2 * time.Minute
)

const (
	attemptFor   = 2 * time.Second // one request to the stream
	minRetryWait = 20 * time.Millisecond
	maxRetryWait = time.Second
)

var errAway = errors.New("no connection to the feed's server")

// ensureStream makes the stream if it is missing, and checks that it is one that
// loses nothing and that the directory can go on from it.
func (n *Node) ensureStream(ctx context.Context) error {
	var info *jetstream.StreamInfo
	err := n.retry(ctx, func(ctx context.Context) error {
		stream, err := n.jetstream.Stream(ctx, streamName)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			stream, err = n.jetstream.CreateStream(ctx, streamConfig(n.replicas))
		}
		if err != nil {
			return fmt.Errorf("stream %s: %w", streamName, err)
		}
		info = stream.CachedInfo()
		return n.writeStart(ctx, info.State.LastSeq)
	})
	if err != nil {
		return err
	}
	if err := verifyConfig(&info.Config, n.replicas); err != nil {
		return err
	}
	at := n.directory.Revision()
	if first := info.State.FirstSeq; first > at+1 {
		return fmt.Errorf("%w: stream %s begins at revision %d, the directory ends at %d", ErrTrimmed, streamName, first, at)
	}
	return n.retry(ctx, func(ctx context.Context) error {
		_, err := n.bound(ctx, at)
		return err
	})
}

func streamConfig(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        streamName,
		Description: "Carillon's location directory: every change, in order",
		Subjects:    []string{changeSubject, startSubject, barrierSubject},
		Retention:   jetstream.LimitsPolicy,
		Storage:     jetstream.FileStorage,
		Replicas:    replicas,
		Duplicates:  duplicateWindow,
		MaxMsgSize:  maxMessageBytes + maxHeaderBytes,
		DenyDelete:  true,
		AllowRollup: true,
	}
}

// maxHeaderBytes is for the headers of a message, which count as part of it.
const maxHeaderBytes = 1 << 10

// verifyConfig refuses a stream that others made and that may lose a change, or
// count one twice.
func verifyConfig(c *jetstream.StreamConfig, replicas int) error {
	switch {
	case c.Storage != jetstream.FileStorage || c.Retention != jetstream.LimitsPolicy ||
		c.MaxAge > 0 || c.MaxBytes > 0 || c.MaxMsgs > 0 || c.MaxMsgsPerSubject > 0:
		return fmt.Errorf("stream %s may lose what it acknowledged: it must be kept in files, without limits of age, bytes or messages", streamName)
	case c.Replicas != replicas:
		return fmt.Errorf("stream %s has %d replicas, this node is configured for %d", streamName, c.Replicas, replicas)
	case c.Duplicates < duplicateWindow:
		return fmt.Errorf("stream %s forgets message ids after %s, want at least %s", streamName, c.Duplicates, duplicateWindow)
	case !c.AllowRollup:
		return fmt.Errorf("stream %s does not allow roll-ups: barriers would fill it", streamName)
	}
	return nil
}

// writeStart makes the stream's first message, unless there is one.
func (n *Node) writeStart(ctx context.Context, last uint64) error {
	if last > 0 {
		return nil
	}
	_, err := n.jetstream.PublishMsg(ctx, &nats.Msg{Subject: startSubject},
		jetstream.WithExpectLastSequence(0), jetstream.WithRetryAttempts(0))
	var refused *jetstream.APIError
	if errors.As(err, &refused) && (refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant) {
		return nil // another node was first
	}
	if err != nil {
		return fmt.Errorf("starting stream %s: %w", streamName, err)
	}
	return nil
}

// retry calls do, each time with a time-out of its own, until it works, fails for
// good, or ctx or Run ends.
func (n *Node) retry(ctx context.Context, do func(context.Context) error) error {
	for wait := minRetryWait; ; wait = min(2*wait, maxRetryWait) {
		err := errAway
		if n.connection.IsConnected() {
			attempt, cancel := context.WithTimeout(ctx, attemptFor)
			err = do(attempt)
			cancel()
		}
		switch {
		case err == nil || permanent(err):
			return err
		case n.connection.IsClosed():
			return fmt.Errorf("%w: %w", nats.ErrConnectionClosed, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-n.ended:
			return n.endedError()
		case <-time.After(wait):
		}
	}
}

// Codes of JetStream's answers that the client library has no names for.
const (
	codeNoPeers      jetstream.ErrorCode = 10005 // yet: the cluster is forming
	codeNotClustered jetstream.ErrorCode = 10074 // replicas wanted of a single server
)

// permanent tells errors that the same request would get again.
func permanent(err error) bool {
	if errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, ErrForeign) {
		return true
	}
	var refused *jetstream.APIError
	return errors.As(err, &refused) && (refused.ErrorCode == codeNotClustered ||
		refused.Code == 400 && refused.ErrorCode != codeNoPeers)
}
