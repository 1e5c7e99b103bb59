// Package backend is what the backends of object share: how a body is taken in, how a content
// goes out, when what was written becomes durable, and how a store begins, stops and ends. In come readers of either side and
// what the caller announced; out go bytes that were counted and compared with their
// checksums. Every package that implements object.Store calls it.
package backend

import (
	"fmt"
	"time"
)

// Sync says when what a store has written is made durable: before the write returns, each
// time so much time has passed, or when the operating system likes.
type Sync time.Duration

const (
	SyncAlways Sync = 0  // the default: a write returns when a power failure cannot undo it
	SyncNone   Sync = -1 // a power failure undoes what the kernel has not yet written back
)

// ParseSync reads "always", "none" or a duration, the interval between two syncs.
func ParseSync(text string) (Sync, error) {
	switch text {
	case "always":
		return SyncAlways, nil
	case "none":
		return SyncNone, nil
	}
	interval, err := time.ParseDuration(text)
	if err != nil || interval <= 0 {
		return 0, fmt.Errorf("sync policy %q: want always, none or an interval such as 1s", text)
	}
	return Sync(interval), nil
}

// String is what ParseSync reads.
func (s Sync) String() string {
	switch {
	case s == SyncAlways:
		return "always"
	case s < 0:
		return "none"
	}
	return time.Duration(s).String()
}

// Interval is the time between two syncs, if that is the policy.
func (s Sync) Interval() (time.Duration, bool) { return time.Duration(s), s > 0 }

// Run calls sync each time the interval has passed, until quit is closed. It returns at once if an interval is not the policy.
func (s Sync) Run(quit <-chan struct{}, sync func()) {
	interval, enabled := s.Interval()
	if !enabled {
		return
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-quit:
			return
		case <-ticker.C:
			sync()
		}
	}
}
