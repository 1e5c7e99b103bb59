package store

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"carillon/bucket"
	"carillon/series"
)

const (
	second = int64(1000)
	minute = 60 * second
	hour   = 60 * minute
	day    = 24 * hour
)

func testTiers(t interface{ Fatal(...any) }, s string) []Tier {
	tiers, err := ParseTiers(s)
	if err != nil {
		t.Fatal(err)
	}
	return tiers
}

// kindOf gives the series of the tests their kinds.
func kindOf(number uint32) series.Kind { return series.Kind(number % 3) }

func testConfig(fs FS, tiers []Tier) Config {
	return Config{
		Dir: "/data/0", Tiers: tiers, Kind: kindOf, FS: fs,
		SyncDirectory: func() error { return nil },
		Logger:        slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
}

func none(func(uint32, bucket.Bucket) bool) {}

// drive does the worker's work in the test's own goroutine, so that a test
// decides what happens when.
func drive(s *Store) {
	for len(s.seals)+len(s.ticks) > 0 {
		s.worker.step()
	}
}

// stop is Close for a store whose worker was never started.
func stop(s *Store) error {
	go s.worker.run()
	return s.Close()
}

// naive is all that was ever added, and how it is to be read.
type naive struct {
	tiers  []Tier
	added  map[uint32][]bucket.Bucket // in log order
	merged map[uint32]tiered
}

// tiered is what so many buckets that were added make in each tier.
type tiered struct {
	added int
	tiers [][]bucket.Bucket
}

func newNaive(tiers []Tier) *naive {
	return &naive{tiers: tiers, added: map[uint32][]bucket.Bucket{}, merged: map[uint32]tiered{}}
}

func (m *naive) add(number uint32, b bucket.Bucket) { m.added[number] = append(m.added[number], b) }

// read merges everything of a series, first by the finest segment and then by the
// tier's, and leaves out what starts before the horizon.
func (m *naive) read(number uint32, tier int, horizon, from, to int64) []bucket.Bucket {
	all := m.merged[number]
	if added := m.added[number]; all.tiers == nil || all.added != len(added) {
		all = tiered{added: len(added)}
		fine := merged(kindOf(number), m.tiers[0].Resolution.Milliseconds(), added)
		for _, t := range m.tiers {
			all.tiers = append(all.tiers, merged(kindOf(number), t.Resolution.Milliseconds(), fine))
		}
		m.merged[number] = all
	}
	resolution := m.tiers[tier].Resolution.Milliseconds()
	var in []bucket.Bucket
	for _, b := range all.tiers[tier] {
		start := b.Start(resolution)
		if start >= horizon && start+resolution > from && start <= to {
			in = append(in, b)
		}
	}
	return in
}

func merged(kind series.Kind, resolution int64, buckets []bucket.Bucket) []bucket.Bucket {
	sorted := slices.Clone(buckets)
	bySegment(sorted, resolution)
	n := 0
	for _, b := range sorted {
		if n > 0 && sorted[n-1].Start(resolution) == b.Start(resolution) {
			sorted[n-1].Merge(kind, &b)
			continue
		}
		sorted[n] = b
		n++
	}
	return sorted[:n]
}

// same compares a bucket with what it should be: all exact, but M2 to rounding, which that
// of a coarser tier has from every tier, and the resets of what is not a counter not at all.
func same(kind series.Kind, a, b bucket.Bucket) bool {
	tolerance := 1e-9
	if isRounded(a) || isRounded(b) {
		tolerance = 4.0 / (1 << bucket.DeviationBits)
	}
	if math.Abs(a.M2-b.M2) > tolerance*(1+math.Abs(a.M2)) {
		return false
	}
	a.M2, b.M2 = 0, 0
	if kind != series.Counter {
		a.Resets, b.Resets = 0, 0
	}
	return sameBits(a, b)
}

func isRounded(b bucket.Bucket) bool {
	rounded := b
	rounded.Round()
	return rounded.M2 == b.M2
}

// check reads everything at every tier and holds it against the model.
func (m *naive) check(t *rapid.T, s *Store, open map[uint32]bucket.Bucket, from, to int64) {
	t.Helper()
	if err := m.differs(s, open, from, to); err != nil {
		t.Fatal(err)
	}
}

func (m *naive) differs(s *Store, open map[uint32]bucket.Bucket, from, to int64) error {
	var numbers []uint32
	for number := range m.added {
		numbers = append(numbers, number)
	}
	slices.Sort(numbers)
	view := s.View(numbers, func(number uint32) (bucket.Bucket, bool) { b, ok := open[number]; return b, ok })
	defer view.Close()
	for tier := range m.tiers {
		for _, number := range numbers {
			with := m
			if b, ok := open[number]; ok {
				with = newNaive(m.tiers)
				with.added[number] = append(slices.Clone(m.added[number]), b)
			}
			want := with.read(number, tier, view.version.horizons[tier], from, to)
			got, err := view.Read(number, tier, from, to, nil)
			if err != nil {
				return err
			}
			if !slices.EqualFunc(got, want, func(a, b bucket.Bucket) bool { return same(kindOf(number), a, b) }) {
				return fmt.Errorf("series %d at tier %s in [%d, %d], watermark %d:\n got %v\nwant %v",
					number, m.tiers[tier], from, to, view.version.watermark, got, want)
			}
			if err := errors.Join(sumsDiffer(view, number, tier, from, to, got), scanDiffers(view, number, tier, from, to, got)); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestModel adds, seals, rolls up, merges, expires and reopens at random, and after
// each step reads what a naive merge of everything ever added reads.
func TestModel(t *testing.T) {
	t.Run("duplicates", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) { runModel(t, "10s:100d,1m:200d,10m:300d", true) })
	})
	t.Run("retention", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) { runModel(t, "10s:3h,1m:1d,10m:2d", false) })
	})
	t.Run("one tier", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) { runModel(t, "10s:3h", false) })
	})
}

type run struct {
	*naive
	config     Config
	store      *Store
	now        int64
	sealed     uint64
	duplicates bool
	taken      map[string]bool // times used by a series
	open       map[uint32]bucket.Bucket
	last       map[uint32]int64 // newest time of a counter
}

func runModel(t *rapid.T, tiers string, duplicates bool) {
	r := &run{
		naive: newNaive(testTiers(t, tiers)), now: 1_700_000_000_000, duplicates: duplicates,
		taken: map[string]bool{}, open: map[uint32]bucket.Bucket{}, last: map[uint32]int64{},
	}
	r.config = testConfig(newMemFS(), r.tiers)
	r.reopen(t)
	defer func() { _ = stop(r.store) }()
	t.Repeat(map[string]func(*rapid.T){
		"add":      r.addSome,
		"seal":     r.seal,
		"maintain": func(t *rapid.T) { r.store.Maintain(r.pass(t)); drive(r.store) },
		"reopen":   r.lose,
		"open":     r.openSegment,
		"":         r.look,
	})
	if err := r.store.Err(); err != nil {
		t.Fatal(err)
	}
}

func (r *run) reopen(t *rapid.T) {
	var err error
	if r.store, err = newStore(r.config); err != nil {
		t.Fatal(err)
	}
	if r.store.Sealed() != r.sealed {
		t.Fatalf("sealed %d, not %d", r.store.Sealed(), r.sealed)
	}
}

// pass lets time go by, and is the time that a clock shows, which may be slow.
func (r *run) pass(t *rapid.T) int64 {
	r.now += rapid.SampledFrom([]int64{0, second, minute, 20 * minute, 2 * hour}).Draw(t, "pass")
	return r.now - rapid.SampledFrom([]int64{0, 0, hour}).Draw(t, "slow")
}

func (r *run) addSome(t *rapid.T) {
	for range rapid.IntRange(1, 30).Draw(t, "points") {
		number := uint32(rapid.IntRange(0, 5).Draw(t, "series"))
		b, ok := r.sample(t, number)
		if !ok {
			continue
		}
		r.add(number, b)
		r.store.Add(number, &b)
	}
}

// sample makes a bucket of one, or a marker, at a time the series has not used; or
// with duplicates at one of few times that it has.
func (r *run) sample(t *rapid.T, number uint32) (bucket.Bucket, bool) {
	age := rapid.OneOf(rapid.Int64Range(0, minute), rapid.Int64Range(0, 3*hour), rapid.Int64Range(0, 3*day)).Draw(t, "age")
	time := r.now - age
	if kindOf(number) == series.Counter { // in order: only then are resets exact
		time = max(r.last[number]+1, r.now-10*minute)
		r.last[number] = time
	}
	value := float64(rapid.IntRange(0, 9).Draw(t, "value"))
	if r.duplicates && bucket.Floor(time, 10*second)%(20*second) == 0 {
		if kindOf(number) == series.Event {
			value = 1 // two events of a millisecond add up: only equal ones are told apart
		}
		return bucket.Of(bucket.Floor(time, 10*second), value), true
	}
	at := fmt.Sprint(number, time)
	if r.taken[at] {
		return bucket.Bucket{}, false
	}
	r.taken[at] = true
	if next := fmt.Sprint(number, time+1); value == 9 && time%(10*second) < 5*second && !r.taken[next] && kindOf(number) != series.Counter {
		r.taken[next] = true // a bucket of two
		b, second := bucket.Of(time, value), bucket.Of(time+1, 3)
		b.Merge(kindOf(number), &second)
		return b, true
	}
	if rapid.IntRange(0, 20).Draw(t, "marker") == 0 && kindOf(number) != series.Counter {
		return bucket.Of(time, math.Float64frombits(bucket.StaleNaN)), true
	}
	return bucket.Of(time, value), true
}

func (r *run) openSegment(t *rapid.T) {
	number := uint32(rapid.SampledFrom([]int{0, 2, 3, 5}).Draw(t, "series"))
	if _, opened := r.open[number]; opened {
		return
	}
	if b, ok := r.sample(t, number); ok {
		r.added[number] = append(r.added[number], []bucket.Bucket(nil)...) // the model knows the series now
		r.open[number] = b
	}
}

func (r *run) seal(t *rapid.T) {
	now := r.pass(t)
	r.sealed++
	var numbers []uint32
	for number := range r.open {
		numbers = append(numbers, number)
	}
	slices.Sort(numbers)
	var open iter.Seq2[uint32, bucket.Bucket] = func(yield func(uint32, bucket.Bucket) bool) {
		for _, number := range numbers {
			if !yield(number, r.open[number]) {
				return
			}
		}
	}
	if err := r.store.Seal(now, r.sealed, open); err != nil {
		t.Fatal(err)
	}
	for _, number := range numbers {
		r.add(number, r.open[number])
	}
	clear(r.open)
	r.look(t) // while it is sealing
	drive(r.store)
	if r.store.Sealed() != r.sealed || r.store.Sealing() {
		t.Fatalf("sealed %d, not %d: %v", r.store.Sealed(), r.sealed, r.store.Err())
	}
}

// lose closes the store: what was not sealed comes again, from the journal.
func (r *run) lose(t *rapid.T) {
	r.seal(t)
	if err := stop(r.store); err != nil {
		t.Fatal(err)
	}
	if files := r.store.Stats(); len(files) > 0 {
		live := 0
		for _, tier := range files {
			live += tier.Files
		}
		if on := r.config.FS.(*memFS).pages(); on != live {
			t.Fatalf("%d page files, but %d live ones", on, live)
		}
	}
	r.reopen(t)
}

func (r *run) look(t *rapid.T) {
	to := r.now - rapid.Int64Range(0, day).Draw(t, "until")
	from := to - rapid.Int64Range(0, 3*day).Draw(t, "range")
	r.check(t, r.store, r.open, from, to)
	r.check(t, r.store, r.open, math.MinInt64, math.MaxInt64)
}

// TestBucketOfOne: a sample comes back exact from every tier while it is alone in
// its segment, whatever its bits.
func TestBucketOfOne(t *testing.T) {
	tiers := testTiers(t, "10s:1d,1m:10d")
	s, err := newStore(testConfig(newMemFS(), tiers))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stop(s) }()
	values := []uint64{
		0, 1, 0x8000000000000000, math.Float64bits(0.1), math.Float64bits(math.MaxFloat64), math.Float64bits(math.Inf(1)),
		math.Float64bits(math.Inf(-1)), 0x7ff0000000000001, 0x7ff8000000000001, 0xfff800000000beef, bucket.StaleNaN,
	}
	base := 2 * day
	for i, bits := range values {
		b := bucket.Of(base+int64(i)*minute+123, math.Float64frombits(bits))
		s.Add(7, &b)
	}
	check := func(when string) {
		t.Helper()
		view := s.View([]uint32{7}, nil)
		defer view.Close()
		for tier := range tiers {
			got, err := view.Read(7, tier, 0, math.MaxInt64, nil)
			if err != nil || len(got) != len(values) {
				t.Fatalf("%s, tier %d: %d buckets, %v", when, tier, len(got), err)
			}
			for i, bits := range values {
				want := bucket.Of(base+int64(i)*minute+123, math.Float64frombits(bits))
				if got[i].FirstTime != want.FirstTime || got[i].Count != want.Count || got[i].StaleTime != want.StaleTime ||
					math.Float64bits(got[i].Last) != math.Float64bits(want.Last) || math.Float64bits(got[i].Sum) != math.Float64bits(want.Sum) {
					t.Errorf("%s, tier %d: %#x came back as %v", when, tier, bits, got[i])
				}
			}
		}
	}
	check("in the head")
	if err := s.Seal(base+2*hour, 1, none); err != nil {
		t.Fatal(err)
	}
	check("while sealing")
	drive(s)
	check("sealed")
	if s.Stats()[1].Files == 0 {
		t.Error("nothing was rolled up")
	}
}
