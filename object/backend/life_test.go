package backend

import (
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"

	"carillon/object"
)

func TestLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := Life{Logger: slog.New(slog.DiscardHandler)}
		if err := errors.Join(l.Begin(), l.BeginWrite()); err != nil {
			t.Fatal(err)
		}
		first, second := errors.New("first"), errors.New("second")
		for _, err := range []error{l.Stop(first), l.Stop(second), l.Stopped(), l.BeginWrite()} {
			if !errors.Is(err, object.ErrStopped) || !errors.Is(err, first) || errors.Is(err, second) {
				t.Errorf("stopped with %v", err)
			}
		}
		if err := l.Begin(); err != nil {
			t.Errorf("a stopped store does not read: %v", err)
		}
		closed := make(chan error, 1)
		go func() { closed <- l.Close() }()
		for range 3 {
			synctest.Wait()
			if len(closed) > 0 {
				t.Fatal("Close has not waited")
			}
			if err := l.Begin(); !errors.Is(err, object.ErrClosed) {
				t.Errorf("begun after Close: %v", err)
			}
			l.Done()
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if err := l.Close(); !errors.Is(err, object.ErrClosed) {
			t.Errorf("closed twice: %v", err)
		}
	})
}
