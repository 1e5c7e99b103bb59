package agent

import (
	"errors"
	"math/rand/v2"
	"time"
)

const (
	firstPause    = 250 * time.Millisecond
	longestPause  = 30 * time.Second
	longestWished = 5 * time.Minute // most a server can ask for, so that none silences its agents for ever
)

// backoff says how long to wait before the next attempt. The zero value is the
// state after a success.
type backoff struct{ failures int }

// next is half to the whole of a span that doubles with every failure, from
// firstPause to longestPause: random, so that the agents of a fleet do not come
// back in one wave. A server that named a time (RetryLater) is given at least that.
func (b *backoff) next(err error) time.Duration {
	span := longestPause
	if doubled := firstPause << min(b.failures, 16); doubled < longestPause {
		span = doubled
	}
	b.failures++
	pause := span/2 + rand.N(span/2+1)
	if later, ok := errors.AsType[*RetryLater](err); ok {
		pause = max(pause, min(later.After, longestWished))
	}
	return pause
}
