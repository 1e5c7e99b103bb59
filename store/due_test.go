package store

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// leftOvers is a history of one day, of too few samples for files to be full, and of late
// ones on the day after, when what is left of the first day is merged.
var leftOvers = script{seals: 5}

// nextDay is when what is left of the day of noon is due.
const nextDay = noon/day*day + day + 8*hour

// TestLeftOverIsMergedOnce: when a window is over, its files become one, which then stays.
func TestLeftOverIsMergedOnce(t *testing.T) {
	sc := leftOvers
	sc.tiers = testTiers(t, "10s:10d,1m:20d")
	config := testConfig(newMemFS(), sc.tiers)
	s, err := newStore(config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stop(s) }()
	sc.run(s, 0, sc.seals)
	maintain := func(now int64) int {
		s.Maintain(now)
		drive(s)
		return s.Stats()[0].Files
	}
	if files := maintain(nextDay - 2*hour); files != sc.seals {
		t.Fatalf("%d files before it is over, not %d", files, sc.seals)
	}
	if files := maintain(nextDay); files != 1 {
		t.Fatalf("%d files after that", files)
	}
	written := s.Written()
	if maintain(nextDay + hour); s.Written().Merged != written.Merged {
		t.Error("it is merged again")
	}
	if err := stop(s); err != nil {
		t.Fatal(err)
	}
	if s, err = newStore(config); err != nil {
		t.Fatal(err)
	}
	if maintain(nextDay + 2*hour); s.Written().Merged != 0 {
		t.Error("it is merged again after a start")
	}
	if err := sc.model(played{seals: sc.seals}).differs(s, nil, math.MinInt64, math.MaxInt64); err != nil {
		t.Error(err)
	}
}

// TestLateDataAfterAWindow: seals that bring a few samples each to a window that is over do not
// have it written again each time, nor leave a file each.
func TestLateDataAfterAWindow(t *testing.T) {
	s, err := newStore(testConfig(newMemFS(), testTiers(t, "10s:10d")))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stop(s) }()
	sealed := uint64(0)
	seal := func(from, samples int) {
		for number := range uint32(20) {
			for i := range samples {
				at := noon + int64(from+i)*10*second
				s.AddSamples([]uint32{number}, []int64{at}, []float64{float64(at*7919%1000) + float64(number)})
			}
		}
		sealed++
		if err := s.Seal(nextDay, sealed, none); err != nil {
			t.Fatal(err)
		}
		drive(s)
	}
	seal(0, 300)
	seal(300, 300)
	for i := range 200 {
		seal(600+i/2, 1)
	}
	w, stats := s.Written(), s.Stats()[0]
	t.Logf("%+v, %d files", w, stats.Files)
	if stats.Files > 10 || w.Amplification() > 5 {
		t.Errorf("%d files, %.1f times written", stats.Files, w.Amplification())
	}
}

// TestFaultLeftOver fails each call to the file system in turn by which what is left of a window
// is merged, alone and as the beginning of a crash.
func TestFaultLeftOver(t *testing.T) {
	t.Parallel()
	sc := leftOvers
	sc.models = map[played]*naive{}
	sc.tiers = testTiers(t, "10s:10d,1m:20d")
	for _, crash := range []bool{false, true} {
		failed := 0
		for call := 1; ; call++ {
			fs := newMemFS()
			config := testConfig(fs, sc.tiers)
			s, err := newStore(config)
			if err != nil {
				t.Fatal(err)
			}
			reported := sc.run(s, 0, sc.seals)
			s.Maintain(nextDay - 2*hour) // what a tick does besides
			drive(s)
			fs.failAt, fs.crash = fs.calls+call, crash
			s.Maintain(nextDay)
			drive(s)
			reached := fs.calls >= fs.failAt
			if s.Err() != nil {
				failed++
			}
			_ = stop(s)
			if crash {
				fs.restart(rand.New(rand.NewPCG(1, uint64(call))))
			}
			fs.failAt, fs.dead = 0, false
			if err := sc.recovers(config, reported); err != nil {
				t.Fatalf("with a failure at call %d, crash %t: %v", call, crash, err)
			}
			if !reached {
				break
			}
		}
		if failed < 20 {
			t.Errorf("only %d calls have failed", failed)
		}
	}
}

// TestDoubling: of any files, those found stand together, are worth it, and are found if there
// are any; and merging them on and on writes each byte a few times.
func TestDoubling(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var files []*file
		var written, total int64
		for range rapid.IntRange(0, 200).Draw(t, "files") {
			size := rapid.SampledFrom([]int64{1, 2, 3, 10, 1000}).Draw(t, "size")
			files, total = append(files, &file{size: size, footer: footer{buckets: 1, series: 1}}), total+size
			for run := doubling(files); run != nil; run = doubling(files) {
				var sum, largest int64
				for _, f := range run {
					sum, largest = sum+f.size, max(largest, f.size)
				}
				at := slices.Index(files, run[0])
				if len(run) < 2 || sum < 2*largest || !slices.Equal(run, files[at:at+len(run)]) {
					t.Fatalf("%d files, %d bytes, the largest %d", len(run), sum, largest)
				}
				written += sum
				files = slices.Replace(slices.Clone(files), at, at+len(run), &file{size: sum})
			}
			for i := range files[1:] {
				if files[i].size == files[i+1].size {
					t.Fatal("two equal neighbours are left")
				}
			}
		}
		if most := total * int64(math.Log2(float64(max(total, 2)))+1); written > most {
			t.Fatalf("%d bytes written of %d, want at most %d", written, total, most)
		}
	})
}

// TestLeftOverIsOfOneSort: files that replace and files that merge would become two files, which
// could be merged for ever.
func TestLeftOverIsOfOneSort(t *testing.T) {
	w := &worker{now: 100 * day, config: Config{}}
	short := func(replaces bool, window int64) *file {
		return &file{size: 100, footer: footer{buckets: 1, series: 1, resolution: 10 * second, replaces: replaces, window: window}}
	}
	a, b, c, other := short(true, day), short(false, day), short(false, day), short(true, 2*day)
	if got := w.leftOver([]*file{a, other, b}); got != nil {
		t.Errorf("%d files", len(got))
	}
	if got := w.leftOver([]*file{a, b, other, c}); !slices.Equal(got, []*file{b, c}) {
		t.Errorf("%d files", len(got))
	}
	full := short(false, day)
	full.buckets = fullStrip
	damaged := short(false, day)
	damaged.damaged = true
	for _, between := range []*file{full, damaged} {
		if got := w.leftOver([]*file{b, between, c}); got != nil {
			t.Errorf("%d files", len(got))
		}
	}
}
