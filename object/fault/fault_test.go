package fault

import (
	"bytes"
	"errors"
	"math/bits"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"carillon/object"
	"carillon/object/replica"
)

// TestFlip: bits are flipped at the end of the newest segment, but not among the zeros behind it, and in files of one object.
func TestFlip(t *testing.T) {
	data := t.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	if err := flip(data, random); err == nil {
		t.Error("bits are flipped where there is no file")
	}
	store := filepath.Join(data, objectsName, "pack")
	ones := func(n int64) []byte { return bytes.Repeat([]byte{0xff}, int(n)) }
	files := []struct {
		name    string
		content []byte
		from    int64 // where flipped bits may begin
		most    int   // how many they may be
	}{
		{"segments/1.seg", ones(1000), 0, 0},
		{"segments/2.seg", append(ones(recentBytes+1000), make([]byte, 3*blockBytes)...), 1000, recentBits},
		{"blobs/1.obj", ones(1000), 0, blobsHit},
	}
	for _, f := range files {
		path := filepath.Join(store, f.name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, f.content, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := flip(data, random); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		is, err := os.ReadFile(filepath.Join(store, f.name))
		if err != nil || len(is) != len(f.content) {
			t.Fatal(f.name, len(is), err)
		}
		flipped := 0
		for i := range is {
			flipped += bits.OnesCount8(is[i] ^ f.content[i])
		}
		if flipped > f.most || flipped == 0 && f.most > 0 || !bytes.Equal(is[:f.from], f.content[:f.from]) || bytes.Count(is, []byte{0}) != bytes.Count(f.content, []byte{0}) {
			t.Errorf("%s: %d bits are flipped", f.name, flipped)
		}
	}
}

// TestLedger: what was acknowledged may be followed by what was not, and by nothing older.
func TestLedger(t *testing.T) {
	l := newLedger()
	var sums []object.Sum
	for i, err := range []error{replica.ErrTooFew, nil, nil, replica.ErrTooFew} {
		sums = append(sums, object.SumOf([]byte{byte(i)}))
		l.end("x", l.begin("x", sums[i]), err)
	}
	for i, want := range []bool{false, false, true, true} {
		if got := l.has("x", l.oldest("x"), sums[i]); got != want {
			t.Errorf("put %d: %v", i, got)
		}
	}
	if acked, refused := l.counts(); acked != 2 || refused != 2 || len(l.all()) != 1 {
		t.Errorf("%d acknowledged, %d refused, of %q", acked, refused, l.all())
	}
	if some := l.some(rand.New(rand.NewPCG(1, 2)), 3); len(some) != 3 {
		t.Errorf("some are %q", some)
	}
	if some := newLedger().some(nil, 3); len(some) != 0 {
		t.Errorf("some of none are %q", some)
	}
}
