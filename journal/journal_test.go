package journal

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

func config(t testing.TB, dir string) Config {
	level := slog.LevelError
	if testing.Verbose() {
		level = slog.LevelDebug
	}
	logger := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: level}))
	return Config{Dir: dir, Partitions: 2, Logger: logger}
}

func open(t testing.TB, config Config) *Journal {
	t.Helper()
	j, err := Open(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func store(t testing.TB, j *Journal, parts ...*Part) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := j.Append(ctx, parts); err != nil {
		t.Fatal(err)
	}
}

var errEnough = errors.New("enough read")

// read reads n messages from a sequence on.
func read(t testing.TB, j *Journal, partition int, from uint64, n int) []Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var messages []Message
	err := j.Read(ctx, partition, from, func(m Message) error {
		if messages = append(messages, m); len(messages) == n {
			return errEnough
		}
		return nil
	})
	if err != errEnough {
		t.Fatalf("read %d of %d messages: %v", len(messages), n, err)
	}
	return messages
}

func bounds(t testing.TB, j *Journal, partition int) [2]uint64 {
	t.Helper()
	first, last, err := j.Bounds(context.Background(), partition)
	if err != nil {
		t.Fatal(err)
	}
	return [2]uint64{first, last}
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	j := open(t, config(t, dir))
	if got := bounds(t, j, 0); got != [2]uint64{1, 0} {
		t.Errorf("a new stream has bounds %v", got)
	}
	begin := time.Now()
	store(t, j, example(), nil)
	store(t, j, gauges(500), gauges(3))
	if a, b := j.Acknowledged(0), j.Acknowledged(1); a != 2 || b != 1 {
		t.Errorf("acknowledged %d and %d, want 2 and 1", a, b)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = open(t, config(t, dir))
	if a, b := j.Acknowledged(0), j.Acknowledged(1); a != 2 || b != 1 {
		t.Errorf("after restart acknowledged is %d and %d, want 2 and 1", a, b)
	}
	store(t, j, gauges(4), nil)
	messages := read(t, j, 0, 1, 3)
	for i, want := range []*Part{example(), gauges(500), gauges(4)} {
		m := messages[i]
		if m.Sequence != uint64(i+1) || m.Err != nil || m.Time.Before(begin.Add(-time.Second)) || time.Since(m.Time) > patience {
			t.Errorf("message %d has sequence %d, time %s, error %v", i, m.Sequence, m.Time, m.Err)
		}
		if diff := cmp.Diff([]Part{*want}, m.Parts, same); diff != "" {
			t.Errorf("message %d: want -, got +\n%s", i, diff)
		}
	}
	if from2 := read(t, j, 0, 2, 1); from2[0].Sequence != 2 {
		t.Errorf("read from 2 began at %d", from2[0].Sequence)
	}
	if n, err := j.Bytes(t.Context()); err != nil || n == 0 {
		t.Errorf("%d bytes, error %v", n, err)
	}
}

// A message that is published again after the server restarted is stored once.
func TestRepeatedPublishOverRestart(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		j := open(t, config(t, dir))
		sequence, err := j.streams.send(t.Context(), 0, "one id", Encode(nil, []*Part{example()}))
		if err != nil || sequence != 1 {
			t.Fatalf("sequence %d, error %v", sequence, err)
		}
		if got := bounds(t, j, 0); got != [2]uint64{1, 1} {
			t.Fatalf("bounds are %v", got)
		}
		j.Close()
	}
}

func TestReadFollows(t *testing.T) {
	j := open(t, config(t, t.TempDir()))
	arrived := make(chan Message)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() {
		ended <- j.Read(ctx, 1, 1, func(m Message) error { arrived <- m; return nil })
	}()
	for n := uint64(1); n <= 3; n++ {
		store(t, j, nil, gauges(int(n)))
		if m := <-arrived; m.Sequence != n || m.Parts[0].Points() != int(n) {
			t.Fatalf("message %d came, want %d", m.Sequence, n)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("reader whose context ended: %v", err)
	}
	go func() { ended <- j.Read(t.Context(), 1, 3, func(m Message) error { arrived <- m; return nil }) }()
	<-arrived
	j.Close()
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("reader of a closed journal: %v", err)
	}
}

// Bytes that are no message come with an error, and those behind them come too.
func TestCorruptMessage(t *testing.T) {
	j := open(t, config(t, t.TempDir()))
	store(t, j, gauges(1), nil)
	if _, err := j.streams.jetstream.Publish(t.Context(), subject(0), []byte("garbage, but long enough for one")); err != nil {
		t.Fatal(err)
	}
	store(t, j, gauges(2), nil)
	m := read(t, j, 0, 1, 3)
	if m[0].Err != nil || m[2].Err != nil || m[2].Parts[0].Points() != 2 {
		t.Errorf("neighbours of a corrupt message have errors %v and %v", m[0].Err, m[2].Err)
	}
	if !errors.Is(m[1].Err, ErrCorrupt) || m[1].Sequence != 2 || len(m[1].Parts) != 0 {
		t.Errorf("corrupt message: %+v", m[1])
	}
}

func TestTrimAndMissing(t *testing.T) {
	dir := t.TempDir()
	j := open(t, config(t, dir))
	for range 6 {
		store(t, j, gauges(1), nil)
	}
	stream, err := j.streams.jetstream.Stream(t.Context(), streamName(0))
	if err != nil {
		t.Fatal(err)
	}
	for _, lost := range []uint64{4, 5} {
		if err := stream.DeleteMsg(t.Context(), lost); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Trim(t.Context(), 0, 2); err != nil {
		t.Fatal(err)
	}
	if got := bounds(t, j, 0); got != [2]uint64{3, 6} {
		t.Errorf("bounds are %v", got)
	}
	m := read(t, j, 0, 1, 4)
	for i, want := range []struct {
		sequence uint64
		missing  bool
	}{{2, true}, {3, false}, {5, true}, {6, false}} {
		if m[i].Sequence != want.sequence || errors.Is(m[i].Err, ErrMissing) != want.missing {
			t.Errorf("message %d has sequence %d and error %v, want %v", i, m[i].Sequence, m[i].Err, want)
		}
	}
	if err := j.Trim(t.Context(), 0, 7); err == nil {
		t.Error("trimmed beyond the end")
	}
	if err := j.Trim(t.Context(), 0, 6); err != nil {
		t.Fatal(err)
	}
	j.Close()
	j = open(t, config(t, dir))
	if got := bounds(t, j, 0); got != [2]uint64{7, 6} {
		t.Errorf("after a restart a stream trimmed to its end has bounds %v", got)
	}
	store(t, j, gauges(1), nil)
	if m := read(t, j, 0, 7, 1); m[0].Err != nil || m[0].Sequence != 7 {
		t.Errorf("first message after the trim: %+v", m[0])
	}
	err = j.Read(t.Context(), 0, 9, func(Message) error { return nil })
	if !errors.Is(err, ErrMissing) {
		t.Errorf("read beyond the end: %v", err)
	}
}

func TestOtherNumberOfPartitions(t *testing.T) {
	dir := t.TempDir()
	open(t, config(t, dir)).Close()
	other := config(t, dir)
	other.Partitions = 3
	if _, err := Open(t.Context(), other); err == nil || !strings.Contains(err.Error(), `"2" partitions, not 3`) {
		t.Fatalf("opened with another number of partitions: %v", err)
	}
	open(t, config(t, dir))
}

// Streams that were not created before a crash are created by the next Open.
func TestCreationCutShort(t *testing.T) {
	dir := t.TempDir()
	j := open(t, config(t, dir))
	store(t, j, gauges(1), nil)
	if err := j.streams.jetstream.DeleteStream(t.Context(), streamName(1)); err != nil {
		t.Fatal(err)
	}
	j.Close()
	j = open(t, config(t, dir))
	store(t, j, gauges(1), gauges(1))
	if bounds(t, j, 0) != [2]uint64{1, 2} || bounds(t, j, 1) != [2]uint64{1, 1} {
		t.Errorf("bounds are %v and %v", bounds(t, j, 0), bounds(t, j, 1))
	}
}

func TestStreamThatForgets(t *testing.T) {
	dir := t.TempDir()
	j := open(t, config(t, dir))
	change(t, j, func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour })
	j.Close()
	if _, err := Open(t.Context(), config(t, dir)); err == nil || !strings.Contains(err.Error(), "may lose") {
		t.Fatalf("opened a stream with a maximum age: %v", err)
	}
}

// change changes the configuration of partition 0's stream.
func change(t *testing.T, j *Journal, edit func(*jetstream.StreamConfig)) {
	t.Helper()
	stream, err := j.streams.jetstream.Stream(t.Context(), streamName(0))
	if err != nil {
		t.Fatal(err)
	}
	c := stream.CachedInfo().Config
	edit(&c)
	if _, err := j.streams.jetstream.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

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
	age(j.streams.embedded)
	generation := j.streams.embedded.running()
	j.streams.embedded.logger.Errorf("write error: no space left on device")
	begin := time.Now()
	err := j.Append(t.Context(), []*Part{gauges(1), nil})
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "no space left") {
		t.Fatalf("append that is not answered: %v", err)
	}
	if took := time.Since(begin); took > attemptFor {
		t.Errorf("the sender was told after %s", took)
	}
	if j.streams.embedded.running() == generation {
		t.Error("the server was not started anew")
	}
	deadline := time.Now().Add(patience)
	for !j.streams.connection.IsConnected() && time.Now().Before(deadline) {
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
	if err := age(j.streams.embedded).ShutdownJetStream(); err != nil {
		t.Fatal(err)
	}
	store(t, j, gauges(2), nil)
	if m := <-arrived; m.Sequence != 2 || m.Parts[0].Points() != 2 {
		t.Errorf("after the failure came %+v", m)
	}
}

func TestDirectoryCannotBeUsed(t *testing.T) {
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	quiet := config(t, file)
	quiet.Logger = slog.New(slog.DiscardHandler)
	if _, err := Open(t.Context(), quiet); err == nil || !strings.Contains(err.Error(), file) {
		t.Fatalf("opened a journal in a file: %v", err)
	}
}

// Many senders at once: each part is in the stream once, in fewer messages than
// there were appends.
func TestManySenders(t *testing.T) {
	const senders, each = 16, 50
	j := open(t, config(t, t.TempDir()))
	var all sync.WaitGroup
	for s := range senders {
		all.Go(func() {
			for i := range each {
				p := &Part{Request: Hash{byte(s), byte(i), 1}, Refs: []Ref{Ref(s)}, Times: []int64{int64(i)}, Values: []float64{1}}
				if err := j.Append(t.Context(), []*Part{p, p}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for partition := range 2 {
		last := j.Acknowledged(partition)
		if last >= senders*each {
			t.Errorf("partition %d: %d messages for %d appends", partition, last, senders*each)
		}
		next := [senders]int64{}
		for _, m := range read(t, j, partition, 1, int(last)) {
			for _, p := range m.Parts {
				if p.Times[0] != next[p.Refs[0]] {
					t.Fatalf("sender %d: part %d came, want %d", p.Refs[0], p.Times[0], next[p.Refs[0]])
				}
				next[p.Refs[0]]++
			}
		}
		for s, n := range next {
			if n != each {
				t.Errorf("sender %d: %d parts, want %d", s, n, each)
			}
		}
	}
}
