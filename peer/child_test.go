package peer

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestTail(t *testing.T) {
	var log tail
	for range 3 {
		if n, err := log.Write([]byte(strings.Repeat("x", logBytes-1) + "y")); n != logBytes || err != nil {
			t.Fatal(n, err)
		}
	}
	if text := log.String(); len(text) != logBytes || text[logBytes-1] != 'y' {
		t.Errorf("%d bytes", len(text))
	}
}

// TestSpawnEnds: what never answers is said with its last words, and is killed when nobody waits for it any more.
func TestSpawnEnds(t *testing.T) {
	never := func(context.Context) bool { return false }
	if _, err := Spawn(t.Context(), "short", []string{"sh", "-c", "echo last words; exit 3"}, never); err == nil || !strings.Contains(err.Error(), "exit status 3; it said: last words") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Spawn(ctx, "long", []string{"sleep", "600"}, never); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
