package query

import (
	"fmt"
	"sync/atomic"
	"time"
)

// Limits is what one query may use, so that none can take the server down. A
// query over a limit fails with an error that names the limit and its value.
type Limits struct {
	Series     int           // series one selector may match
	Samples    int           // samples the engine may hold at a time
	Bytes      int64         // bytes of samples or buckets read from the store
	Points     int           // points a series in the answer to a range query
	Timeout    time.Duration // how long a query may run
	Concurrent int           // queries that run at a time; more wait
}

// DefaultLimits are Prometheus's where Prometheus has them.
func DefaultLimits() Limits {
	return Limits{
		Series:     100_000,
		Samples:    50_000_000,
		Bytes:      1 << 30,
		Points:     11_000,
		Timeout:    2 * time.Minute,
		Concurrent: 20,
	}
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	l.Series = orDefault(l.Series, d.Series)
	l.Samples = orDefault(l.Samples, d.Samples)
	l.Bytes = orDefault(l.Bytes, d.Bytes)
	l.Points = orDefault(l.Points, d.Points)
	l.Timeout = orDefault(l.Timeout, d.Timeout)
	l.Concurrent = orDefault(l.Concurrent, d.Concurrent)
	return l
}

func orDefault[T int | int64 | time.Duration](value, fallback T) T {
	if value == 0 {
		return fallback
	}
	return value
}

// limitError says which limit a query went over.
type limitError struct {
	limit string // the limit with its value and unit
	hint  string // what to do about it
}

func (e *limitError) Error() string {
	return fmt.Sprintf("query is over the limit of %s; %s", e.limit, e.hint)
}

func (l Limits) checkSeries(n int) error {
	if n <= l.Series {
		return nil
	}
	return &limitError{
		limit: fmt.Sprintf("%d series a selector", l.Series),
		hint:  fmt.Sprintf("one of its selectors matches %d", n),
	}
}

// budget counts the bytes that one query reads. Any goroutine may take of it.
type budget struct {
	taken atomic.Int64
	limit int64
}

func (l Limits) budget() *budget { return &budget{limit: l.Bytes} }

func (b *budget) take(bytes int64) error {
	if b.taken.Add(bytes) <= b.limit {
		return nil
	}
	return &limitError{
		limit: fmt.Sprintf("%d bytes read by one query", b.limit),
		hint:  "select fewer series, a shorter time or a longer step",
	}
}
