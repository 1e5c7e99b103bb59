package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
)

// stored is one message that reached the fake publisher.
type stored struct {
	id    string
	at    time.Time
	parts [2][]Part // by partition
}

// fakePublisher keeps messages in memory. Each publish first asks answer, if
// there is one, which may block or fail.
type fakePublisher struct {
	t        testing.TB
	answer   func(attempt int) error
	sequence func(attempt int) uint64 // nil: that of the attempt

	mu       sync.Mutex
	attempts int
	messages []stored
}

// count is how many messages were begun.
func (p *fakePublisher) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.messages)
}

func (p *fakePublisher) publish(_ context.Context, id string, message []byte) (uint64, error) {
	m := stored{id: id}
	for partition := range m.parts {
		var err error
		if m.at, m.parts[partition], err = decode(message, partition); err != nil {
			p.t.Error(err)
		}
	}
	p.mu.Lock()
	p.attempts++
	attempt := p.attempts
	p.messages = append(p.messages, m)
	p.mu.Unlock()
	if p.answer != nil {
		if err := p.answer(attempt); err != nil {
			return 0, err
		}
	}
	if p.sequence != nil {
		return p.sequence(attempt), nil
	}
	return uint64(attempt), nil
}

// faked is a journal of two partitions without a server.
func faked(t testing.TB, p *fakePublisher, config Config) *Journal {
	t.Helper()
	p.t = t
	config.Partitions = 2
	config.Logger = slog.New(slog.DiscardHandler)
	if config.MaxQueuedBytes == 0 {
		config.MaxQueuedBytes = DefaultQueuedBytes
	}
	j, err := newJournal(config, maxSectionsBytes, 0, p)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// While one message is on its way, all that arrives becomes the next one.
func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		p := &fakePublisher{answer: func(attempt int) error {
			if attempt == 1 {
				<-gate
			}
			return nil
		}}
		j := faked(t, p, Config{})
		var appends sync.WaitGroup
		begin := func(request byte) {
			appends.Go(func() {
				if err := j.Append(t.Context(), []*Part{{Request: Hash{request}, Refs: []Ref{1}, Times: []int64{2}, Values: []float64{3}}, nil}); err != nil {
					t.Error(err)
				}
			})
		}
		begin(1)
		synctest.Wait()
		for i := range 100 {
			begin(byte(i + 2))
		}
		synctest.Wait()
		if len(p.messages) != 1 || j.Acknowledged() != 0 {
			t.Fatalf("%d messages begun, sequence %d acknowledged; want 1 in flight", len(p.messages), j.Acknowledged())
		}
		close(gate)
		appends.Wait()
		if len(p.messages) != 2 || len(p.messages[0].parts[0]) != 1 || len(p.messages[1].parts[0]) != 100 {
			t.Fatalf("%d messages, want 2, with 1 and 100 parts", len(p.messages))
		}
		if p.messages[0].id == p.messages[1].id {
			t.Error("two messages have the same id")
		}
		if j.Acknowledged() != 2 {
			t.Errorf("acknowledged %d, want 2", j.Acknowledged())
		}
		j.Close()
		if queued := j.queued.Load(); queued != 0 {
			t.Errorf("%d bytes are still counted as queued", queued)
		}
	})
}

// A message waits for a request that was announced, but neither for ever nor for one that
// was withdrawn before.
func TestAnnouncedRequestsShareAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &fakePublisher{}
		j := faked(t, p, Config{})
		defer j.Close()
		var appends sync.WaitGroup
		begin := func() {
			appends.Go(func() {
				if err := j.Append(t.Context(), []*Part{{Refs: []Ref{1}, Times: []int64{2}, Values: []float64{3}}, nil}); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		j.Announce()
		begin()
		if p.count() != 0 {
			t.Fatal("the message did not wait")
		}
		j.Withdraw()
		begin()
		if p.count() != 1 || len(p.messages[0].parts[0]) != 2 {
			t.Fatalf("%d messages, want 1 of 2 parts", p.count())
		}
		j.Announce()
		begin()
		time.Sleep(lingerFor) // of the bubble
		synctest.Wait()
		if p.count() != 2 {
			t.Fatal("the message waited for what never came")
		}
		j.Withdraw()
		begin()
		if p.count() != 3 {
			t.Fatal("the message waited for what was withdrawn")
		}
		appends.Wait()
	})
}

// Where two senders came together they are waited for the next time, and one alone is not.
func TestMessageWaitsForAsManyAsBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &fakePublisher{}
		j := faked(t, p, Config{})
		defer j.Close()
		var appends sync.WaitGroup
		begin := func(want int, why string) {
			t.Helper()
			appends.Go(func() {
				if err := j.Append(t.Context(), []*Part{{Refs: []Ref{1}, Times: []int64{2}, Values: []float64{3}}, nil}); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
			if got := p.count(); got != want {
				t.Fatalf("%s: %d messages, want %d", why, got, want)
			}
		}
		begin(1, "the first")
		begin(2, "one alone")
		j.Announce()
		begin(2, "another one is near")
		j.Withdraw()
		begin(3, "that one")
		begin(3, "two came before")
		begin(4, "two again")
		begin(4, "two came before")
		time.Sleep(lingerFor) // of the bubble
		synctest.Wait()
		begin(6, "one alone, after the wait for a second one")
		appends.Wait()
	})
}

// A message grows to its limit by taking in requests, and they keep their order.
func TestGroupsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		p := &fakePublisher{answer: func(int) error { <-gate; return nil }}
		j := faked(t, p, Config{})
		const requests, points = 20, 20_000
		var appends sync.WaitGroup
		for i := range requests {
			appends.Go(func() {
				part := random(points)
				part.Request = Hash{byte(i + 1)}
				if err := j.Append(t.Context(), []*Part{part, part}); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		close(gate)
		appends.Wait()
		j.Close()
		for partition := range 2 {
			var hashes []Hash
			for _, m := range p.messages {
				for _, part := range m.parts[partition] {
					hashes = append(hashes, part.Request)
				}
			}
			want := 0
			for i := range requests {
				for from := 0; from < points; from += maxPieceRows {
					if want >= len(hashes) || hashes[want] != pieceHash(Hash{byte(i + 1)}, from, min(from+maxPieceRows, points)) {
						t.Fatalf("partition %d: part %d of %d is out of order", partition, want, len(hashes))
					}
					want++
				}
			}
		}
		if n := len(p.messages); n < 6 || n > 16 { // 6.7 MB, 1 MiB at most in all but one
			t.Errorf("%d messages", n)
		}
	})
}

// A full queue refuses at once, a request whose caller left still counts, and
// room comes back with the acknowledgement.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		p := &fakePublisher{answer: func(int) error { <-gate; return nil }}
		j := faked(t, p, Config{MaxQueuedBytes: 6000})
		ctx, leave := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() { left <- j.Append(ctx, []*Part{random(400), nil}) }()
		synctest.Wait()
		leave()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Fatalf("caller left: %v", err)
		}
		if err := j.Append(t.Context(), []*Part{nil, random(400)}); !errors.Is(err, ErrBusy) {
			t.Fatalf("queue is full: %v", err)
		}
		if err := j.Append(t.Context(), []*Part{nil, random(1000)}); !errors.Is(err, ErrTooLarge) {
			t.Fatalf("larger than the queue: %v", err)
		}
		close(gate)
		synctest.Wait()
		if err := j.Append(t.Context(), []*Part{random(400), nil}); err != nil {
			t.Fatalf("queue is empty again: %v", err)
		}
		j.Close()
	})
}

// random is a part of n points that do not compress.
func random(n int) *Part {
	p := gauges(n)
	for i := range p.Values {
		p.Values[i] = 1 / float64(i+3)
	}
	return p
}

// A publish without an answer is repeated under its id; a refusal is final and
// concerns only the message refused.
func TestRetryAndRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refusal := fmt.Errorf("nats: %w", &jetstream.APIError{Code: 503, Description: "no space left on device"})
		p := &fakePublisher{answer: func(attempt int) error {
			switch attempt {
			case 1, 2:
				return context.DeadlineExceeded
			case 4:
				return refusal
			}
			return nil
		}}
		j := faked(t, p, Config{})
		parts := []*Part{gauges(1), nil}
		if err := j.Append(t.Context(), parts); err != nil {
			t.Fatal(err)
		}
		if a, b, c := p.messages[0].id, p.messages[1].id, p.messages[2].id; a != b || b != c {
			t.Errorf("attempts have ids %s, %s and %s", a, b, c)
		}
		err := j.Append(t.Context(), parts)
		if !errors.Is(err, ErrUnavailable) || !errors.Is(err, refusal) {
			t.Errorf("refused: %v", err)
		}
		if err := j.Append(t.Context(), parts); err != nil {
			t.Errorf("after a refusal: %v", err)
		}
		j.Close()
	})
}

// Without any answer an Append fails in bounded time, and so does Close.
func TestGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &fakePublisher{answer: func(int) error { return context.DeadlineExceeded }}
		j := faked(t, p, Config{})
		begin := time.Now()
		if err := j.Append(t.Context(), []*Part{gauges(1), gauges(1)}); !errors.Is(err, ErrUnavailable) {
			t.Fatal(err)
		}
		if took := time.Since(begin); took < publishFor || took > publishFor+attemptFor {
			t.Errorf("gave up after %s", took)
		}
		failed := make(chan error, 1)
		go func() { failed <- j.Append(t.Context(), []*Part{gauges(1), nil}) }()
		synctest.Wait()
		begin = time.Now()
		j.Close()
		if took := time.Since(begin); took > drainFor {
			t.Errorf("closing took %s", took)
		}
		if err := <-failed; !errors.Is(err, ErrUnavailable) {
			t.Errorf("queued at close: %v", err)
		}
		if err := j.Append(t.Context(), []*Part{gauges(1), nil}); !errors.Is(err, ErrClosed) {
			t.Errorf("after close: %v", err)
		}
	})
}

// Close publishes what is queued behind the message on its way.
func TestCloseDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		p := &fakePublisher{answer: func(int) error { <-gate; return nil }}
		j := faked(t, p, Config{})
		results := make(chan error, 5)
		for range cap(results) {
			go func() { results <- j.Append(t.Context(), []*Part{gauges(3), nil}) }()
			synctest.Wait()
		}
		time.AfterFunc(time.Second, func() { close(gate) })
		j.Close()
		for range cap(results) {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		if len(p.messages) != 2 {
			t.Errorf("%d messages, want 2", len(p.messages))
		}
	})
}

func TestAppendChecksParts(t *testing.T) {
	j := faked(t, &fakePublisher{}, Config{})
	defer j.Close()
	for name, parts := range map[string][]*Part{
		"parts":      {gauges(1)},
		"length":     {{Refs: []Ref{1}, Times: []int64{1, 2}, Values: []float64{1}}, nil},
		"definition": {{Refs: []Ref{FirstDefinition}, Times: []int64{1}, Values: []float64{1}}, nil},
	} {
		if err := j.Append(t.Context(), parts); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := j.Append(t.Context(), []*Part{nil, {Request: Hash{1}}}); err != nil {
		t.Errorf("nothing to store: %v", err)
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	for range 2 { // a journal that is closed makes room for the next
		j := faked(t, &fakePublisher{}, Config{Registerer: registry})
		if err := j.Append(t.Context(), []*Part{gauges(3), gauges(4)}); err != nil {
			t.Fatal(err)
		}
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, f := range families {
			got[strings.TrimPrefix(f.GetName(), "carillon_journal_")] = f.Metric[0].GetCounter().GetValue()
		}
		if len(got) != 8 || got["messages_total"] != 1 || got["points_total"] != 7 || got["bytes_total"] == 0 {
			t.Errorf("metrics are %v", got)
		}
		j.Close()
	}
}
