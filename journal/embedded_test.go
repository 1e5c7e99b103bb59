package journal

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// A storage error is told at once, and does not outlast its cause.
func TestStorageError(t *testing.T) {
	j := open(t, config(t, t.TempDir()))
	change(t, j, func(c *jetstream.StreamConfig) { c.MaxBytes, c.Discard = 10, jetstream.DiscardNew })
	var refused *jetstream.APIError
	if err := j.Append(t.Context(), []*Part{gauges(10), nil}); !errors.Is(err, ErrUnavailable) || !errors.As(err, &refused) {
		t.Fatalf("append to a full stream: %v", err)
	}
	change(t, j, func(c *jetstream.StreamConfig) { c.MaxBytes = -1 })
	store(t, j, gauges(10), nil)
}

// A write that fails is not answered, only logged: senders are told the logged
// error soon, and the server is started anew.
func TestWriteError(t *testing.T) {
	c := config(t, t.TempDir())
	c.Logger = slog.New(slog.DiscardHandler)
	j := open(t, c)
	change(t, j, func(c *jetstream.StreamConfig) { c.NoAck = true })
	age(j.stream.embedded)
	generation := j.stream.embedded.running()
	j.stream.embedded.logger.Errorf("write error: no space left on device")
	begin := time.Now()
	err := j.Append(t.Context(), []*Part{gauges(1), nil})
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "no space left") {
		t.Fatalf("append that is not answered: %v", err)
	}
	if took := time.Since(begin); took > attemptFor {
		t.Errorf("the sender was told after %s", took)
	}
	if j.stream.embedded.running() == generation {
		t.Error("the server was not started anew")
	}
	deadline := time.Now().Add(patience)
	for !j.stream.connection.IsConnected() && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond) // polls the client's state
	}
	change(t, j, func(c *jetstream.StreamConfig) { c.NoAck = false })
	store(t, j, gauges(1), nil)
}

// age lets the embedded server be restarted as if it had run for long.
func age(e *embedded) *server.Server {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.started = e.started.Add(-minRestartWait)
	return e.current
}

// When JetStream has switched itself off, as it does on a full disk, the
// embedded server is started anew; appends and readers go on.
func TestEmbeddedServerFails(t *testing.T) {
	j := open(t, config(t, t.TempDir()))
	store(t, j, gauges(1), nil)
	arrived := make(chan Message)
	go j.Read(t.Context(), 0, 1, func(m Message) error { arrived <- m; return nil })
	<-arrived
	if err := age(j.stream.embedded).ShutdownJetStream(); err != nil {
		t.Fatal(err)
	}
	store(t, j, gauges(2), nil)
	if m := <-arrived; m.Sequence != 2 || parts(t, m)[0].Points() != 2 {
		t.Errorf("after the failure came %+v", m)
	}
}
