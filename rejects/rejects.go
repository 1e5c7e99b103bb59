// Package rejects is the ledger of what Carillon did not take: every refused
// line, sample or series is counted by protocol and reason, and the newest of
// each are kept as samples for people to look at. Receivers and partition
// writers add to it; GET /api/v1/status/rejects and /metrics read it.
package rejects

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	samplesKept    = 8   // newest samples a protocol and reason
	sampleMaxBytes = 256 // bytes kept of one
)

// Ledger is safe for concurrent use.
type Ledger struct {
	now     func() time.Time
	counter *prometheus.CounterVec

	mu      sync.Mutex
	entries map[cause]*Entry // guarded by mu
}

type cause struct{ protocol, reason string }

// Entry is what was refused for one reason.
type Entry struct {
	Protocol string   `json:"protocol"`
	Reason   string   `json:"reason"`
	Count    uint64   `json:"count"`
	Samples  []Sample `json:"samples,omitempty"` // newest last
}

// Sample is one refused piece of input.
type Sample struct {
	Time   time.Time `json:"time"`
	From   string    `json:"from,omitempty"` // the sender's address, if known
	Input  string    `json:"input"`          // the line, or the series; cut at 256 bytes
	Detail string    `json:"detail,omitempty"`
}

// New makes a ledger that counts into carillon_rejected_total of registry.
func New(registry prometheus.Registerer, now func() time.Time) *Ledger {
	counter := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "carillon_rejected_total",
		Help: "Points, lines and requests that were not taken, by protocol and reason.",
	}, []string{"protocol", "reason"})
	registry.MustRegister(counter)
	return &Ledger{now: now, counter: counter, entries: make(map[cause]*Entry)}
}

// Add counts n refusals for a reason and keeps one sample. Protocol and reason
// come from the program, never from input: they are the labels of a metric.
func (l *Ledger) Add(protocol, reason string, n int, sample Sample) {
	if n <= 0 {
		return
	}
	l.counter.WithLabelValues(protocol, reason).Add(float64(n))
	sample.Time = l.now()
	sample.Input = clip(sample.Input)
	sample.Detail = clip(sample.Detail)

	l.mu.Lock()
	defer l.mu.Unlock()
	entry := l.entries[cause{protocol, reason}]
	if entry == nil {
		entry = &Entry{Protocol: protocol, Reason: reason}
		l.entries[cause{protocol, reason}] = entry
	}
	entry.Count += uint64(n)
	if len(entry.Samples) == samplesKept {
		copy(entry.Samples, entry.Samples[1:])
		entry.Samples = entry.Samples[:samplesKept-1]
	}
	entry.Samples = append(entry.Samples, sample)
}

func clip(s string) string {
	if len(s) <= sampleMaxBytes {
		return s
	}
	return string([]byte(s[:sampleMaxBytes-3])) + "..." // a copy: s may be 100 MB
}

// Entries is a copy of the ledger, most refusals first.
func (l *Ledger) Entries() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	entries := make([]Entry, 0, len(l.entries))
	for _, e := range l.entries {
		copied := *e
		copied.Samples = slices.Clone(e.Samples)
		entries = append(entries, copied)
	}
	slices.SortFunc(entries, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Reason, b.Reason))
	})
	return entries
}
