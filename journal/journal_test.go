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

// parts decodes what a message brings.
func parts(t testing.TB, m Message) []Part {
	t.Helper()
	parts, err := collect(&m)
	if err != nil {
		t.Fatal(err)
	}
	return parts
}

func bounds(t testing.TB, j *Journal) [2]uint64 {
	t.Helper()
	first, last, err := j.Bounds(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return [2]uint64{first, last}
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	j := open(t, config(t, dir))
	if got := bounds(t, j); got != [2]uint64{1, 0} {
		t.Errorf("a new stream has bounds %v", got)
	}
	begin := time.Now()
	store(t, j, example(), nil)
	store(t, j, gauges(500), gauges(3))
	if a := j.Acknowledged(); a != 2 {
		t.Errorf("acknowledged %d, want 2", a)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = open(t, config(t, dir))
	if a := j.Acknowledged(); a != 2 {
		t.Errorf("after restart acknowledged is %d, want 2", a)
	}
	store(t, j, gauges(4), nil)
	messages := read(t, j, 0, 1, 3)
	for i, want := range []*Part{example(), gauges(500), gauges(4)} {
		m := messages[i]
		if m.Sequence != uint64(i+1) || m.Err != nil || m.Time.Before(begin.Add(-time.Second)) || time.Since(m.Time) > patience {
			t.Errorf("message %d has sequence %d, time %s, error %v", i, m.Sequence, m.Time, m.Err)
		}
		if diff := cmp.Diff([]Part{*want}, parts(t, m), exactly); diff != "" {
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
		sequence, err := j.stream.send(t.Context(), "one id", encode(t, time.UnixMilli(1), []*Part{example()}))
		if err != nil || sequence != 1 {
			t.Fatalf("sequence %d, error %v", sequence, err)
		}
		if got := bounds(t, j); got != [2]uint64{1, 1} {
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
		if m := <-arrived; m.Sequence != n || parts(t, m)[0].Points() != int(n) {
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
	if _, err := j.stream.jetstream.Publish(t.Context(), subject, []byte("garbage, but long enough for one")); err != nil {
		t.Fatal(err)
	}
	store(t, j, gauges(2), nil)
	m := read(t, j, 0, 1, 3)
	if m[0].Err != nil || m[2].Err != nil || parts(t, m[2])[0].Points() != 2 {
		t.Errorf("neighbours of a corrupt message have errors %v and %v", m[0].Err, m[2].Err)
	}
	if !errors.Is(m[1].Err, ErrCorrupt) || m[1].Sequence != 2 || len(parts(t, m[1])) != 0 {
		t.Errorf("corrupt message: %+v", m[1])
	}
}

func TestTrimAndMissing(t *testing.T) {
	dir := t.TempDir()
	j := open(t, config(t, dir))
	for range 6 {
		store(t, j, gauges(1), nil)
	}
	stream, err := j.stream.jetstream.Stream(t.Context(), streamName)
	if err != nil {
		t.Fatal(err)
	}
	for _, lost := range []uint64{4, 5} {
		if err := stream.DeleteMsg(t.Context(), lost); err != nil {
			t.Fatal(err)
		}
	}
	trim(t, j, 2)
	if got := bounds(t, j); got != [2]uint64{3, 6} {
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
	if err := j.stream.trim(t.Context(), 7); err == nil {
		t.Error("trimmed beyond the end")
	}
	trim(t, j, 6)
	j.Close()
	j = open(t, config(t, dir))
	if got := bounds(t, j); got != [2]uint64{7, 6} {
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

// trim says that no partition needs anything through a message.
func trim(t *testing.T, j *Journal, through uint64) {
	t.Helper()
	for partition := range j.config.Partitions {
		if err := j.Trim(t.Context(), partition, through); err != nil {
			t.Fatal(err)
		}
	}
}

// A message stays for as long as one partition needs it.
func TestTrimKeepsWhatOnePartitionNeeds(t *testing.T) {
	j := open(t, config(t, t.TempDir()))
	for range 5 {
		store(t, j, gauges(1), nil)
	}
	for _, step := range []struct {
		partition   int
		through     uint64
		first, last uint64
	}{{0, 4, 1, 5}, {1, 2, 3, 5}, {1, 1, 3, 5}, {1, 5, 5, 5}, {0, 5, 6, 5}} {
		if err := j.Trim(t.Context(), step.partition, step.through); err != nil {
			t.Fatal(err)
		}
		if got := bounds(t, j); got != [2]uint64{step.first, step.last} {
			t.Errorf("partition %d trimmed through %d: bounds are %v", step.partition, step.through, got)
		}
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
	stream, err := j.stream.jetstream.Stream(t.Context(), streamName)
	if err != nil {
		t.Fatal(err)
	}
	c := stream.CachedInfo().Config
	edit(&c)
	if _, err := j.stream.jetstream.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
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
		last := j.Acknowledged()
		if last >= senders*each {
			t.Errorf("partition %d: %d messages for %d appends", partition, last, senders*each)
		}
		next := [senders]int64{}
		for _, m := range read(t, j, partition, 1, int(last)) {
			for _, p := range parts(t, m) {
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
