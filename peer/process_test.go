package peer

import (
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
