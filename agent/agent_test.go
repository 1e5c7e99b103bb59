package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// testAgent is an agent whose only source is its own registry, so that nothing
// depends on the host.
func testAgent(t *testing.T, c Config) *Agent {
	t.Helper()
	registry := prometheus.NewRegistry()
	c.Gatherer, c.Registerer, c.Logger, c.Host = registry, registry, slog.New(slog.DiscardHandler), "h"
	if c.Buffer == nil {
		c.Buffer = NewMemory(0)
	}
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	a.collector = newCollector([]source{registrySource(registry)}, c.Interval, c.Logger, a.metrics)
	return a
}

// beatOf is the time of all samples of a body, in seconds.
func beatOf(t *testing.T, body []byte) float64 {
	t.Helper()
	beats := make(map[int64]bool)
	for _, ts := range decode(t, body).Timeseries {
		for _, s := range ts.Samples {
			beats[s.Timestamp] = true
		}
	}
	if len(beats) != 1 {
		t.Fatalf("times in one body: %v", beats)
	}
	for ms := range beats {
		return float64(ms) / 1000
	}
	return 0
}

func TestCollectsOnTheBeat(t *testing.T) {
	for _, interval := range []time.Duration{time.Second, 7 * time.Second, 10 * time.Second} {
		t.Run(interval.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(3456 * time.Millisecond) // off the beat
				var got []float64
				a := testAgent(t, Config{Interval: interval, Sender: Func(func(_ context.Context, body []byte) error {
					beat := beatOf(t, body)
					if sent := float64(time.Now().UnixMilli()) / 1000; sent != beat {
						t.Errorf("beat %v is collected at %v", beat, sent)
					}
					got = append(got, beat)
					return nil
				})})
				start := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 5*interval)
				defer cancel()
				if err := a.Run(ctx); err != nil {
					t.Fatal(err)
				}
				var want []float64
				for s := start.Unix(); s <= start.Add(5*interval).Unix(); s++ {
					if s%int64(interval.Seconds()) == 0 && s > start.Unix() {
						want = append(want, float64(s))
					}
				}
				if len(want) != 5 || !slices.Equal(got, want) {
					t.Errorf("beats %v, want %v", got, want)
				}
			})
		})
	}
}

func TestBeatFollowsASteppedClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var step atomic.Int64
		var got []float64
		a := testAgent(t, Config{
			Interval: 10 * time.Second,
			Now:      func() time.Time { return time.Now().Add(time.Duration(step.Load())) },
			Sender: Func(func(_ context.Context, body []byte) error {
				got = append(got, beatOf(t, body))
				return nil
			}),
		})
		base := float64(time.Now().Unix())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- a.Run(ctx) }()
		time.Sleep(15 * time.Second)
		synctest.Wait()
		step.Store(int64(time.Hour + 3*time.Second)) // as after a night's sleep
		time.Sleep(10 * time.Second)                 // 20 by the timer, 3623 by the clock: the beat 3620
		synctest.Wait()
		step.Store(int64(-100 * time.Second))
		time.Sleep(10 * time.Second)
		cancel()
		<-done
		for i := range got {
			got[i] -= base
		}
		// The timer for 3630 goes off when the clock shows -73: the newest past beat is -80.
		if want := []float64{10, 3620, -80, -70}; !slices.Equal(got, want) {
			t.Errorf("beats %v, want %v", got, want)
		}
	})
}

func TestBusyServerGetsTheSameBodyAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var attempts []time.Time
		var bodies []string
		a := testAgent(t, Config{Interval: time.Hour, Sender: Func(func(_ context.Context, body []byte) error {
			attempts = append(attempts, time.Now())
			bodies = append(bodies, string(body))
			if len(attempts) < 14 {
				return errors.New("busy")
			}
			return nil
		})})
		mustPut(t, a.buffer, "a")
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		if err := a.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if len(attempts) != 14 || len(slices.Compact(bodies)) != 1 {
			t.Fatalf("attempts %v, bodies %q", attempts, bodies)
		}
		span := firstPause
		for i := 1; i < len(attempts); i++ {
			if pause := attempts[i].Sub(attempts[i-1]); pause < span/2 || pause > span {
				t.Errorf("pause %d: %s, want half to all of %s", i, pause, span)
			}
			span = min(2*span, longestPause)
		}
		if sent, failed := testutil.ToFloat64(a.metrics.sentBodies), testutil.ToFloat64(a.metrics.failedSends); sent != 1 || failed != 13 {
			t.Errorf("sent %v, failed %v", sent, failed)
		}
	})
}

func TestServerCanAskForAPause(t *testing.T) {
	for asked, atLeast := range map[time.Duration]time.Duration{
		time.Minute: time.Minute, 24 * time.Hour: longestWished, time.Millisecond: firstPause / 2,
	} {
		var b backoff
		pause := b.next(fmt.Errorf("send: %w", &RetryLater{After: asked, Err: errors.New("busy")}))
		if pause < atLeast || pause > max(atLeast, firstPause) {
			t.Errorf("asked for %s, got %s", asked, pause)
		}
	}
}

// TestAwayServerCatchesUpLive: while the server is away everything new is kept behind the
// old, and what it then gets is all, in order, and the newest too.
func TestAwayServerCatchesUpLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back := time.Now().Add(62 * time.Second)
		var got []float64
		a := testAgent(t, Config{Interval: 10 * time.Second, Sender: Func(func(_ context.Context, body []byte) error {
			if time.Now().Before(back) {
				return errors.New("connection refused")
			}
			got = append(got, beatOf(t, body))
			return nil
		})})
		base := float64(time.Now().Unix())
		ctx, cancel := context.WithTimeout(t.Context(), 135*time.Second)
		defer cancel()
		if err := a.Run(ctx); err != nil {
			t.Fatal(err)
		}
		var want []float64
		for s := 10.0; s <= 130; s += 10 {
			want = append(want, base+s)
		}
		if !slices.Equal(got, want) {
			t.Errorf("beats %v, want %v", got, want)
		}
	})
}

func TestRejectedBodiesAreDroppedAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var got []string
		a := testAgent(t, Config{Interval: time.Hour, Sender: Func(func(_ context.Context, body []byte) error {
			if strings.HasPrefix(string(body), "bad") {
				return fmt.Errorf("%w: %s is no protobuf", ErrRejected, body)
			}
			got = append(got, string(body))
			return nil
		})})
		a.log = slog.New(slog.NewTextHandler(&log, nil))
		mustPut(t, a.buffer, "a", "bad 1", "bad 2", "bad 3", "b", "bad 4")
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		a.Run(ctx)
		if !slices.Equal(got, []string{"a", "b"}) || testutil.ToFloat64(a.metrics.rejectedBodies) != 4 {
			t.Errorf("sent %q, rejected %v", got, testutil.ToFloat64(a.metrics.rejectedBodies))
		}
		for text, want := range map[string]int{"is no protobuf": 2, "bad 1": 1, "bad 4": 1} {
			if n := strings.Count(log.String(), text); n != want {
				t.Errorf("%q is logged %d times, want %d:\n%s", text, n, want, log.String())
			}
		}
	})
}

// TestEndSendsWhatIsLeft: a body whose sending the end of ctx cut short is sent
// once more, within farewellLasts; then Run returns, with the rest still buffered.
func TestEndSendsWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		a := testAgent(t, Config{Interval: time.Hour, Sender: Func(func(ctx context.Context, body []byte) error {
			if len(got) == 0 || string(body) == "c" {
				got = append(got, "cut short: "+string(body))
				<-ctx.Done()
				return ctx.Err()
			}
			got = append(got, string(body))
			return nil
		})})
		mustPut(t, a.buffer, "a", "b", "c", "d")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := a.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if want := []string{"cut short: a", "a", "b", "cut short: c"}; !slices.Equal(got, want) {
			t.Errorf("sent %q, want %q", got, want)
		}
		if took := time.Since(start); took != time.Second+farewellLasts {
			t.Errorf("Run took %s", took)
		}
		if left := drain(t, a.buffer); !slices.Equal(left, []string{"c", "d"}) {
			t.Errorf("left %q", left)
		}
	})
}

func TestHangingSendIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts := 0
		a := testAgent(t, Config{Interval: time.Hour, Sender: Func(func(ctx context.Context, _ []byte) error {
			if attempts++; attempts == 1 {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})})
		mustPut(t, a.buffer, "a")
		ctx, cancel := context.WithTimeout(t.Context(), sendTimeout+time.Minute)
		defer cancel()
		a.Run(ctx)
		if attempts != 2 {
			t.Errorf("%d attempts", attempts)
		}
	})
}

// failingBuffer cannot be written to.
type failingBuffer struct{ *Memory }

func (failingBuffer) Put([]byte) error { return errors.New("disk full") }

func TestUnbufferedIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := testAgent(t, Config{
			Interval: time.Second,
			Buffer:   failingBuffer{NewMemory(0)},
			Sender:   Func(func(context.Context, []byte) error { return nil }),
		})
		ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
		defer cancel()
		a.Run(ctx)
		if n := testutil.ToFloat64(a.metrics.unbuffered); n < 3 || n > 4 {
			t.Errorf("counted %v", n)
		}
	})
}

// TestRealHostThroughTheWholeAgent runs the real sources under a fake clock.
func TestRealHostThroughTheWholeAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		found := make(map[string]int)
		a, err := New(Config{
			Gatherer: registry, Registerer: registry, Logger: slog.New(slog.DiscardHandler), Buffer: NewMemory(0), Host: "other",
			Sender: Func(func(_ context.Context, body []byte) error {
				for _, ts := range decode(t, body).Timeseries {
					labels := make(map[string]string)
					for _, l := range ts.Labels {
						labels[l.Name] = l.Value
					}
					if labels["host"] != "other" {
						t.Errorf("labels %v", labels)
					}
					found[labels["__name__"]]++
				}
				return nil
			}),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 21*time.Second)
		defer cancel()
		if err := a.Run(ctx); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"host_uptime_seconds", "carillon_agent_sent_bodies_total", "carillon_agent_queue_bytes"} {
			if found[name] != 2 {
				t.Errorf("%s came %d times in two beats", name, found[name])
			}
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	registry := prometheus.NewRegistry()
	good := Config{
		Gatherer: registry, Registerer: registry, Logger: slog.New(slog.DiscardHandler),
		Sender: Func(nil), Buffer: NewMemory(0),
	}
	for name, spoil := range map[string]func(*Config){
		"interval too short": func(c *Config) { c.Interval = 500 * time.Millisecond },
		"interval not whole": func(c *Config) { c.Interval = 1500 * time.Millisecond },
		"no sender":          func(c *Config) { c.Sender = nil },
		"no buffer":          func(c *Config) { c.Buffer = nil },
		"no logger":          func(c *Config) { c.Logger = nil },
	} {
		bad := good
		spoil(&bad)
		if _, err := New(bad); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	a, err := New(good)
	if err != nil {
		t.Fatal(err)
	}
	if a.interval != DefaultInterval || a.encoder.host == "" {
		t.Errorf("interval %s, host %q", a.interval, a.encoder.host)
	}
	if _, err := New(good); err == nil {
		t.Error("two agents in one registry: no error")
	}
}
