package partition

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"carillon/bucket"
	"carillon/directory"
	"carillon/journal"
	"carillon/quantize"
	"carillon/rejects"
	"carillon/series"
	"carillon/store"
)

// rig is some partitions with real parts on a temporary directory.
type rig struct {
	t         testing.TB
	directory *directory.Directory
	journal   *journal.Journal
	rejects   *rejects.Ledger
	set       *Set
	completed chan int // lengths of what was published
	stop      func()   // ends the loops
	close     func()
}

const partitions = 2

func open(t testing.TB, dir string) (*rig, error) {
	t.Helper()
	return openPartitions(t, dir, partitions)
}

func openPartitions(t testing.TB, dir string, partitions int) (*rig, error) {
	t.Helper()
	r := &rig{t: t, completed: make(chan int, 1024)}
	logger := slog.New(slog.DiscardHandler)
	registry := prometheus.NewRegistry()
	r.rejects = rejects.New(registry, time.Now)
	tiers, err := store.ParseTiers("10s:10d,5m:1y")
	must(t, err)
	r.directory, err = directory.Open(filepath.Join(dir, "directory"), partitions, directory.DefaultCaches(), logger)
	must(t, err)
	r.journal, err = journal.Open(t.Context(), journal.Config{
		Dir: filepath.Join(dir, "journal"), Partitions: partitions, Logger: logger, Registerer: registry,
	})
	must(t, err)
	var opened []*Partition
	var stores []*store.Store
	closeParts := func() {
		for _, s := range stores {
			must(t, s.Close())
		}
		must(t, r.journal.Close())
		must(t, r.directory.Close())
	}
	for i := range partitions {
		s, err := store.Open(store.Config{
			Dir: filepath.Join(dir, "store", fmt.Sprint(i)), Tiers: tiers, Logger: logger,
			Kind:          func(n uint32) series.Kind { return r.directory.Kind(series.NewID(i, n)) },
			SyncDirectory: r.directory.Sync,
		})
		must(t, err)
		stores = append(stores, s)
		p, err := Open(t.Context(), Config{
			Number: i, Directory: r.directory, Journal: r.journal, Store: s, Rejects: r.rejects,
			Quantize: quantize.Config{
				Resolution: 10_000, FinestRetention: 10 * 24 * 3600_000, Retention: 365 * 24 * 3600_000,
				FutureTolerance: 60_000, MinDelay: 1, MaxDelay: 1,
			},
			Logger: logger, Now: time.Now, SealEvery: time.Hour, SealBuckets: 1 << 20,
			Watched: func() bool { return true },
			Publish: func(c *quantize.Batch) {
				select {
				case r.completed <- c.Len():
				default: // nobody wants to know
				}
			},
		})
		if err != nil {
			closeParts()
			return nil, err
		}
		opened = append(opened, p)
	}
	r.set = NewSet(opened, tiers)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.set.Run(ctx)
	}()
	r.stop = func() {
		cancel()
		<-ended
	}
	r.close = func() {
		r.stop()
		closeParts()
	}
	must(t, r.set.Ready(t.Context()))
	return r, nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// request is a retryable request with one sample of each name.
func (r *rig) request(id byte, at int64, values map[string]float64) []*journal.Part {
	parts := make([]*journal.Part, partitions)
	for i := range parts {
		parts[i] = &journal.Part{Request: journal.Hash{id}}
	}
	for name, value := range values {
		key, err := series.Named(name)
		must(r.t, err)
		part := parts[key.Partition(partitions)]
		ref := journal.FirstDefinition + journal.Ref(len(part.Definitions))
		if known, ok := r.directory.Lookup(key); ok {
			ref = journal.Ref(known.Number())
		} else {
			part.Definitions = append(part.Definitions, series.Definition{Key: key, Kind: series.Event})
		}
		part.Refs = append(part.Refs, ref)
		part.Times = append(part.Times, at)
		part.Values = append(part.Values, value)
	}
	return parts
}

func (r *rig) append(parts []*journal.Part) {
	r.t.Helper()
	must(r.t, r.journal.Append(r.t.Context(), parts))
}

// sums is what every series has added up to at the finest tier.
func (r *rig) sums() map[string]float64 {
	r.t.Helper()
	settle(r.t, r.set)
	ids, err := r.directory.Select()
	must(r.t, err)
	sums := make(map[string]float64)
	err = r.set.Read(r.t.Context(), ids, 0, 0, 1<<60, func(id series.ID, buckets []bucket.Bucket) error {
		key, _ := r.directory.Key(id)
		for _, b := range buckets {
			sums[key.Get(series.MetricName)] += b.Sum
		}
		return nil
	})
	must(r.t, err)
	return sums
}

func (r *rig) expect(want map[string]float64) {
	r.t.Helper()
	if diff := cmp.Diff(want, r.sums()); diff != "" {
		r.t.Fatalf("sums (-want +got):\n%s", diff)
	}
}

// TestRequestsCountOnce sends requests again: at once, after a restart that
// replays, and after a seal and a restart. What is acknowledged is read at once.
func TestRequestsCountOnce(t *testing.T) {
	dir := t.TempDir()
	now := time.Now().UnixMilli()
	r, err := open(t, dir)
	must(t, err)
	first := r.request(1, now, map[string]float64{"a": 1, "b": 2, "c": 3})
	r.append(first)
	r.append(first) // the definitions, too, stand in it again
	r.append(r.request(2, now+1, map[string]float64{"a": 10}))
	want := map[string]float64{"a": 11, "b": 2, "c": 3}
	r.expect(want)
	r.close()

	r, err = open(t, dir)
	must(t, err)
	r.expect(want)
	r.append(first)
	r.expect(want)
	must(t, r.set.Seal(t.Context()))
	r.append(r.request(3, now+2, map[string]float64{"b": 20}))
	want["b"] = 22
	r.expect(want)
	for _, s := range r.set.Stats() {
		if s.Sealed == 0 {
			t.Errorf("partition %d is not sealed", s.Number)
		}
	}
	r.close()

	r, err = open(t, dir)
	must(t, err)
	r.append(first)
	r.append(r.request(2, now+1, map[string]float64{"a": 10}))
	r.append(r.request(3, now+2, map[string]float64{"b": 20}))
	r.expect(want)
	done, total := r.set.Progress()
	if done != total || total == 0 {
		t.Errorf("replayed %d of %d messages", done, total)
	}
	r.close()
}

// TestIdlePartitionsDoNotKeepTheJournal: a partition that gets nothing seals, too,
// so that the journal, which all share, is trimmed of what the others have sealed.
func TestIdlePartitionsDoNotKeepTheJournal(t *testing.T) {
	dir := t.TempDir()
	r, err := open(t, dir)
	must(t, err)
	start := time.Now().UnixMilli()
	for i := range byte(3) {
		r.append(r.request(i+1, start+int64(i), map[string]float64{"a": 1})) // one partition's alone
	}
	settle(t, r.set)
	r.stop()
	later := time.Now().Add(2 * time.Hour)
	for _, p := range r.set.partitions {
		p.config.Now = func() time.Time { return later }
		must(t, p.tick())
		<-p.config.Store.Committed()
		must(t, p.committed(t.Context()))
	}
	if first, last, err := r.journal.Bounds(t.Context()); err != nil || first != 4 || last != 3 {
		t.Errorf("the journal holds messages %d to %d, error %v", first, last, err)
	}
	r.close()
	r, err = open(t, dir)
	must(t, err)
	defer r.close()
	r.expect(map[string]float64{"a": 3})
}

// TestReadOfManySeries reads more series than one view covers.
func TestReadOfManySeries(t *testing.T) {
	r, err := open(t, t.TempDir())
	must(t, err)
	defer r.close()
	want := make(map[string]float64)
	for i := range 3 * viewSeries {
		want[fmt.Sprintf("s%d", i)] = float64(i)
	}
	r.append(r.request(1, time.Now().UnixMilli(), want))
	r.expect(want)
}

func TestRefusedPointsAreInTheLedger(t *testing.T) {
	r, err := open(t, t.TempDir())
	must(t, err)
	defer r.close()
	now := time.Now()
	r.append(r.request(1, now.Add(time.Hour).UnixMilli(), map[string]float64{"ahead": 1}))
	r.append(r.request(2, now.Add(-2*365*24*time.Hour).UnixMilli(), map[string]float64{"past": 1}))
	r.append(r.request(3, now.UnixMilli(), map[string]float64{"fine": 1}))
	r.expect(map[string]float64{"fine": 1})
	var got []string
	for _, e := range r.rejects.Entries() {
		got = append(got, fmt.Sprintf("%s %d %s", e.Reason, e.Count, e.Samples[0].Input))
	}
	if diff := cmp.Diff([]string{"future 1 ahead", "too_old 1 past"}, got); diff != "" {
		t.Errorf("rejects (-want +got):\n%s", diff)
	}
}

func TestCompletedSegmentsArePublished(t *testing.T) {
	r, err := open(t, t.TempDir())
	must(t, err)
	defer r.close()
	r.append(r.request(1, time.Now().Add(-time.Minute).UnixMilli(), map[string]float64{"a": 1, "b": 2}))
	for n := 0; n < 2; {
		select {
		case published := <-r.completed:
			n += published
		case <-time.After(time.Minute):
			t.Fatal("nothing was published")
		}
	}
}

// TestAnotherJournalIsRefused: a store whose journal was lost must not take new
// messages for old ones.
func TestAnotherJournalIsRefused(t *testing.T) {
	dir := t.TempDir()
	r, err := open(t, dir)
	must(t, err)
	for i := range byte(3) {
		r.append(r.request(i+1, time.Now().UnixMilli(), map[string]float64{"a": 1, "b": 1, "c": 1, "d": 1}))
	}
	must(t, r.set.Seal(t.Context()))
	r.close()
	must(t, os.RemoveAll(filepath.Join(dir, "journal")))
	if _, err := open(t, dir); err == nil || !strings.Contains(err.Error(), "not the journal this data was written with") {
		t.Errorf("error %v", err)
	}
}

func TestRetries(t *testing.T) {
	r := newRetries(10 * time.Minute)
	const minute = 60_000
	h := func(b byte) journal.Hash { return journal.Hash{b} }
	for range 2 {
		if r.seen(0, journal.Hash{}) {
			t.Error("a request without a hash was taken for a repetition")
		}
	}
	if r.seen(0, h(1)) || !r.seen(10*minute, h(1)) || r.seen(10*minute+1, h(1)) {
		t.Error("the window is not ten minutes")
	}
	for i := range int64(120) { // a message a second for two minutes
		r.passed(i*1000, uint64(i+1))
	}
	if got := r.through(9 * minute); got != 0 {
		t.Errorf("after 9 minutes %d messages are out of the window", got)
	}
	if got := r.through(11*minute + 1); got < 50 || got > 61 {
		t.Errorf("after 11 minutes %d messages are out of the window, want about 60", got)
	}
	if got := r.through(11*minute + 1); got < 50 || got > 61 {
		t.Errorf("asked again: %d", got)
	}
	if got := r.through(13 * minute); got != 120 {
		t.Errorf("after 13 minutes %d messages are out of the window", got)
	}
	r.passed(30*minute, 121)
	if len(r.times) != 0 {
		t.Errorf("%d hashes are kept for ever", len(r.times))
	}
}

// settle waits until all that is acknowledged can be read.
func settle(t testing.TB, s *Set) {
	t.Helper()
	missing, err := s.Settle(t.Context())
	if err != nil || missing != "" {
		t.Fatal(missing, err)
	}
}
