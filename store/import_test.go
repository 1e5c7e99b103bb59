package store

import (
	"errors"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"carillon/bucket"
	"carillon/series"
)

// importNow has the worker's work of an import done in the test's own goroutine.
func importNow(s *Store, i Import) error {
	done := make(chan error, 1)
	go func() { s.imports <- importing{i, done} }()
	s.worker.step()
	return <-done
}

// importOf takes buckets by series.
func importOf(source byte, now int64, item uint64, buckets map[uint32][]bucket.Bucket) Import {
	return Import{
		Source: Source{source}, Now: now,
		Buckets: func(yield func(uint32, []bucket.Bucket) bool) {
			for number := uint32(0); number < 100; number++ {
				if len(buckets[number]) > 0 && !yield(number, buckets[number]) {
					return
				}
			}
		},
		Through: func() (Position, error) { return Position{1, item}, nil },
	}
}

// TestImportModel imports, adds, seals, rolls up, merges, expires and reopens at
// random, and after each step reads what a naive merge of it all reads.
func TestImportModel(t *testing.T) {
	for _, tiers := range []string{"10s:3h,1m:1d,10m:2d", "10s:3h"} {
		t.Run(tiers, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) { runImports(t, tiers) })
		})
	}
}

func runImports(t *rapid.T, tiers string) {
	r := &run{
		naive: newNaive(testTiers(t, tiers)), now: 1_700_000_000_000,
		taken: map[string]bool{}, open: map[uint32]bucket.Bucket{}, last: map[uint32]int64{},
	}
	r.config = testConfig(newMemFS(), r.tiers)
	r.reopen(t)
	defer func() { _ = stop(r.store) }()
	item := uint64(0)
	t.Repeat(map[string]func(*rapid.T){
		"add":      r.addSome,
		"seal":     r.seal,
		"maintain": func(t *rapid.T) { r.store.Maintain(r.pass(t)); drive(r.store) },
		"reopen":   r.lose,
		"import":   func(t *rapid.T) { item++; r.importSome(t, item) },
		"":         r.look,
	})
	if at := r.store.Imported(Source{1}); item > 0 && at != (Position{1, item}) {
		t.Fatalf("imported through %v, not %d", at, item)
	}
}

// importSome imports some samples, or tries to and gives up.
func (r *run) importSome(t *rapid.T, item uint64) {
	sealed := rapid.Bool().Draw(t, "sealed")
	if sealed {
		r.seal(t)
	}
	buckets := map[uint32][]bucket.Bucket{}
	for range rapid.IntRange(0, 60).Draw(t, "imported") {
		number := uint32(rapid.IntRange(0, 5).Draw(t, "series"))
		if kindOf(number) == series.Counter && !sealed {
			continue // it would lie between samples of one bucket in the head, and resets not be exact
		}
		if b, ok := r.sample(t, number); ok {
			buckets[number] = append(buckets[number], b)
		}
	}
	if rapid.IntRange(0, 3).Draw(t, "gives up") == 0 {
		i := importOf(1, r.pass(t), item, buckets)
		i.Through = func() (Position, error) { return Position{}, errInjected }
		if err := importNow(r.store, i); !errors.Is(err, errInjected) || r.store.Err() != nil {
			t.Fatalf("%v, %v", err, r.store.Err())
		}
		r.check(t, r.store, r.open, math.MinInt64, math.MaxInt64)
	}
	if err := importNow(r.store, importOf(1, r.pass(t), item, buckets)); err != nil {
		t.Fatal(err)
	}
	for number, list := range buckets {
		for _, b := range list {
			r.add(number, b)
		}
	}
}

// TestImportSince: what is older than the finest tier is to be goes to the coarser
// ones alone, and what comes late for that time later adds to it, also after a restart
// of a server that keeps the finest tier for longer.
func TestImportSince(t *testing.T) {
	const now = 100 * day
	config := testConfig(newMemFS(), testTiers(t, "10s:1000d,5m:2000d,1h:3000d"))
	s, err := newStore(config)
	if err != nil {
		t.Fatal(err)
	}
	var history []bucket.Bucket
	for at := now - 50*day; at < now; at += 5 * minute {
		history = append(history, bucket.Of(at, 1))
	}
	i := importOf(1, now, 1, map[uint32][]bucket.Bucket{3: history})
	i.Since = []int64{now - 10*day, now - 20*day, now - 30*day}
	if err := importNow(s, i); err != nil {
		t.Fatal(err)
	}
	count := func() (counts [3]uint64) {
		view := s.View([]uint32{3}, nil)
		defer view.Close()
		for tier := range counts {
			buckets, err := view.Read(3, tier, 0, now, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range buckets {
				counts[tier] += b.Count
			}
		}
		return counts
	}
	perDay := uint64(day / (5 * minute))
	want := [3]uint64{10 * perDay, 20 * perDay, 30 * perDay}
	if have := count(); have != want {
		t.Fatalf("the tiers have %v samples, not %v", have, want)
	}
	if err := stop(s); err != nil {
		t.Fatal(err)
	}
	if s, err = newStore(config); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stop(s) }()
	late := bucket.Of(now-15*day+1, 2)
	s.Add(3, &late)
	if err := s.Seal(now, 1, none); err != nil {
		t.Fatal(err)
	}
	drive(s)
	want[0], want[1], want[2] = want[0]+1, want[1]+1, want[2]+1
	if have := count(); have != want {
		t.Errorf("with a late sample the tiers have %v samples, not %v", have, want)
	}
	late = bucket.Of(now-5*day+1, 2)
	again := importOf(2, now, 1, map[uint32][]bucket.Bucket{3: {late}})
	if err := importNow(s, again); err != nil {
		t.Fatal(err)
	}
	want[0], want[1], want[2] = want[0]+1, want[1]+1, want[2]+1
	if have := count(); have != want {
		t.Errorf("with another import the tiers have %v samples, not %v", have, want)
	}
}

// TestImportPieces: a series may come in pieces that have no segment in common, and
// nothing else.
func TestImportPieces(t *testing.T) {
	s, err := newStore(testConfig(newMemFS(), testTiers(t, "10s:10d,1m:20d")))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stop(s) }()
	type piece struct {
		number uint32
		at     []int64
	}
	try := func(pieces ...piece) error {
		return importNow(s, Import{
			Source: Source{1}, Now: 10 * day,
			Buckets: func(yield func(uint32, []bucket.Bucket) bool) {
				for _, p := range pieces {
					var buckets []bucket.Bucket
					for _, at := range p.at {
						buckets = append(buckets, bucket.Of(at, 1))
					}
					if !yield(p.number, buckets) {
						return
					}
				}
			},
			Through: func() (Position, error) { return s.Imported(Source{1}), nil },
		})
	}
	for _, bad := range [][]piece{
		{{4, []int64{day}}, {3, []int64{day}}},
		{{4, []int64{day}}, {4, []int64{day + minute - 1}}},
		{{4, []int64{day + hour, day}}, {4, []int64{day + hour}}},
	} {
		if err := try(bad...); !errors.As(err, new(sourceError)) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	if err := try(piece{3, []int64{day + 20*second, day}}, piece{4, []int64{day}}, piece{4, nil}, piece{4, []int64{day + minute, day + 2*minute}}); err != nil {
		t.Error(err)
	}
	view := s.View([]uint32{3, 4}, nil)
	defer view.Close()
	for tier, want := range []int{2, 1} {
		if have, err := view.Read(3, tier, 0, 10*day, nil); len(have) != want || err != nil {
			t.Errorf("tier %d: %v, %v", tier, have, err)
		}
	}
	if have, err := view.Read(4, 1, 0, 10*day, nil); len(have) != 3 || err != nil {
		t.Errorf("%v, %v", have, err)
	}
	if s.Err() != nil {
		t.Error(s.Err())
	}
}

// TestImportsAreRemembered: through the manifest, up to a bound.
func TestImportsAreRemembered(t *testing.T) {
	m := &manifest{sequence: 1, tiers: []listedTier{{resolution: 10_000, horizon: minTime}}}
	for i := range maxImports {
		m.imports = append(m.imports, imported{Source{byte(i), byte(i >> 8)}, Position{int64(-i), uint64(i)}})
	}
	back, err := decodeManifest(m.append(nil))
	if err != nil || !slices.Equal(back.imports, m.imports) {
		t.Fatalf("%v", err)
	}
	v := &version{imports: m.imports}
	through := func(p Position) func() (Position, error) { return func() (Position, error) { return p, nil } }
	if err := v.reach(Import{Source: Source{9}, Through: through(Position{-9, 10})}); err != nil || m.imports[9].position.Item != 9 {
		t.Errorf("%v, %v", err, m.imports[9])
	}
	if err := v.reach(Import{Source: Source{9}, Through: through(Position{-9, 9})}); err == nil {
		t.Error("an import went back")
	}
	if err := v.reach(Import{Source: Source{9, 9, 9}, Through: through(Position{})}); err == nil {
		t.Error("there is no bound")
	}
}
