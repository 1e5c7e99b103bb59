package replica

import (
	"slices"
	"sync"
	"time"
)

const (
	latencies    = 256                    // of the latest reads are remembered
	fewLatencies = 16                     // are too few to say what is slow
	firstHedge   = 50 * time.Millisecond  // until there are enough
	minHedge     = 500 * time.Microsecond // below, a second read costs more than it saves
)

// latency remembers how long nodes took to begin their answers.
type latency struct {
	mu   sync.Mutex
	ring [latencies]time.Duration
	n    int // added ever
	p95  time.Duration
}

func (l *latency) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ring[l.n%latencies] = d
	l.n++
	if l.n%fewLatencies == 0 {
		sorted := slices.Sorted(slices.Values(l.ring[:min(l.n, latencies)]))
		l.p95 = sorted[len(sorted)*95/100]
	}
}

// hedge is after what time a read counts as slow: the 95th percentile and an eighth, so
// that nodes which always take the same time are not all slow.
func (l *latency) hedge() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n < fewLatencies {
		return firstHedge
	}
	return max(l.p95+l.p95/8, minHedge)
}
