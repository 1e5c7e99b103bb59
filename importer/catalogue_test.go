package importer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"carillon/bucket"
	"carillon/series"
)

const (
	second = int64(1000)
	hour   = 3600 * second
	day    = 24 * hour
)

// shelf is a catalogue in memory. Readings count down patience, and fail or stop at 0.
type shelf struct {
	keys     []series.Key
	buckets  [][]bucket.Bucket // by ref, sorted
	ends     []int64           // of the spans
	patience *atomic.Int64
	fail     func() error
}

var errTorn = errors.New("the page is torn")

func (s *shelf) Name() string  { return "shelf" }
func (s *shelf) Size(Span) int { return len(s.keys) }

func (s *shelf) Next(from int64) int64 {
	for _, end := range s.ends {
		if end > from {
			return end
		}
	}
	return from
}

func (s *shelf) Each(_ context.Context, _ Span, visit func(Entry) error) error {
	for i, key := range s.keys {
		if err := visit(Entry{Key: key, Ref: uint64(i), KindUnknown: true}); err != nil {
			return err
		}
	}
	return nil
}

func (s *shelf) Reader() Reader { return s }

func (s *shelf) Read(refs []uint64, span Span, visit func(*bucket.Bucket)) error {
	var all []bucket.Bucket
	for _, ref := range refs {
		for _, b := range s.buckets[ref] {
			if span.Holds(b.FirstTime, 1) {
				all = append(all, b)
			}
		}
	}
	slices.SortFunc(all, func(a, b bucket.Bucket) int { return int(a.FirstTime - b.FirstTime) })
	for i := range all {
		visit(&all[i])
	}
	if s.patience.Add(-1) == 0 {
		return s.fail()
	}
	return nil
}

// TestCatalogueModel imports a catalogue that grows, and is interrupted again and again: in
// the end everything is there once.
func TestCatalogueModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		to := newTarget(t, 3, "10s:2d,1m:20d,1h:40d")
		defer to.close(t)
		s := &shelf{patience: new(atomic.Int64)}
		have := map[series.Key][]bucket.Bucket{}
		begin := now.UnixMilli() - 30*day
		for end := begin; end < now.UnixMilli(); {
			end = min(end+rapid.Int64Range(1, 20*day).Draw(rt, "more"), now.UnixMilli())
			begin = s.grow(rt, begin, end, have)
			for try := range 6 {
				ledger := NewLedger()
				im := to.importer(ledger)
				im.commitBuckets = uint64(rapid.IntRange(1, 200).Draw(rt, "commit"))
				ctx, cancel := context.WithCancel(t.Context())
				s.fail = func() error {
					if rapid.Bool().Draw(rt, "is torn") {
						return errTorn
					}
					cancel()
					return nil
				}
				s.patience.Store(int64(rapid.IntRange(1, 40).Draw(rt, "patience")))
				if try == 5 {
					s.patience.Store(0)
				}
				err := im.Catalogue(ctx, s)
				cancel()
				if err == nil {
					break
				}
				if !errors.Is(err, errTorn) && !errors.Is(err, context.Canceled) {
					rt.Fatal(err)
				}
			}
		}
		for key, want := range have {
			check(rt, t, to, key, want)
		}
	})
}

// grow adds samples in [begin, end), and the span that ends there.
func (s *shelf) grow(rt *rapid.T, begin, end int64, have map[series.Key][]bucket.Bucket) int64 {
	for range rapid.IntRange(0, 15).Draw(rt, "entries") {
		key := named(rt, fmt.Sprintf("series%d", rapid.IntRange(0, 9).Draw(rt, "series")))
		var buckets []bucket.Bucket
		for range rapid.IntRange(0, 50).Draw(rt, "samples") {
			at := rapid.Int64Range(begin, end-1).Draw(rt, "time")
			if slices.ContainsFunc(have[key], func(b bucket.Bucket) bool { return b.FirstTime == at }) {
				continue
			}
			b := bucket.Of(at, float64(rapid.IntRange(0, 1000).Draw(rt, "value")))
			buckets = append(buckets, b)
			have[key] = append(have[key], b)
		}
		slices.SortFunc(buckets, func(a, b bucket.Bucket) int { return int(a.FirstTime - b.FirstTime) })
		s.keys, s.buckets = append(s.keys, key), append(s.buckets, buckets)
	}
	s.ends = append(s.ends, end)
	return end
}

// check holds counts and sums in all tiers against samples. The finest tier keeps two days.
func check(rt *rapid.T, t testing.TB, to *target, key series.Key, want []bucket.Bucket) {
	for tier, age := range []int64{2 * day, 20 * day, 40 * day} {
		since := bucket.Floor(now.UnixMilli()-age, hour)
		var count uint64
		var sum float64
		for _, b := range want {
			if b.FirstTime >= since {
				count++
				sum += b.Sum
			}
		}
		for _, b := range to.read(t, key, tier) {
			if b.FirstTime >= since {
				count -= b.Count
				sum -= b.Sum
			}
		}
		if count != 0 || sum != 0 {
			rt.Fatalf("%s: tier %d misses %d samples of %v", key.Format(), tier, int64(count), sum)
		}
	}
}

// TestCatalogueCounts: what was taken, what was too old and what is of the future, and how
// long a series may be.
func TestCatalogueCounts(t *testing.T) {
	to := newTarget(t, 2, "10s:2d,1h:40d")
	defer to.close(t)
	long := make([]bucket.Bucket, 3*pieceBuckets)
	for i := range long {
		long[i] = bucket.Of(now.UnixMilli()-39*day+int64(i)*10*second, 1)
	}
	s := &shelf{patience: new(atomic.Int64), ends: []int64{now.UnixMilli() + 2*day}}
	s.keys = []series.Key{named(t, "a"), named(t, "b")}
	s.buckets = [][]bucket.Bucket{long, {bucket.Of(now.UnixMilli()-41*day, 1), bucket.Of(now.UnixMilli()+second, 2), bucket.Of(now.UnixMilli()+hour, 3)}}
	ledger := NewLedger()
	im := to.importer(ledger)
	if err := im.Catalogue(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	n := uint64(len(long) + 1)
	if c := im.Counts(); c != (Counts{Series: 2, Buckets: n, Samples: n}) {
		t.Errorf("%+v", c)
	}
	if r := refusals(ledger); len(r) != 2 || r[TooOld] != 1 || r[Future] != 1 {
		t.Errorf("%v", r)
	}
	var count uint64
	for _, b := range to.read(t, s.keys[0], 1) {
		count += b.Count
	}
	if count != uint64(len(long)) {
		t.Errorf("%d of %d samples", count, len(long))
	}
	again := to.importer(ledger)
	if err := again.Catalogue(t.Context(), s); err != nil || again.Counts() != (Counts{}) {
		t.Errorf("again: %+v, %v", again.Counts(), err)
	}
}

// endsLater ends behind the first look at it.
type endsLater struct {
	context.Context
	looks int
}

func (c *endsLater) Err() error {
	if c.looks++; c.looks == 1 {
		return nil
	}
	return context.Canceled
}

// TestCanceledWhileTaking: whenever the context ends, what is handed over either has a position behind something that was read, or is an error.
func TestCanceledWhileTaking(t *testing.T) {
	to := newTarget(t, 1, "10s:2d,1h:40d")
	defer to.close(t)
	s := &shelf{patience: new(atomic.Int64), buckets: [][]bucket.Bucket{{bucket.Of(now.UnixMilli()-hour, 1)}, {bucket.Of(now.UnixMilli()-hour, 1)}}}
	for _, ended := range []bool{false, true} {
		r := taking{
			im: to.importer(NewLedger()), round: &round{Span: Span{0, now.UnixMilli()}}, reader: s,
			rest: []numbered{{number: 1, ref: 0}, {number: 2, ref: 1}},
		}
		ctx := &endsLater{Context: t.Context()}
		if ended {
			_ = ctx.Err()
		}
		r.begin()
		for range r.buckets(ctx) {
		}
		position, err := r.through()
		if ended != errors.Is(err, context.Canceled) || err == nil && position.Stage == 0 {
			t.Errorf("ended before %v: position %v, %v", ended, position, err)
		}
	}
}
