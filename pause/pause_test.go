package pause

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestFor(t *testing.T) {
	const ends = time.Minute // of a context; one that ends after 0 has ended
	for _, c := range []struct {
		ends, d, lasts time.Duration
		want           error
	}{
		{ends, time.Second, time.Second, nil},
		{ends, time.Hour, ends, context.DeadlineExceeded},
		{ends, 0, 0, nil},
		{ends, -time.Hour, 0, nil},
		{0, 0, 0, context.DeadlineExceeded},
		{0, -time.Hour, 0, context.DeadlineExceeded},
		{0, time.Hour, 0, context.DeadlineExceeded},
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), c.ends)
			defer cancel()
			if err := For(ctx, c.d); err != c.want || time.Since(began) != c.lasts {
				t.Errorf("%v with a context of %v: %v after %v, want %v after %v", c.d, c.ends, err, time.Since(began), c.want, c.lasts)
			}
		})
	}
}
