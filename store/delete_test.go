package store

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"carillon/bucket"
)

// TestDeleteModel adds, seals, rolls up, merges, expires, deletes and reopens at
// random, under retention rules that are others after each reopening, and after each
// step reads what a plain list of samples reads of which each tier has its own share.
func TestDeleteModel(t *testing.T) {
	t.Run("deletes", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) { runDeletes(t, "10s:100d,1m:200d,10m:300d", false) })
	})
	t.Run("short", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) { runDeletes(t, "10s:3h,1m:1d,10m:2d", false) })
	})
	t.Run("rules", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) { runDeletes(t, "10s:6h,1m:1d,10m:2d", true) })
	})
	t.Run("one tier", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) { runDeletes(t, "10s:3h", true) })
	})
}

// piece is what was added, and which tiers have lost it.
type piece struct {
	bucket.Bucket
	gone [MaxTiers]bool
}

type endedKey struct {
	number uint32
	tier   int
}

type deleteRun struct {
	run
	pieces map[uint32][]piece
	rules  bool
	ended  map[endedKey]int64 // the furthest horizon that rules ever had
}

func runDeletes(t *rapid.T, tiers string, rules bool) {
	r := &deleteRun{
		run: run{
			naive: newNaive(testTiers(t, tiers)), now: 1_700_000_000_000,
			taken: map[string]bool{}, open: map[uint32]bucket.Bucket{}, last: map[uint32]int64{},
		},
		pieces: map[uint32][]piece{}, rules: rules, ended: map[endedKey]int64{},
	}
	r.config = testConfig(newMemFS(), r.tiers)
	r.reopen(t)
	defer func() {
		if r.store != nil {
			_ = stop(r.store)
		}
	}()
	t.Repeat(map[string]func(*rapid.T){
		"add":      r.addSome,
		"seal":     r.seal,
		"maintain": func(t *rapid.T) { r.store.Maintain(r.pass(t)); drive(r.store) },
		"delete":   r.delete,
		"reopen":   r.lose,
		"":         r.look,
	})
	if err := r.store.Err(); err != nil {
		t.Fatal(err)
	}
}

func (r *deleteRun) addSome(t *rapid.T) {
	for range rapid.IntRange(1, 15).Draw(t, "points") {
		number := uint32(rapid.IntRange(0, 5).Draw(t, "series"))
		if b, ok := r.sample(t, number); ok {
			r.pieces[number] = append(r.pieces[number], piece{Bucket: b})
			r.store.Add(number, &b)
		}
	}
}

func (r *deleteRun) seal(t *rapid.T) {
	now := r.pass(t)
	r.sealed++
	if err := r.store.Seal(now, r.sealed, none); err != nil {
		t.Fatal(err)
	}
	r.look(t) // while it is sealing
	drive(r.store)
	if r.store.Sealed() != r.sealed {
		t.Fatalf("sealed %d, not %d: %v", r.store.Sealed(), r.sealed, r.store.Err())
	}
	r.look(t) // before a deletion, or other rules
}

// lose closes the store and opens it with other rules.
func (r *deleteRun) lose(t *rapid.T) {
	r.seal(t)
	if err := stop(r.store); err != nil {
		t.Fatal(err)
	}
	r.store = nil
	report, err := verify(r.config.FS, r.config.Dir)
	if err != nil || len(report.Problems) > 0 {
		t.Fatalf("%v: %v", err, report.Problems)
	}
	if r.rules {
		keep := rapid.SampledFrom([][]time.Duration{nil, {time.Hour}, {2 * time.Hour, 12 * time.Hour}, {0, 6 * time.Hour}}).Draw(t, "keep")
		r.config.Keep = func(number uint32) []time.Duration {
			if number%2 == 0 {
				return nil
			}
			return keep
		}
	}
	r.reopen(t)
}

func (r *deleteRun) delete(t *rapid.T) {
	r.seal(t)
	from := r.now - rapid.OneOf(rapid.Int64Range(0, hour), rapid.Int64Range(0, 3*day)).Draw(t, "from")
	to := from + rapid.OneOf(rapid.Int64Range(0, 10*minute), rapid.Int64Range(0, day)).Draw(t, "length")
	d := Deletion{From: from, To: to}
	for number := range uint32(6) {
		if rapid.Bool().Draw(t, "chosen") {
			d.Numbers = append(d.Numbers, number)
		}
	}
	for _, number := range d.Numbers { // buckets of several samples cannot be taken apart
		d.From, d.To = r.snap(number, d.From), r.snap(number, d.To+1)-1
	}
	if err := r.store.worker.delete(d); err != nil {
		t.Fatal(err)
	}
	for _, number := range d.Numbers {
		r.forget(number, d)
	}
}

// snap moves a border to the start of its segment if a series has several samples
// there.
func (r *deleteRun) snap(number uint32, border int64) int64 {
	count := uint64(0)
	start := bucket.Floor(border, 10*second)
	for _, p := range r.pieces[number] {
		if p.Start(10*second) == start {
			count += max(p.Count, 1)
		}
	}
	if count > 1 {
		return start
	}
	return border
}

// forget does to the list what a delete promises.
func (r *deleteRun) forget(number uint32, d Deletion) {
	v := r.store.current
	whole, coarsest := v.whole(&r.config, number), r.config.beat()
	for i := range r.pieces[number] {
		p := &r.pieces[number][i]
		inside := p.FirstTime >= d.From && p.LastTime <= d.To
		p.gone[0] = p.gone[0] || inside
		for tier := 1; tier < len(r.tiers); tier++ {
			s := segmentOf(p.FirstTime, r.tiers[tier].Resolution.Milliseconds())
			remade := bucket.Floor(p.FirstTime, coarsest) >= whole && inside
			p.gone[tier] = p.gone[tier] || remade || s.from >= d.From && s.to <= d.To+1
		}
	}
}

func (r *deleteRun) look(t *rapid.T) {
	view := r.store.View([]uint32{0, 1, 2, 3, 4, 5}, nil)
	defer view.Close()
	to := r.now - rapid.Int64Range(0, day).Draw(t, "until")
	from := to - rapid.Int64Range(0, 3*day).Draw(t, "range")
	for tier := range r.tiers {
		for number := range uint32(6) {
			for _, s := range []span{{from, to}, {math.MinInt64, math.MaxInt64}} {
				if err := r.compare(view, number, tier, s.from, s.to); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

func (r *deleteRun) compare(view *View, number uint32, tier int, from, to int64) error {
	horizon := view.version.horizon(&r.config, number, tier)
	if r.rules { // what earlier rules have ended may be there or not
		key := endedKey{number, tier}
		r.ended[key] = max(r.ended[key], horizon)
		from = max(from, r.ended[key])
	}
	kept := newNaive(r.tiers)
	for _, p := range r.pieces[number] {
		if !p.gone[tier] {
			kept.add(number, p.Bucket)
		}
	}
	want := kept.read(number, tier, horizon, from, to)
	got, err := view.Read(number, tier, from, to, nil)
	if err != nil {
		return err
	}
	if !slices.EqualFunc(got, want, func(a, b bucket.Bucket) bool { return same(kindOf(number), a, b) }) {
		return fmt.Errorf("series %d at tier %s in [%d, %d], watermark %d, whole from %d:\n got %v\nwant %v",
			number, r.tiers[tier], from, to, view.version.watermark, view.version.whole(&r.config, number), got, want)
	}
	return errors.Join(sumsDiffer(view, number, tier, from, to, got), scanDiffers(view, number, tier, from, to, got))
}

// TestDeleteFreesTheDisk: what is deleted, and what rules have ended, goes from files
// that merging by size would leave alone, and then nothing is left to remember.
func TestDeleteFreesTheDisk(t *testing.T) {
	config := testConfig(newMemFS(), testTiers(t, "10s:10d,1m:100d"))
	config.Keep = func(number uint32) []time.Duration {
		if number < 4 {
			return []time.Duration{24 * time.Hour}
		}
		return nil
	}
	s, err := newStore(config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stop(s) }()
	const series, segments = 10, 1000
	start := bucket.Floor(scriptStart, day)
	for number := range uint32(series) {
		for i := range int64(segments) {
			b := bucket.Of(start+10*second*i, math.Sqrt(float64(i)))
			s.Add(number, &b)
		}
	}
	if err := s.Seal(start+day/2, 1, none); err != nil {
		t.Fatal(err)
	}
	drive(s)
	buckets := func() (counts [2]uint64) {
		for tier, stats := range s.Stats() {
			counts[tier] = stats.Buckets
		}
		return counts
	}
	if got := buckets(); got[0] != series*segments {
		t.Fatalf("%v buckets are in files", got)
	}
	if err := s.worker.delete(Deletion{Numbers: []uint32{8, 9}, From: math.MinInt64, To: math.MaxInt64}); err != nil {
		t.Fatal(err)
	}
	s.Maintain(start + day/2)
	drive(s)
	minutes := uint64(segments/6 + 1)
	if got := buckets(); got[0] != 8*segments || got[1] != 8*minutes || len(s.current.graves) != 0 || s.current.buried.sequence != 0 {
		t.Errorf("two of ten series are deleted: %v buckets, %d graves", got, len(s.current.graves))
	}
	s.Maintain(start + 3*day)
	drive(s)
	if got := buckets(); got[0] != 4*segments || got[1] != 8*minutes {
		t.Errorf("rules have ended four of the others: %v buckets", got)
	}
	if names, _ := config.FS.List(config.Dir); slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, gravesSuffix) }) {
		t.Errorf("a file of deletes is left: %v", names)
	}
}

// TestDeleteWaits: there is a bound on what waits for merging.
func TestDeleteWaits(t *testing.T) {
	s, err := Open(testConfig(newMemFS(), testTiers(t, "10s:1d")))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(Deletion{Numbers: make([]uint32, 3), From: 5, To: 4}); err != nil {
		t.Errorf("an empty range: %v", err)
	}
	for range 2 {
		if err := s.Delete(Deletion{Numbers: []uint32{3, 1, 3}, From: 5, To: 5}); err != nil {
			t.Error(err)
		}
	}
	if err := roomFor(slices.Repeat([]*grave{{}}, maxGraves), 1); !errors.Is(err, ErrDeletesWait) {
		t.Errorf("too many deletes: %v", err)
	}
	if err := roomFor(nil, maxGraveNumbers+1); !errors.Is(err, ErrDeletesWait) {
		t.Errorf("too many series: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(Deletion{Numbers: []uint32{1}, From: 5, To: 5}); err == nil {
		t.Error("a closed store deletes")
	}
}

func FuzzGraves(f *testing.F) {
	f.Add(appendGravesCopy(nil, []*grave{{sequence: 3, spans: []span{{1, 5}, {-60, 60}}, numbers: []uint32{0, 7, math.MaxUint32}}, {spans: []span{{}, {}}}}, 2))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, data := range [][]byte{data, sealedUp(data)} {
			graves, err := decodeGraves(data, 2)
			if err != nil {
				continue
			}
			again, err := decodeGraves(appendGravesCopy(nil, graves, 2), 2)
			if err != nil || !slices.EqualFunc(graves, again, func(a, b *grave) bool {
				return a.sequence == b.sequence && slices.Equal(a.spans, b.spans) && slices.Equal(a.numbers, b.numbers)
			}) {
				t.Errorf("%x does not come back: %v", data, err)
			}
		}
	})
}
