// Package pause is a sleep that ends with a context: a length of time goes in, and why it was cut short comes out. Loops that
// ask again later and those that keep a rate call it, so that they end when they are told to and not after their wait.
package pause

import (
	"context"
	"time"
)

// For sleeps for d, or until ctx ends, and returns ctx.Err() if that was first. If d is zero or less, it returns at once what
// ctx.Err() is.
func For(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
