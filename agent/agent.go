// Package agent is Carillon's host agent. On every beat of its interval it
// collects the numbers of the host it runs on and of the process's own metrics
// registry, and out go remote-write bodies, oldest first, through a Sender, from a
// Buffer that keeps them while the server is away. `carillon serve` runs it
// in-process with a Func and a Memory buffer, `carillon agent` as its own process
// with an HTTP sender and a Queue on disk.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"carillon/pause"
)

const (
	// DefaultInterval is the time between two collections, unless Config says otherwise.
	DefaultInterval = 10 * time.Second
	// MinInterval is the shortest one allowed.
	MinInterval = time.Second

	sendTimeout   = 30 * time.Second // for one attempt to send one body
	farewellLasts = 2 * time.Second  // for sending what is left when Run ends
)

// Config is what an Agent needs. Gatherer, Registerer, Logger, Sender and Buffer
// have no default.
type Config struct {
	Interval time.Duration // whole seconds, at least MinInterval; 0 is DefaultInterval
	Host     string        // value of the label host; "" is the system's host name
	PerCPU   bool          // collect host_cpu_core_seconds_total too: modes × cores more series

	Gatherer   prometheus.Gatherer   // the process's own metrics, sent with the host's
	Registerer prometheus.Registerer // takes the agent's own metrics
	Logger     *slog.Logger
	Now        func() time.Time // nil is time.Now

	Sender Sender
	Buffer Buffer // stays the caller's: Run does not close it
}

// Agent collects, buffers and sends. Run starts one goroutine that collects and
// puts bodies into the buffer; Run's own goroutine is the only one that takes
// them out and sends them. They share the buffer, which locks itself, and wake.
type Agent struct {
	interval  time.Duration
	now       func() time.Time
	log       *slog.Logger
	collector *collector
	encoder   encoder // owned by the collecting goroutine
	sender    Sender
	buffer    Buffer
	metrics   *metrics
	wake      chan struct{} // capacity 1: something was put into the buffer

	putFails  bool      // owned by the collecting goroutine: the last Put failed, and it was said
	rejecting bool      // owned by the sending goroutine: the last body was refused, and it was said
	awaySince time.Time // owned by the sending goroutine: zero while the server answers
}

// New checks the configuration and registers the agent's own metrics.
func New(c Config) (*Agent, error) {
	if c.Interval == 0 {
		c.Interval = DefaultInterval
	}
	if c.Interval < MinInterval || c.Interval%time.Second != 0 {
		return nil, fmt.Errorf("agent: interval %s: want whole seconds, at least %s", c.Interval, MinInterval)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Gatherer == nil || c.Registerer == nil || c.Logger == nil || c.Sender == nil || c.Buffer == nil {
		return nil, errors.New("agent: Gatherer, Registerer, Logger, Sender and Buffer must all be given")
	}
	if c.Host == "" {
		name, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("agent: find the host's name: %w", err)
		}
		c.Host = name
	}
	m, err := newMetrics(c.Registerer, c.Buffer)
	if err != nil {
		return nil, fmt.Errorf("agent: register its metrics: %w", err)
	}
	return &Agent{
		interval:  c.Interval,
		now:       c.Now,
		log:       c.Logger,
		collector: newCollector(append(hostSources(c.PerCPU), registrySource(c.Gatherer)), c.Interval*9/10, c.Logger, m),
		encoder:   encoder{host: c.Host},
		sender:    c.Sender,
		buffer:    c.Buffer,
		metrics:   m,
		wake:      make(chan struct{}, 1),
	}, nil
}

// Run collects and sends until ctx ends. Then it tries for a moment to send what
// the buffer still holds, and returns; what could not be sent is still in the
// buffer, so with a Queue it is sent after the next start. The error is nil: nothing
// that happens on the way ends an agent. Run may be called once.
func (a *Agent) Run(ctx context.Context) error {
	var collecting sync.WaitGroup
	collecting.Go(func() { a.collect(ctx) })
	a.send(ctx)
	collecting.Wait()

	farewell, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewellLasts)
	defer cancel()
	for a.sendOldest(farewell) == nil {
	}
	return nil
}

// collect fills the buffer, once a beat.
func (a *Agent) collect(ctx context.Context) {
	var last time.Time
	for {
		at, ok := a.waitForBeat(ctx, last)
		if !ok {
			return
		}
		last = at
		families := a.collector.collect(ctx)
		if ctx.Err() != nil {
			return // what was cut short is not what the host looks like
		}
		for body := range a.encoder.bodies(families, at) {
			a.put(body)
		}
		a.metrics.collectedPoints.Add(float64(countPoints(families)))
	}
}

// waitForBeat sleeps until the first beat after both last and now, and returns
// it. If the clock was stepped or the host slept meanwhile, the values to come
// belong to the newest beat that is past, not to the one that was planned.
func (a *Agent) waitForBeat(ctx context.Context, last time.Time) (time.Time, bool) {
	now := a.now()
	at := beatBefore(now, a.interval).Add(a.interval)
	if at.Equal(last) { // the timer was early, or the clock was slewed back
		at = at.Add(a.interval)
	}
	if pause.For(ctx, at.Sub(now)) != nil {
		return time.Time{}, false
	}
	if off := a.now().Sub(at); off.Abs() >= a.interval {
		at = beatBefore(a.now(), a.interval)
	}
	return at, true
}

// beatBefore is the newest multiple of interval since the Unix epoch that is not after t.
func beatBefore(t time.Time, interval time.Duration) time.Time {
	ms := t.UnixMilli()
	return time.UnixMilli(ms - ms%interval.Milliseconds())
}

func (a *Agent) put(body []byte) {
	if err := a.buffer.Put(body); err != nil {
		a.metrics.unbuffered.Inc()
		if !a.putFails {
			a.log.Error("agent: measurements are lost because they cannot be buffered", "error", err)
		}
		a.putFails = true
		return
	}
	a.putFails = false
	select {
	case a.wake <- struct{}{}:
	default: // the sender has not yet looked since the last one
	}
}

// send empties the buffer, oldest body first, until ctx ends. A body that cannot
// be sent stays the oldest and is tried again: order is never given up.
func (a *Agent) send(ctx context.Context) {
	var wait backoff
	for ctx.Err() == nil {
		err := a.sendOldest(ctx)
		switch {
		case err == nil:
			wait = backoff{}
		case errors.Is(err, ErrEmpty):
			select {
			case <-a.wake:
			case <-ctx.Done():
			}
		case ctx.Err() == nil:
			a.sayAway(err)
			_ = pause.For(ctx, wait.next(err)) // the loop looks whether ctx has ended
		}
	}
}

// sendOldest makes one attempt to send the oldest body. It returns nil when that
// body is done with, sent or refused for good; ErrEmpty when there is none; else
// why it has to be tried again.
func (a *Agent) sendOldest(ctx context.Context) error {
	sequence, body, err := a.buffer.Oldest()
	if err != nil {
		return err
	}
	attempt, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	err = a.sender.Send(attempt, body)
	switch {
	case err == nil:
		a.metrics.sentBodies.Inc()
		a.metrics.lastSend.Set(float64(a.now().UnixMilli()) / 1000)
		a.rejecting = false
		a.sayBack()
	case errors.Is(err, ErrRejected):
		a.metrics.rejectedBodies.Inc()
		if !a.rejecting { // a wrong URL refuses the whole buffer: one line says it
			a.log.Error("agent: the server refuses measurements for good; they are dropped", "bytes", len(body), "error", err)
		}
		a.rejecting = true
	default:
		a.metrics.failedSends.Inc()
		return err
	}
	if err := a.buffer.Remove(sequence); err != nil {
		a.log.Warn("agent: a body that is done with stays in the buffer until the next start", "error", err)
	}
	return nil
}

func (a *Agent) sayAway(err error) {
	if a.awaySince.IsZero() {
		a.awaySince = a.now()
		a.log.Warn("agent: cannot send; buffering until it works again", "error", err)
	}
}

func (a *Agent) sayBack() {
	if !a.awaySince.IsZero() {
		bodies, bytes := a.buffer.Size()
		a.log.Info("agent: sending works again", "away", a.now().Sub(a.awaySince).Round(time.Second), "bodies", bodies, "bytes", bytes)
		a.awaySince = time.Time{}
	}
}
