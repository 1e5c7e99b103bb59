package measure

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
)

// small is a scale of a second or so. Its figures mean nothing.
func small() Scale {
	return Scale{
		Entries: 2000, Rounds: 2, BlockCacheBytes: 32 << 10, Uncached: 100,
		OldEntries: 20_000, OldLookups: 50, LoadBits: 10, LoadSeeds: 2,
	}
}

func smallConfig(t *testing.T) Config {
	return Config{
		Dir: t.TempDir(), Scale: small(), Seed: 1,
		Logger:   slog.New(slog.NewTextHandler(io.Discard, nil)),
		Progress: func(string, uint64, uint64) {},
	}
}

// TestRun keeps the measurement from rotting: everything is measured, and all
// answers are right.
func TestRun(t *testing.T) {
	stages := make(map[string]bool)
	c := smallConfig(t)
	c.Progress = func(stage string, done, total uint64) {
		if done > total {
			t.Errorf("%s: %d of %d done", stage, done, total)
		}
		stages[stage] = stages[stage] || done == total
	}
	got, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]float64)
	for _, f := range got {
		if f.Value <= 0 || f.Unit == "" {
			t.Errorf("%s is %g %q", f.ID, f.Value, f.Unit)
		}
		values[f.ID] = f.Value
	}
	for _, id := range []string{
		"directory.hit_ratio", "directory.negative_ratio", "directory.lookups_per_core",
		"directory.negative_lookups_per_core", "directory.batch_lookups_per_core", "cuckoo.load4",
		"directory.old_reads_per_lookup", "directory.old_lookups_per_second",
	} {
		if _, ok := values[id]; !ok {
			t.Errorf("no %s", id)
		}
	}
	for stage, finished := range stages {
		if !finished {
			t.Errorf("stage %q never got to its end", stage)
		}
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, smallConfig(t)); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
}

// TestWrongAnswersFail asks for names under ids that are not theirs.
func TestWrongAnswersFail(t *testing.T) {
	c := smallConfig(t)
	p := newPopulation(c.Scale.Entries, c.Seed)
	if err := create(t.Context(), c, p); err != nil {
		t.Fatal(err)
	}
	p.present.want[0]++
	if _, err := measureUncached(t.Context(), c, p); !errors.Is(err, ErrWrongAnswer) {
		t.Errorf("without caches: got %v", err)
	}
	if _, err := measureCached(t.Context(), c, p); !errors.Is(err, ErrWrongAnswer) {
		t.Errorf("with caches: got %v", err)
	}
}

// TestOldDesign compares the reads with what chains of that length need: the head,
// and of 20,000/8191 records all, or on average half and the one.
func TestOldDesign(t *testing.T) {
	c := smallConfig(t)
	c.Scale.OldLookups = 4000
	o, err := oldDesign(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	chain := float64(c.Scale.OldEntries) / oldBuckets
	if want := 1 + chain; o.missReads < want*0.95 || o.missReads > want*1.05 {
		t.Errorf("%.2f reads if absent, want about %.2f", o.missReads, want)
	}
	if want := 2 + chain/2; o.hitReads < want*0.95 || o.hitReads > want*1.05 {
		t.Errorf("%.2f reads if present, want about %.2f", o.hitReads, want)
	}
}

func TestCacheBits(t *testing.T) {
	for entries, want := range map[int]int{1: 6, 60: 6, 64: 7, 2_000_000: 21, 2_090_000: 22, 500_000: 19} {
		if got := cacheBits(entries); got != want {
			t.Errorf("%d entries: %d bits, want %d", entries, got, want)
		}
	}
}
