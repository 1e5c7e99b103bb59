package feed

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Begin makes the stream of a feed that goes on behind a revision, that of a directory
// which was restored from a backup: it is as if all changes before had been trimmed.
// There must be no stream.
func Begin(ctx context.Context, connection *nats.Conn, revision uint64, replicas int) error {
	if revision == 0 {
		return nil // Open begins it
	}
	js, err := jetstream.New(connection)
	if err != nil {
		return fmt.Errorf("beginning the directory's feed: %w", err)
	}
	config := streamConfig(replicas)
	config.FirstSeq = revision + 1
	if _, err := js.CreateStream(ctx, config); err != nil {
		return fmt.Errorf("beginning the directory's feed behind revision %d: %w", revision, err)
	}
	return nil
}
