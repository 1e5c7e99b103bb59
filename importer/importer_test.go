package importer

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"carillon/bucket"
	"carillon/series"
	"carillon/store"
)

var now = time.UnixMilli(1_800_000_000_000)

// target is stores in memory, and a directory that is a map. It is safe for the
// goroutines of an import.
type target struct {
	tiers  []store.Tier
	stores []*store.Store

	mu    sync.Mutex
	ids   map[series.Key]series.ID // guarded by mu, as kinds are
	kinds [][]series.Kind
}

func newTarget(t testing.TB, partitions int, tiers string) *target {
	t.Helper()
	parsed, err := store.ParseTiers(tiers)
	if err != nil {
		t.Fatal(err)
	}
	to := &target{tiers: parsed, ids: make(map[series.Key]series.ID), kinds: make([][]series.Kind, partitions)}
	fs := newMemFS()
	for i := range partitions {
		s, err := store.Open(store.Config{
			Dir: fmt.Sprintf("/%d", i), Tiers: parsed, Logger: slog.New(slog.DiscardHandler), FS: fs,
			SyncDirectory: func() error { return nil },
			Kind: func(number uint32) series.Kind {
				to.mu.Lock()
				defer to.mu.Unlock()
				return to.kinds[i][number]
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		to.stores = append(to.stores, s)
	}
	return to
}

func (to *target) close(t testing.TB) {
	t.Helper()
	for _, s := range to.stores {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func (to *target) lookup(key series.Key) (series.ID, bool) {
	to.mu.Lock()
	defer to.mu.Unlock()
	id, ok := to.ids[key]
	return id, ok
}

func (to *target) define(_ context.Context, definitions []series.Definition, _ []series.Metadata) error {
	to.mu.Lock()
	defer to.mu.Unlock()
	for _, d := range definitions {
		if _, ok := to.ids[d.Key]; ok {
			continue
		}
		p := d.Key.Partition(len(to.stores))
		to.ids[d.Key] = series.NewID(p, uint32(len(to.kinds[p])))
		to.kinds[p] = append(to.kinds[p], d.Kind)
	}
	return nil
}

func (to *target) importer(ledger *Ledger) *Importer {
	return New(Config{
		Target: Target{Stores: to.stores, Lookup: to.lookup, KindOf: series.KindOfName, Define: to.define},
		Tiers:  to.tiers, Now: now, Ledger: ledger, Progress: func(_ string, done, total uint64) {
			if done > total {
				panic(fmt.Sprintf("%d of %d done", done, total))
			}
		},
	})
}

// read is the buckets of a series in a tier.
func (to *target) read(t testing.TB, key series.Key, tier int) []bucket.Bucket {
	t.Helper()
	id, ok := to.lookup(key)
	if !ok {
		return nil
	}
	view := to.stores[id.Partition()].View([]uint32{id.Number()}, nil)
	defer view.Close()
	buckets, err := view.Read(id.Number(), tier, 0, math.MaxInt64/2, nil)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(buckets)
}

func named(t interface{ Fatal(...any) }, name string) series.Key {
	key, err := series.Named(name)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func refusals(l *Ledger) map[Reason]uint64 {
	counts := make(map[Reason]uint64)
	for _, r := range l.Refusals() {
		counts[r.Reason] = r.Count
	}
	return counts
}

func TestNumbers(t *testing.T) {
	var n numbers
	for _, number := range []uint32{5, 0, 1000, 64, 63} {
		if !n.add(number) || n.add(number) {
			t.Errorf("%d", number)
		}
	}
}

func TestSpan(t *testing.T) {
	s := Span{100, 200}
	for _, c := range []struct {
		start, length int64
		want          bool
	}{{99, 1, false}, {100, 1, true}, {199, 1, true}, {200, 1, false}, {90, 10, false}, {91, 10, true}, {190, 10, true}, {191, 10, false}} {
		if s.Holds(c.start, c.length) != c.want {
			t.Errorf("%+v", c)
		}
	}
}

func TestLedger(t *testing.T) {
	l := NewLedger()
	l.Refuse(Damaged, 0, "nothing", "")
	l.Refuse(Damaged, 2, "a", "b")
	l.Refuse(Damaged, 3, "c", "")
	l.Refuse(TooOld, 6, "", "x\xff")
	all := l.Refusals()
	if len(all) != 2 || all[0] != (Refusal{TooOld, 6, TooOld.Why(), "x"}) || all[1] != (Refusal{Damaged, 5, Damaged.Why(), "a: b"}) {
		t.Errorf("%+v", all)
	}
	if Reason("other").Why() != "other" {
		t.Error("a reason without words")
	}
}
