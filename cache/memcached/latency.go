package memcached

import (
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	// timedOf is how many rounds there are to one that is timed. The first of a client is.
	timedOf = 16
	// latencyUnit is the bound of the lowest bucket of the histogram; each bound is twice the one
	// before.
	latencyUnit = time.Microsecond
	// latencyBuckets have bounds from 1 µs to 1 s; one more has none.
	latencyBuckets = 21
)

// latencies is a histogram of rounds: from when requests were received, all that came
// together, until their replies were handed to the system. Anybody may add to it.
type latencies struct {
	rounds [latencyBuckets + 1]atomic.Uint64
	sum    atomic.Int64 // of nanoseconds
}

func (l *latencies) add(lasted time.Duration) {
	bucket := 0
	if lasted > latencyUnit {
		bucket = bits.Len64(uint64((lasted - 1) / latencyUnit))
	}
	l.rounds[min(bucket, latencyBuckets)].Add(1)
	l.sum.Add(int64(lasted))
}

// LatencyBucket is the rounds that took longer than the bound of the bucket before, and no
// longer than its own.
type LatencyBucket struct {
	UpTo   time.Duration // 0 in the last bucket, which has no bound
	Rounds uint64
}

// Latency is how long rounds took in user space, of a sample: from when requests were
// received until their replies were handed to the system. Sum is of the sample's rounds.
func (s *Server) Latency() (buckets []LatencyBucket, sum time.Duration) {
	for i := range s.latencies.rounds {
		b := LatencyBucket{Rounds: s.latencies.rounds[i].Load()}
		if i < latencyBuckets {
			b.UpTo = latencyUnit << i
		}
		buckets = append(buckets, b)
	}
	return buckets, time.Duration(s.latencies.sum.Load())
}

// begin is when a round began, if it is to be timed.
func (s *session) begin() (began time.Time) {
	if s.rounds%timedOf == 0 {
		began = time.Now()
	}
	s.rounds++
	return began
}

// end ends a round.
func (s *session) end(began time.Time) {
	if !began.IsZero() {
		s.server.latencies.add(time.Since(began))
	}
}
