package importer

import (
	"cmp"
	"slices"
	"strings"
	"sync"
)

// Counts is how much was taken.
type Counts struct {
	Series  uint64 `json:"series"`
	Buckets uint64 `json:"buckets"`
	Samples uint64 `json:"samples"` // in the buckets
}

// Reason says why something was not taken.
type Reason string

// The reasons, and what they count.
const (
	TooOld     Reason = "too_old"     // segments or samples
	Future     Reason = "future"      // segments or samples
	Unfinished Reason = "unfinished"  // segments
	StaleSlot  Reason = "stale_slot"  // slots of a ring file
	Damaged    Reason = "damaged"     // segments
	Unreadable Reason = "unreadable"  // files, blocks or bodies
	Seasonal   Reason = "seasonal"    // files
	HashedName Reason = "hashed_name" // files
	Symlink    Reason = "symlink"     // folders
	BadSeries  Reason = "bad_series"  // series, or files that are one
	BadLine    Reason = "bad_line"    // lines
	NoTime     Reason = "no_time"     // samples
	Histogram  Reason = "histogram"   // native histograms
	Exemplar   Reason = "exemplar"
	BadChunk   Reason = "bad_chunk" // chunks of a TSDB
	BadMeta    Reason = "bad_metadata"
)

// Why explains the reason in words that follow a count.
func (r Reason) Why() string {
	switch r {
	case TooOld:
		return "segments or samples are older than the coarsest tier keeps"
	case Future:
		return "segments or samples are in the future"
	case Unfinished:
		return "segments were not over yet: another run takes them"
	case StaleSlot:
		return "slots are left over from an earlier round of their ring, and hidden in the source, too"
	case Damaged:
		return "segments have values that no samples can have"
	case Unreadable:
		return "files could not be read"
	case Seasonal:
		return "files are averages over seasons, and no history"
	case HashedName:
		return "files are named after a hash, so whose they are is not known"
	case Symlink:
		return "links to folders were not followed"
	case BadSeries:
		return "series have a name or labels that no series may have"
	case BadLine:
		return "lines are malformed"
	case NoTime:
		return "samples have no time"
	case Histogram:
		return "samples are native histograms, which are not kept"
	case Exemplar:
		return "exemplars are not kept"
	case BadChunk:
		return "chunks of samples are damaged"
	case BadMeta:
		return "metadata have no valid name"
	}
	return string(r)
}

// Refusal is what was not taken for one reason.
type Refusal struct {
	Reason  Reason `json:"reason"`
	Count   uint64 `json:"count"`
	Why     string `json:"why"`
	Example string `json:"example,omitempty"` // the first one
}

// Ledger counts what is not taken. Any goroutine may use it.
type Ledger struct {
	mu       sync.Mutex
	refusals map[Reason]*Refusal // guarded by mu
}

// NewLedger is an empty one.
func NewLedger() *Ledger { return &Ledger{refusals: make(map[Reason]*Refusal)} }

// maxExampleBytes bounds what is kept of an example.
const maxExampleBytes = 300

// Refuse counts n things that are not taken: what it is, and what is wrong with it. Where
// is the first part of an example, and detail the second; either may be empty.
func (l *Ledger) Refuse(reason Reason, n uint64, where, detail string) {
	if n == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.refusals[reason]
	if r == nil {
		example := where
		if where != "" && detail != "" {
			example += ": "
		}
		example += detail
		r = &Refusal{Reason: reason, Why: reason.Why(), Example: strings.ToValidUTF8(strings.Clone(example[:min(len(example), maxExampleBytes)]), "")}
		l.refusals[reason] = r
	}
	r.Count += n
}

// Refusals is everything that was not taken, most of it first.
func (l *Ledger) Refusals() []Refusal {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]Refusal, 0, len(l.refusals))
	for _, r := range l.refusals {
		all = append(all, *r)
	}
	slices.SortFunc(all, func(a, b Refusal) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Reason, b.Reason))
	})
	return all
}
