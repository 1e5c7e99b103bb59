package journal

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
)

// next is the next message of a reader.
func next(t *testing.T, r *Reader) Message {
	t.Helper()
	for late := time.After(patience); ; {
		m, ok, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			return m
		}
		select {
		case <-r.Arrived():
		case <-late:
			t.Fatal("nothing came")
		}
	}
}

// Whatever happens between the writer and a reader, it gets every message once, in
// order, and each as one does who reads the stream later, with the same time.
func TestReaderMissesNothing(t *testing.T) {
	const steps = 400
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	j := open(t, config(t, t.TempDir()))
	r := j.Reader(0, 1)
	defer r.Close()
	var got []Message
	for range steps {
		switch rng.IntN(12) {
		case 0: // somebody else writes
			message := encode(t, time.UnixMilli(rng.Int64N(1<<40)), []*Part{gauges(rng.IntN(5) + 1)}, nil)
			if _, err := j.stream.jetstream.Publish(t.Context(), subject, message); err != nil {
				t.Fatal(err)
			}
		case 1: // the loop is busy for long
			for range 2 * liveMessages {
				store(t, j, gauges(1), nil)
			}
		case 2:
			j.readers.lookAgain()
		case 3: // the connection is a new one
			j.stream.relink()
		case 4, 5, 6, 7:
			store(t, j, gauges(rng.IntN(5)+1), nil)
		case 8:
			store(t, j, nil, gauges(1))
		default:
			if uint64(len(got)) < j.Acknowledged() {
				got = append(got, next(t, r))
			}
		}
	}
	j.look(j.look(0)) // finds what others wrote last
	_, last, err := j.Bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for uint64(len(got)) < last {
		got = append(got, next(t, r))
	}
	for i, want := range read(t, j, 0, 1, int(last)) {
		g := got[i]
		if g.Sequence != uint64(i+1) || g.Err != nil || !g.Time.Equal(want.Time) || !bytes.Equal(g.encoded, want.encoded) {
			t.Fatalf("message %d is %+v in one way and %+v in the other", i+1, g, want)
		}
	}
	if m, ok, err := r.Next(); ok || err != nil {
		t.Errorf("more came: %+v, error %v", m, err)
	}
}

// What the writer stores does not come from the stream.
func TestLiveMessagesDoNotComeFromTheServer(t *testing.T) {
	j := open(t, config(t, t.TempDir()))
	r := j.Reader(0, 1)
	defer r.Close()
	store(t, j, gauges(1), nil)
	next(t, r)
	for !r.attached.Load() || r.following.Load() {
		<-r.Arrived()
		if _, ok, err := r.Next(); ok || err != nil {
			t.Fatal("something came", err)
		}
	}
	before := j.stream.connection.Stats()
	for range 10 {
		store(t, j, gauges(1000), nil)
		next(t, r)
	}
	if after := j.stream.connection.Stats(); after.InBytes-before.InBytes > 5000 {
		t.Errorf("%d bytes came from the server", after.InBytes-before.InBytes)
	}
}

// forgetful stores messages and says that it did not.
type forgetful struct{ *stream }

func (f forgetful) publish(ctx context.Context, id string, message []byte) (uint64, error) {
	if _, err := f.stream.publish(ctx, id, message); err != nil {
		return 0, err
	}
	return 0, nats.ErrConnectionClosed
}

// A message whose sender was told that it may not be stored is read when it is.
func TestUnacknowledgedMessageIsRead(t *testing.T) {
	j := open(t, config(t, t.TempDir()))
	r := j.Reader(0, 1)
	defer r.Close()
	store(t, j, gauges(1), nil)
	next(t, r)
	j.writer.publisher = forgetful{j.stream}
	if err := j.Append(t.Context(), []*Part{gauges(2), nil}); !errors.Is(err, ErrUnavailable) {
		t.Fatal(err)
	}
	if m := next(t, r); m.Sequence != 2 || parts(t, m)[0].Points() != 2 {
		t.Errorf("message %d came", m.Sequence)
	}
}

// A stream that lost its end gives out sequences again that were read long ago:
// reading must not take the new messages for the old ones.
func TestStreamThatWentBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sequences := []uint64{5, 6, 6}
		p := &fakePublisher{sequence: func(attempt int) uint64 { return sequences[attempt-1] }}
		j := faked(t, p, Config{})
		defer j.Close()
		r := j.Reader(0, 5)
		defer r.Close()
		r.attached.Store(true)
		for range 2 {
			if err := j.Append(t.Context(), []*Part{gauges(1), nil}); err != nil {
				t.Fatal(err)
			}
			next(t, r)
		}
		if err := j.Append(t.Context(), []*Part{gauges(1), nil}); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("append: %v", err)
		}
		if _, ok, err := r.Next(); ok || !errors.Is(err, ErrMissing) {
			t.Errorf("reader: %v", err)
		}
	})
}

// The time in the messages does not go back when the clock does.
func TestTimeDoesNotGoBack(t *testing.T) {
	p := &fakePublisher{}
	j := faked(t, p, Config{})
	defer j.Close()
	clock := time.UnixMilli(1_700_000_000_000)
	j.writer.now = func() time.Time { return clock }
	for _, step := range []time.Duration{0, time.Second, -time.Minute, 30 * time.Second, time.Minute} {
		clock = clock.Add(step)
		if err := j.Append(t.Context(), []*Part{gauges(1), nil}); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []int64{0, 1000, 1000, 1000, 31_000} {
		if got := p.messages[i].at.UnixMilli() - 1_700_000_000_000; got != want {
			t.Errorf("message %d is of %d ms, want %d", i, got, want)
		}
	}
}
