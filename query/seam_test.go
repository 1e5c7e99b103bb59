package query

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"carillon/bucket"
	"carillon/query/querytest"
	"carillon/series"
	"carillon/store"
)

// partitioned is a real store behind the catalogue of a simple one.
type partitioned struct {
	*querytest.Store
	store   *store.Store
	owner   *sync.Mutex
	ids     []series.ID // by number in the store
	numbers map[series.ID]uint32
}

func (p partitioned) Read(_ context.Context, ids []series.ID, tier int, from, to int64, visit func(series.ID, []bucket.Bucket) error) error {
	return p.each(ids, func(view *store.View, id series.ID, number uint32) error {
		buckets, err := view.Read(number, tier, from, to, nil)
		if err != nil {
			return err
		}
		return visit(id, buckets)
	})
}

func (p partitioned) Sums(_ context.Context, ids []series.ID, tier int, from, to int64, visit func(series.ID, []bucket.Bucket) error) error {
	return p.each(ids, func(view *store.View, id series.ID, number uint32) error {
		buckets, err := view.ReadSums(number, tier, from, to, nil)
		if err != nil {
			return err
		}
		return visit(id, buckets)
	})
}

func (p partitioned) Scan(_ context.Context, ids []series.ID, tier int, from, to int64, samples func(id series.ID, times []int64, values []float64) error,
	visit func(series.ID, []bucket.Bucket) error) error {
	return p.each(ids, func(view *store.View, id series.ID, number uint32) error {
		if tier == 0 && samples != nil {
			times, values, ok, err := view.Samples(number, from, to, nil, nil)
			if err != nil {
				return err
			}
			if ok {
				return samples(id, times, values)
			}
		}
		return view.Scan(number, tier, from, to, func(buckets []bucket.Bucket) error { return visit(id, buckets) })
	})
}

func (p partitioned) each(ids []series.ID, visit func(*store.View, series.ID, uint32) error) error {
	var numbers []uint32
	for _, id := range ids {
		numbers = append(numbers, p.numbers[id])
	}
	p.owner.Lock() // makes views, as a partition's loop would
	view := p.store.View(numbers, nil)
	p.owner.Unlock()
	defer view.Close()
	for i, number := range numbers {
		if err := visit(view, ids[i], number); err != nil {
			return err
		}
	}
	return nil
}

// unsynced is a file system that leaves syncing out: nothing crashes here.
type unsynced struct{ store.OS }

type unsyncedFile struct{ store.File }

func (unsynced) Create(name string) (store.File, error) {
	f, err := store.OS{}.Create(name)
	return unsyncedFile{f}, err
}

func (unsynced) SyncDir(string) error { return nil }
func (unsyncedFile) Sync() error      { return nil }

// shortened gives the series with odd numbers a shorter retention.
type shortened struct {
	keep    []time.Duration
	numbers map[series.ID]uint32
}

func (s shortened) Shortest() []time.Duration         { return s.keep }
func (s shortened) Keep(id series.ID) []time.Duration { return s.of(s.numbers[id]) }
func (s shortened) of(number uint32) (keep []time.Duration) {
	if number%2 == 1 {
		keep = s.keep
	}
	return keep
}

// TestNoSeam draws a history with late samples, seals it now and then, and counts it
// at some later time over ranges that one, two or three tiers answer: each sample is
// there exactly once, for series under a retention rule too.
func TestNoSeam(t *testing.T) {
	dir, runs := t.TempDir(), 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		h := newHistory(t, filepath.Join(dir, fmt.Sprint(runs)))
		defer func() {
			if err := h.store.Close(); err != nil {
				t.Fatal(err)
			}
		}()
		for range rapid.IntRange(1, 12).Draw(t, "seals") {
			h.live(t)
		}
		for range 8 {
			h.count(t)
		}
	})
}

const (
	seamSeries = 4
	seamBeat   = 10 * time.Minute // the coarsest resolution
)

type history struct {
	partitioned
	retention Retention
	now       time.Time
	sealed    uint64
	times     [seamSeries][]int64 // by number
}

func newHistory(t *rapid.T, dir string) *history {
	tiers, err := store.ParseTiers("10s:3h,1m:12h,10m:4d")
	if err != nil {
		t.Fatal(err)
	}
	h := &history{now: epoch}
	h.Store, h.owner, h.numbers = querytest.New(tiers...), new(sync.Mutex), map[series.ID]uint32{}
	config := store.Config{
		Dir: dir, Tiers: tiers, FS: unsynced{}, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Kind:          func(uint32) series.Kind { return series.Gauge },
		SyncDirectory: func() error { return nil },
	}
	if keep := rapid.SampledFrom([][]time.Duration{nil, {time.Hour}, {90 * time.Minute, 6 * time.Hour}, {0, 5 * time.Hour}}).Draw(t, "keep"); keep != nil {
		retention := shortened{keep, h.numbers}
		h.retention, config.Keep = retention, retention.of
	}
	if h.store, err = store.Open(config); err != nil {
		t.Fatal(err)
	}
	for i := range uint32(seamSeries) {
		key, err := series.NewKey([]series.Label{{Name: "__name__", Value: "seam"}, {Name: "number", Value: fmt.Sprint(i)}})
		if err != nil {
			t.Fatal(err)
		}
		id := h.Store.Add(key, series.Gauge, 0, 0)
		h.ids, h.numbers[id] = append(h.ids, id), i
	}
	return h
}

// live lets some hours pass, with a sample now and then, some of them late, and seals.
func (h *history) live(t *rapid.T) {
	step := rapid.SampledFrom([]time.Duration{7 * time.Second, time.Minute, 9 * time.Minute}).Draw(t, "step")
	for i := range int64(rapid.IntRange(0, 150).Draw(t, "samples")) {
		h.now = h.now.Add(step + time.Millisecond)
		for n := range h.times {
			at := h.now.UnixMilli() + int64(n)
			if i%5 == int64(n) {
				at -= rapid.SampledFrom([]int64{0, 0, 60_000, 3_600_000, 5 * 3_600_000}).Draw(t, "late")
			}
			b := bucket.Of(at, 1)
			h.store.Add(uint32(n), &b)
			h.times[n] = append(h.times[n], at)
		}
	}
	h.now = h.now.Add(rapid.SampledFrom([]time.Duration{0, time.Minute, 5 * time.Hour}).Draw(t, "pause"))
	h.sealed++
	if err := h.store.Seal(h.now.UnixMilli(), h.sealed, func(func(uint32, bucket.Bucket) bool) {}); err != nil {
		t.Fatal(err)
	}
	<-h.store.Committed()
	if err := h.store.Err(); err != nil {
		t.Fatal(err)
	}
}

// count asks how many samples there are between two beats of the coarsest tier.
func (h *history) count(t *rapid.T) {
	now := h.now.Add(time.Duration(rapid.Int64Range(0, int64(2*time.Hour)).Draw(t, "since")))
	end := now.Truncate(seamBeat).Add(seamBeat * -time.Duration(rapid.IntRange(-1, 60).Draw(t, "end")))
	length := seamBeat * time.Duration(rapid.IntRange(1, 500).Draw(t, "length"))
	start := end.Add(-length)
	if oldest := now.Add(-4 * 24 * time.Hour); start.Before(oldest) {
		return
	}
	api := newAPI(h.Store, now, func(c *Config) { c.Buckets, c.Retention = h, h.retention })
	last := end.Add(-time.Millisecond) // a window is open to the left
	q, err := api.prepare(context.Background(), question{
		text: fmt.Sprintf(`count_over_time(seam[%ds])`, int(length.Seconds())), start: last, end: last,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	got, err := q.Exec(context.Background()).Vector()
	if err != nil {
		t.Fatal(err)
	}
	var want, have [seamSeries]int
	for _, s := range got {
		n, err := strconv.Atoi(s.Metric.Get("number"))
		if err != nil {
			t.Fatal(err)
		}
		have[n] = int(s.F)
	}
	for n, times := range h.times {
		for _, at := range times {
			if at >= start.UnixMilli() && at < end.UnixMilli() {
				want[n]++
			}
		}
	}
	if have != want {
		t.Fatalf("from %s to %s at %s, sealed at %s: %v samples, there are %v", start, end, now, h.now, have, want)
	}
}
