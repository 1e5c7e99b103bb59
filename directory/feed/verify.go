package feed

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Checked is what Verify has read.
type Checked struct {
	First, Last uint64 // sequences of the stream; of an empty one, Last is First-1
	Changes     uint64
}

// Verify reads the whole stream and decodes every change. It calls wrong with each that
// is damaged. Without a stream, which is one that nothing was ever written to, Checked is
// zero. An error means that the stream could not be read.
func Verify(ctx context.Context, connection *nats.Conn, wrong func(error)) (c Checked, err error) {
	js, err := jetstream.New(connection)
	if err != nil {
		return c, fmt.Errorf("reading stream %s: %w", streamName, err)
	}
	stream, err := js.Stream(ctx, streamName)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("reading stream %s: %w", streamName, err)
	}
	state := stream.CachedInfo().State
	c.First, c.Last = state.FirstSeq, state.LastSeq
	if state.Msgs == 0 {
		c.First = c.Last + 1
		return c, nil
	}
	if err := c.read(ctx, stream, wrong); err != nil {
		return c, fmt.Errorf("reading stream %s: %w", streamName, err)
	}
	return c, nil
}

func (c *Checked) read(ctx context.Context, stream jetstream.Stream, wrong func(error)) error {
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	for at := uint64(0); at < c.Last; {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		about, err := m.Metadata()
		if err != nil {
			return err
		}
		at = about.Sequence.Stream
		if m.Subject() != changeSubject {
			continue
		}
		c.Changes++
		if _, err := Decode(m.Data()); err != nil {
			wrong(fmt.Errorf("revision %d of the directory's feed: %w", at, err))
		}
	}
	return nil
}
