package feed

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"carillon/directory/location"
)

func TestRoundTrip(t *testing.T) {
	m := startSingle(t)
	before := time.Now().UnixMilli()
	r := m.do(t, createOf("alpha", 7))
	if r.Entry.Flags != 7 || r.Entry.Modified < before || r.Revision == 0 {
		t.Fatalf("Propose = %+v", r)
	}
	e, err := m.directory.Get("alpha")
	if err != nil || e.Version != r.Revision {
		t.Fatalf("Get = %+v, %v; want version %d", e, err, r.Revision)
	}
	refused, err := m.Propose(within(t), createOf("alpha", 8))
	if err != nil || !errors.Is(refused.Err, location.ErrExists) || refused.Revision <= r.Revision {
		t.Fatalf("second create = %+v, %v; want ErrExists", refused, err)
	}
	if err := m.Current(within(t)); err != nil {
		t.Fatal(err)
	}
	if err := m.Await(within(t), refused.Revision); err != nil {
		t.Fatal(err)
	}
	if s := m.awaitLive(t, true); s.Revision != refused.Revision || s.Last != s.Revision || s.Reason != "" {
		t.Fatalf("Status = %+v", s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := m.Await(ctx, refused.Revision+1); !errors.Is(err, context.Canceled) {
		t.Fatalf("Await of what is not there = %v", err)
	}
	if _, err := m.Propose(within(t), location.Change{Op: 99}); !errors.Is(err, location.ErrBadChange) {
		t.Fatalf("operation that does not exist = %v", err)
	}
}

func TestManyAtOnce(t *testing.T) {
	m := startSingle(t)
	const writers, each = 16, 20
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := range each {
				if r, err := m.Propose(within(t), createOf(fmt.Sprintf("w%d-%d", w, i), 0)); err != nil || r.Err != nil {
					t.Errorf("Propose = %v, %v", r.Err, err)
				}
				if err := m.Current(within(t)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if got := m.directory.Stats().Entries; got != writers*each {
		t.Fatalf("%d entries, want %d", got, writers*each)
	}
}

func TestRestartGoesOn(t *testing.T) {
	w := &wire{server: startServer(t, t.TempDir())}
	dir := t.TempDir()
	d := openDirectory(t, dir)
	m := start(t, w, configOf(w.connect(t), d))
	m.do(t, createOf("alpha", 1))
	m.stop()
	if err := m.end(t); !errors.Is(err, context.Canceled) {
		t.Fatalf("Run = %v", err)
	}
	if s := m.Status(); s.Live || s.Reason == "" || !d.Stats().NegativesOff {
		t.Fatalf("after the end Status = %+v, negatives off %t", s, d.Stats().NegativesOff)
	}
	if _, err := m.Propose(within(t), createOf("late", 1)); !errors.Is(err, ErrEnded) {
		t.Fatalf("Propose after the end = %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}

	other := start(t, w, configOf(w.connect(t), openDirectory(t, t.TempDir())))
	other.do(t, createOf("beta", 2))

	again := start(t, w, configOf(w.connect(t), openDirectory(t, dir)))
	if err := again.Current(within(t)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"alpha", "beta"} {
		if _, err := again.directory.Get(name); err != nil {
			t.Errorf("Get(%s) = %v", name, err)
		}
	}
	if done := again.directory.Stats().Changes[location.Create].Done; done != 1 {
		t.Errorf("%d creates were applied after the restart, want the one that was missing", done)
	}
}

func TestDamagedMessageIsPassedOver(t *testing.T) {
	m := startSingle(t)
	whole, err := Encode(createOf("ghost", 1))
	if err != nil {
		t.Fatal(err)
	}
	whole[len(whole)/2] ^= 1
	ack, err := m.jetstream.Publish(within(t), changeSubject, whole)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Await(within(t), ack.Sequence); err != nil {
		t.Fatal(err)
	}
	m.do(t, createOf("alpha", 1))
	if _, err := m.directory.Get("ghost"); !errors.Is(err, location.ErrNotFound) {
		t.Fatalf("Get(ghost) = %v", err)
	}
	if s := m.Status(); s.Damaged != 1 {
		t.Fatalf("Status = %+v, want one damaged message", s)
	}
}

func TestNewerVersionEndsRun(t *testing.T) {
	m := startSingle(t)
	message, err := Encode(createOf("alpha", 1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.jetstream.Publish(within(t), changeSubject, reseal(message, messageVersion+1)); err != nil {
		t.Fatal(err)
	}
	if err := m.end(t); !errors.Is(err, ErrVersion) {
		t.Fatalf("Run = %v", err)
	}
	if err := m.Current(within(t)); !errors.Is(err, ErrEnded) || !errors.Is(err, ErrVersion) {
		t.Fatalf("Current = %v", err)
	}
}

func TestDirectoryErrorEndsRun(t *testing.T) {
	m := startSingle(t)
	m.do(t, createOf("alpha", 1))
	if err := m.directory.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Propose(within(t), createOf("beta", 1)); !errors.Is(err, ErrUnknown) || !errors.Is(err, location.ErrClosed) {
		t.Fatalf("Propose = %v", err)
	}
	if err := m.end(t); !errors.Is(err, location.ErrClosed) {
		t.Fatalf("Run = %v", err)
	}
}

func TestRestoreUnderTheFeedEndsRun(t *testing.T) {
	m := startSingle(t)
	m.do(t, createOf("alpha", 1))
	backup := t.TempDir() + "/backup"
	if err := m.directory.Backup(backup); err != nil {
		t.Fatal(err)
	}
	m.do(t, createOf("beta", 1))
	if err := m.directory.Restore(backup); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Propose(within(t), createOf("gamma", 1)); !errors.Is(err, ErrReplaced) {
		t.Fatalf("Propose = %v", err)
	}
}

// cutOff checks that a node says that it is cut off, goes past its negative cache
// meanwhile, and recovers.
func cutOff(t *testing.T, m *member, away, back func()) {
	t.Helper()
	m.awaitLive(t, true)
	m.do(t, createOf("alpha", 1))
	absent := func() uint64 {
		if _, err := m.directory.Get("nobody"); !errors.Is(err, location.ErrNotFound) {
			t.Fatalf("Get(nobody) = %v", err)
		}
		return m.directory.Stats().Names.DiskAbsent
	}
	absent()
	if first := absent(); absent() != first {
		t.Fatal("an absence is not answered from cache while the feed is live")
	}
	away()
	if s := m.awaitLive(t, false); s.Reason == "" || !m.directory.Stats().NegativesOff {
		t.Fatalf("Status = %+v, negatives off %t", s, m.directory.Stats().NegativesOff)
	}
	if first := absent(); absent() == first {
		t.Fatal("an absence is answered from cache while the feed is cut off")
	}
	short, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := m.Current(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Current while cut off = %v", err)
	}
	if _, err := m.Propose(short, createOf("beta", 1)); err == nil || errors.Is(err, ErrUnknown) {
		t.Fatalf("Propose while cut off = %v, want one that was not sent", err)
	}
	back()
	m.awaitLive(t, true)
	if m.directory.Stats().NegativesOff {
		t.Fatal("negatives stay off")
	}
	m.do(t, createOf("gamma", 1))
}

func TestConnectionCut(t *testing.T) {
	m := startSingle(t)
	s := m.wire.server
	cutOff(t, m, func() { m.wire.cut(true) }, func() { m.wire.set(s) })
}

func TestServerRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := &wire{server: startServer(t, dir)}
	m := start(t, w, configOf(w.connect(t), openDirectory(t, t.TempDir())))
	cutOff(t, m, func() { stopServer(w.server) }, func() { w.set(startServer(t, dir)) })
}

func TestClosedConnectionEndsRun(t *testing.T) {
	m := startSingle(t)
	m.awaitLive(t, true)
	m.connection.Close()
	if err := m.end(t); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Fatalf("Run = %v", err)
	}
	if s := m.Status(); s.Live {
		t.Fatalf("Status = %+v", s)
	}
}

// TestStreamThatDoesNotAnswer: the connection is there, the stream is not.
func TestStreamThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	m := startSingle(t)
	m.awaitLive(t, true)
	if err := m.wire.server.DisableJetStream(); err != nil {
		t.Fatal(err)
	}
	if s := m.awaitLive(t, false); !strings.Contains(s.Reason, "not provably live") {
		t.Fatalf("Status = %+v", s)
	}
}

func TestRetryCountsOnce(t *testing.T) {
	m := startSingle(t)
	message, err := Encode(createOf("alpha", 1))
	if err != nil {
		t.Fatal(err)
	}
	id, outcome := m.proposals.add()
	for range 3 {
		if err := m.publish(within(t), id, message); err != nil {
			t.Fatal(err)
		}
	}
	if o := <-outcome; o.err != nil || o.result.Err != nil {
		t.Fatalf("outcome = %+v", o)
	}
	if err := m.Current(within(t)); err != nil {
		t.Fatal(err)
	}
	if c := m.directory.Stats().Changes[location.Create]; c.Done != 1 || c.Refused != 0 {
		t.Fatalf("creates applied: %+v, want one", c)
	}
}

// TestBarriers reads a feed as several replicas have it: with barriers, of which
// the stream holds one.
func TestBarriers(t *testing.T) {
	m := startSingle(t)
	barriers := &Node{connection: m.connection, jetstream: m.jetstream, replicas: 3}
	for range 10 {
		m.do(t, location.Change{Op: location.NewID, Count: 1})
		at, _ := m.progress.look()
		last, err := barriers.lastSequence(within(t))
		if err != nil || last < at {
			t.Fatalf("bound is %d, %v, but %d was applied before", last, err, at)
		}
	}
	stream, err := m.jetstream.Stream(within(t), streamName)
	if err != nil {
		t.Fatal(err)
	}
	if s := stream.CachedInfo().State; s.Msgs != 12 || s.FirstSeq != 1 || s.LastSeq != 21 {
		t.Fatalf("stream holds %d messages, %d to %d; want start, 10 changes and a barrier", s.Msgs, s.FirstSeq, s.LastSeq)
	}
	late := start(t, m.wire, configOf(m.connection, openDirectory(t, t.TempDir())))
	if err := late.Await(within(t), 21); err != nil {
		t.Fatal(err)
	}
	if got := late.directory.Revision(); got != 20 {
		t.Fatalf("late joiner's directory is at revision %d, want 20, the last change", got)
	}
}

func TestOpenRefuses(t *testing.T) {
	m := startSingle(t)
	m.do(t, createOf("alpha", 1))
	last := m.do(t, createOf("beta", 1)).Revision
	refused := func(about string, config Config, want error, say string) {
		t.Helper()
		_, err := Open(within(t), config)
		if err == nil || want != nil && !errors.Is(err, want) || !strings.Contains(err.Error(), say) {
			t.Errorf("%s: Open = %v", about, err)
		}
	}
	three := configOf(m.connection, openDirectory(t, t.TempDir()))
	three.Replicas = 3
	refused("other replicas", three, nil, "has 1 replicas")

	buffering, err := nats.Connect("", nats.InProcessServer(m.wire))
	if err != nil {
		t.Fatal(err)
	}
	defer buffering.Close()
	refused("buffering connection", configOf(buffering, m.directory), nil, "ReconnectBufSize")

	ahead := openDirectory(t, t.TempDir())
	if _, err := ahead.Apply(last+1, createOf("zeta", 1)); err != nil {
		t.Fatal(err)
	}
	refused("directory of another stream", configOf(m.connection, ahead), ErrForeign, "ends at revision")

	stream, err := m.jetstream.Stream(within(t), streamName)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(within(t), jetstream.WithPurgeSequence(last)); err != nil {
		t.Fatal(err)
	}
	refused("late joiner", configOf(m.connection, openDirectory(t, t.TempDir())), ErrTrimmed, "restore a newer backup")

	config := streamConfig(1)
	config.MaxMsgs = 10
	if _, err := m.jetstream.UpdateStream(within(t), config); err != nil {
		t.Fatal(err)
	}
	refused("stream with limits", configOf(m.connection, m.directory), nil, "may lose")
}
