package memcached

import (
	"testing"
	"time"
)

func TestLatencies(t *testing.T) {
	s := &Server{}
	for lasted, bucket := range map[time.Duration]int{
		0: 0, 999: 0, time.Microsecond: 0, 1001: 1, 2 * time.Microsecond: 1, 2001: 2,
		time.Millisecond: 10, time.Second: 20, 1048576 * time.Microsecond: 20, 1048577 * time.Microsecond: 21, time.Hour: 21,
	} {
		before, _ := s.Latency()
		s.latencies.add(lasted)
		after, _ := s.Latency()
		if after[bucket].Rounds != before[bucket].Rounds+1 {
			t.Errorf("%s is not in bucket %d, up to %s", lasted, bucket, after[bucket].UpTo)
		}
	}
	buckets, sum := s.Latency()
	if len(buckets) != latencyBuckets+1 || buckets[0].UpTo != time.Microsecond || buckets[20].UpTo != 1048576*time.Microsecond || buckets[21].UpTo != 0 {
		t.Errorf("buckets %v", buckets)
	}
	if sum < time.Hour {
		t.Errorf("sum %s", sum)
	}
}

// TestOneRoundInSixteenIsTimed also of a client that sends only one.
func TestOneRoundInSixteenIsTimed(t *testing.T) {
	server := &Server{}
	s := &session{server: server}
	for range timedOf + 1 {
		s.end(s.begin())
	}
	buckets, _ := server.Latency()
	var rounds uint64
	for _, b := range buckets {
		rounds += b.Rounds
	}
	if rounds != 2 {
		t.Errorf("%d of %d rounds were timed", rounds, timedOf+1)
	}
}
