package importer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"carillon/bucket"
	"carillon/series"
)

// tape is a stream in memory, which may tear.
type tape struct {
	samples []taped
	tears   int // after so many samples; -1 for not
}

type taped struct {
	key   series.Key
	time  int64
	value float64
}

func (*tape) Name() string { return "tape" }

func (s *tape) Read(_ context.Context, to Sink) error {
	for i, one := range s.samples {
		if i == s.tears {
			return errTorn
		}
		to.Progress(int64(i), int64(len(s.samples)))
		if err := to.Add(one.key, one.time, one.value); err != nil {
			return err
		}
	}
	return to.Describe(series.Metadata{Family: "tape", Type: "gauge"})
}

// TestStreamModel imports a stream that tears several times: in the end everything is
// there once.
func TestStreamModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		to := newTarget(t, 3, "10s:2d,1m:20d,1h:40d")
		defer to.close(t)
		have := map[series.Key][]bucket.Bucket{}
		taken := map[string]bool{}
		s := new(tape)
		for range rapid.IntRange(0, 200).Draw(rt, "samples") {
			one := taped{
				named(rt, fmt.Sprintf("series%d", rapid.IntRange(0, 9).Draw(rt, "series"))),
				now.UnixMilli() - rapid.Int64Range(0, 50*day).Draw(rt, "age"), float64(rapid.IntRange(0, 1000).Draw(rt, "value")),
			}
			if at := fmt.Sprint(one.key, one.time); !taken[at] {
				taken[at] = true
				s.samples = append(s.samples, one)
				have[one.key] = append(have[one.key], bucket.Of(one.time, one.value))
			}
		}
		total := uint64(0)
		for range 4 {
			s.tears = rapid.IntRange(-1, len(s.samples)).Draw(rt, "tears")
			im := to.importer(NewLedger())
			im.batchSamples = rapid.IntRange(1, 100).Draw(rt, "batch")
			if err := im.Stream(t.Context(), s); err != nil && !errors.Is(err, errTorn) {
				rt.Fatal(err)
			}
			total += im.Counts().Samples
		}
		s.tears = -1
		im := to.importer(NewLedger())
		if err := im.Stream(t.Context(), s); err != nil {
			rt.Fatal(err)
		}
		total += im.Counts().Samples
		kept := uint64(0)
		for key, want := range have {
			check(rt, t, to, key, want)
			for _, b := range want {
				if im.admits(b.FirstTime) {
					kept++
				}
			}
		}
		if total != kept {
			rt.Fatalf("%d samples are said to be taken, not %d", total, kept)
		}
	})
}

// TestNameOf: a file is known by its contents, not by its path.
func TestNameOf(t *testing.T) {
	name := func(content string) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		name, size, err := NameOf("text", f)
		if err != nil || size != int64(len(content)) {
			t.Fatal(size, err)
		}
		return name
	}
	if first, again := name("a b"), name("a b"); first != again || first == name("a c") || name("") == name("a") {
		t.Error("names do not follow contents")
	}
}

// TestDescribe: bad metadata are counted, long ones are cut.
func TestDescribe(t *testing.T) {
	to := newTarget(t, 1, "10s:2d")
	defer to.close(t)
	ledger := NewLedger()
	c := &collector{im: to.importer(ledger)}
	for _, m := range []series.Metadata{{Family: ""}, {Family: "\xff"}, {Family: "good", Help: string(make([]byte, 2*maxTextBytes))}} {
		if err := c.Describe(m); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.metadata) != 1 || len(c.metadata[0].Help) != maxTextBytes || refusals(ledger)[BadMeta] != 2 {
		t.Errorf("%d, %v", len(c.metadata), refusals(ledger))
	}
}
