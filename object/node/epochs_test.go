package node

import (
	"os"
	"path/filepath"
	"testing"
)

func TestEpochs(t *testing.T) {
	e := Epochs{t.TempDir()}
	if got, err := e.Load(); err != nil || got != 0 {
		t.Fatalf("of a blank node: %d, %v", got, err)
	}
	for _, epoch := range []uint64{1, 7, 1<<64 - 1} {
		if err := e.Save(epoch); err != nil {
			t.Fatal(err)
		}
		if got, err := (Epochs{e.Dir}).Load(); err != nil || got != epoch {
			t.Errorf("got %d, %v, want %d", got, err, epoch)
		}
	}
	path := filepath.Join(e.Dir, epochName)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range text {
		damaged := append([]byte(nil), text...)
		damaged[i] ^= 1
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := e.Load(); err == nil {
			t.Fatalf("with a bit flipped in byte %d: %d", i, got)
		}
	}
}
