// Package receive takes bytes from sockets and HTTP, parses them with the pure
// parsers in its sub-packages, and writes points to the journal. Points of known
// series go out under their number, which their bytes as sent lead to, unknown
// series with a definition; success is answered once the journal has acknowledged,
// and what is refused is counted by reason. The server opens one Writer and hands it
// to the listeners of each protocol; the agent in the same process calls RemoteWrite
// directly.
//
// On the way of a point of a known series nothing is allocated, locked or looked up
// in a map: the parser cuts requests into batches, the batch is looked up in the
// cache of spellings at once, and each point is appended to three columns.
package receive

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"carillon/journal"
	"carillon/rejects"
	"carillon/series"
)

// Directory knows the series there are. The strings it is given stand in a
// receive buffer: they are valid during the call only.
type Directory interface {
	Partitions() int
	Lookup(series.Key) (series.ID, bool)
	// KindOf is the kind of a new series of this name.
	KindOf(metric string) series.Kind
	// Known tells that this very metadata needs no journalling.
	Known(series.Metadata) bool
}

// Journal makes points durable. It must not change the parts, and may go on
// reading them after an error. What is announced may share a sync with what others
// append meanwhile.
type Journal interface {
	Announce()
	Withdraw()
	Append(ctx context.Context, parts []*journal.Part) error
}

// Protocol is the name of a way in, as metrics and the status page show it.
type Protocol string

const (
	ProtocolRemoteWrite Protocol = "remote_write"
	ProtocolAgent       Protocol = "agent" // remote write bodies of the agent in this process
	ProtocolGraphite    Protocol = "graphite"
	ProtocolIstatd      Protocol = "istatd"
)

var protocols = [...]Protocol{ProtocolRemoteWrite, ProtocolAgent, ProtocolGraphite, ProtocolIstatd}

// MaxTime is the latest time taken, in milliseconds since the epoch: in the year
// 2262, where nanoseconds leave an int64. Whether a time is too far in the future
// for now, or too old for every tier, is decided behind the journal.
const MaxTime = math.MaxInt64 / int64(time.Millisecond)

// Config is what a Writer needs; all of it is required but Admit and SpellingBits.
type Config struct {
	Directory  Directory
	Journal    Journal
	Rejects    *rejects.Ledger
	Now        func() time.Time
	Registerer prometheus.Registerer
	Logger     *slog.Logger

	// Admit tells whether a series that the directory does not know may be defined:
	// the error says why not. The key stands in a buffer. Nil admits all.
	Admit func(series.Key) error

	// SpellingBits is the size that the cache of spellings may grow to, as log2 of
	// entries of 26 bytes, MinSpellingBits to MaxSpellingBits; 0 is
	// DefaultSpellingBits. It should hold what comes within minutes.
	SpellingBits int
}

// Writer is where all protocols meet. It is safe for concurrent use; the
// Requests it begins belong to one goroutine each.
type Writer struct {
	directory Directory
	journal   Journal
	admit     func(series.Key) error
	rejects   *rejects.Ledger
	now       func() time.Time
	logger    *slog.Logger
	spellings *spellings

	received [len(protocols)]atomic.Uint64 // points acknowledged
	dropped  [len(protocols)]atomic.Uint64 // datagrams dropped
	arrivals arrivals
	requests sync.Pool // of *Request, released
	batches  sync.Pool // of *batch, empty
	buffers  sync.Pool // of *largeBuffer
}

// NewWriter makes a Writer and registers carillon_received_points_total,
// carillon_dropped_total and carillon_spellings_….
func NewWriter(config Config) *Writer {
	if config.Admit == nil {
		config.Admit = func(series.Key) error { return nil }
	}
	w := &Writer{
		directory: config.Directory,
		journal:   config.Journal,
		admit:     config.Admit,
		rejects:   config.Rejects,
		now:       config.Now,
		logger:    config.Logger,
		spellings: newSpellings(config.SpellingBits),
		batches:   sync.Pool{New: func() any { return new(batch) }},
		buffers:   sync.Pool{New: func() any { return new(largeBuffer) }},
	}
	if n := w.directory.Partitions(); n > maxPartitions {
		panic(fmt.Sprintf("receive: %d partitions, a Handle can name %d", n, maxPartitions))
	}
	w.spellings.register(config.Registerer)
	for i, protocol := range protocols {
		config.Registerer.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name:        "carillon_received_points_total",
			Help:        "Points acknowledged by the journal, by protocol.",
			ConstLabels: prometheus.Labels{"protocol": string(protocol)},
		}, func() float64 { return float64(w.received[i].Load()) }))
		if what := droppedName(protocol); what != "" {
			config.Registerer.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name:        "carillon_dropped_total",
				Help:        "What was dropped because nothing slows its sender down, by what it is: udp_… counts datagrams.",
				ConstLabels: prometheus.Labels{"what": what},
			}, func() float64 { return float64(w.dropped[i].Load()) }))
		}
	}
	return w
}

// droppedName is what the drops of a protocol are counted as; only datagrams are
// ever dropped.
func droppedName(p Protocol) string {
	switch p {
	case ProtocolGraphite, ProtocolIstatd:
		return "udp_" + string(p)
	}
	return ""
}

// Received is how many points came in by one protocol since the start.
type Received struct {
	Protocol Protocol `json:"protocol"`
	Points   uint64   `json:"points"`
}

// Received lists every protocol, in a fixed order.
func (w *Writer) Received() []Received {
	list := make([]Received, 0, len(protocols))
	for i, protocol := range protocols {
		list = append(list, Received{protocol, w.received[i].Load()})
	}
	return list
}

// Dropped is how many datagrams of one protocol were dropped since the start.
type Dropped struct {
	What  string `json:"what"`
	Count uint64 `json:"count"`
}

// Dropped lists every protocol that comes in datagrams, in a fixed order.
func (w *Writer) Dropped() []Dropped {
	var list []Dropped
	for i, protocol := range protocols {
		if what := droppedName(protocol); what != "" {
			list = append(list, Dropped{what, w.dropped[i].Load()})
		}
	}
	return list
}

// Spellings is how the cache of spellings does.
func (w *Writer) Spellings() SpellingStats { return w.spellings.stats() }

func (w *Writer) drop(p Protocol, datagrams int) {
	w.dropped[p.index()].Add(uint64(datagrams))
}

func (p Protocol) index() int {
	for i, protocol := range protocols {
		if p == protocol {
			return i
		}
	}
	panic("receive: unknown protocol " + string(p))
}

// validTime tells whether the journal may see a time at all.
func validTime(milliseconds int64) bool { return uint64(milliseconds) <= uint64(MaxTime) }
