package backend

import (
	"fmt"
	"log/slog"
	"sync"

	"carillon/object"
)

// Life is a store's from Open to Close: it counts the calls that are under way, and ends all writing after a failure of the
// disk. Every method of a store begins with Begin or BeginWrite, so that nothing it uses is closed under it.
type Life struct {
	Logger *slog.Logger // is told of Stop

	mu      sync.RWMutex
	stopped error
	closed  bool
	running sync.WaitGroup
}

// Begin keeps Close waiting until Done is called. The error is ErrClosed after Close.
func (l *Life) Begin() error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return object.ErrClosed
	}
	l.running.Add(1)
	return nil
}

// BeginWrite is Begin for what changes anything. After Stop it returns what that has returned.
func (l *Life) BeginWrite() error {
	if err := l.Begin(); err != nil {
		return err
	}
	if err := l.Stopped(); err != nil {
		l.Done()
		return err
	}
	return nil
}

// Done ends what Begin or BeginWrite began.
func (l *Life) Done() { l.running.Done() }

// Stop is the end of all writing: after a sync that failed nobody knows what is on disk. It returns an ErrStopped with the
// cause that came first.
func (l *Life) Stop(cause error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped == nil {
		l.stopped = fmt.Errorf("%w: %w", object.ErrStopped, cause)
		l.Logger.Error("objects take no more writes", "error", cause)
	}
	return l.stopped
}

// Stopped is what Stop has returned, nil if it was not called.
func (l *Life) Stopped() error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.stopped
}

// Close lets nothing begin any more, and waits for what has begun. The error is ErrClosed if it was called before.
func (l *Life) Close() error {
	l.mu.Lock()
	closed := l.closed
	l.closed = true
	l.mu.Unlock()
	if closed {
		return object.ErrClosed
	}
	l.running.Wait()
	return nil
}
