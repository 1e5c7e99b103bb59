package receive

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"carillon/bucket"
	"carillon/journal"
	"carillon/rejects"
	"carillon/series"
)

const testPartitions = 4

// start is the arrival time in tests, in milliseconds.
const start = int64(1_700_000_000_000)

// fakeDirectory hands out numbers in order of definition.
type fakeDirectory struct {
	mu    sync.Mutex
	ids   map[series.Key]series.ID
	keys  map[series.ID]series.Key
	kinds map[series.Key]series.Kind
	next  [testPartitions]uint32
	known map[series.Metadata]bool
}

func newFakeDirectory() *fakeDirectory {
	return &fakeDirectory{
		ids:   make(map[series.Key]series.ID),
		keys:  make(map[series.ID]series.Key),
		kinds: make(map[series.Key]series.Kind),
		known: make(map[series.Metadata]bool),
	}
}

func (d *fakeDirectory) Partitions() int { return testPartitions }

func (d *fakeDirectory) Lookup(key series.Key) (series.ID, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	id, ok := d.ids[key]
	return id, ok
}

func (d *fakeDirectory) KindOf(metric string) series.Kind { return series.KindOfName(metric) }

func (d *fakeDirectory) Known(m series.Metadata) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.known[m]
}

func (d *fakeDirectory) define(partition int, definition series.Definition) series.ID {
	d.mu.Lock()
	defer d.mu.Unlock()
	if id, ok := d.ids[definition.Key]; ok {
		return id
	}
	id := series.NewID(partition, d.next[partition])
	d.next[partition]++
	d.ids[definition.Key], d.keys[id], d.kinds[definition.Key] = id, definition.Key, definition.Kind
	return id
}

// fakeJournal applies parts to the directory at once, and keeps points by the
// printed form of their series.
type fakeJournal struct {
	directory *fakeDirectory
	gate      chan struct{} // if set, each Append takes one element first
	near      atomic.Int64  // announced and not withdrawn

	mu         sync.Mutex
	fail       []error // what the next calls return
	appends    int
	hashes     []journal.Hash
	points     map[string][]point
	aggregates map[string][]bucket.Bucket
	metadata   []series.Metadata
}

type point struct {
	ms    int64
	value float64
}

func (j *fakeJournal) Announce() { j.near.Add(1) }
func (j *fakeJournal) Withdraw() { j.near.Add(-1) }

func (j *fakeJournal) Append(ctx context.Context, parts []*journal.Part) error {
	if j.gate != nil {
		select {
		case <-j.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.appends++
	if len(j.fail) > 0 {
		err := j.fail[0]
		j.fail = j.fail[1:]
		if err != nil {
			return err
		}
	}
	for partition, part := range parts {
		j.apply(partition, part)
	}
	return nil
}

func (j *fakeJournal) apply(partition int, part *journal.Part) {
	if part.Empty() {
		return
	}
	ids := make([]series.ID, len(part.Definitions))
	for i, definition := range part.Definitions {
		if definition.Key.Partition(testPartitions) != partition {
			panic("definition in the wrong partition")
		}
		ids[i] = j.directory.define(partition, definition)
	}
	name := func(ref journal.Ref) string {
		if ref >= journal.FirstDefinition {
			return j.directory.keys[ids[ref-journal.FirstDefinition]].Format()
		}
		return j.directory.keys[series.NewID(partition, uint32(ref))].Format()
	}
	for i, ref := range part.Refs {
		j.points[name(ref)] = append(j.points[name(ref)], point{part.Times[i], part.Values[i]})
	}
	for i, ref := range part.AggregateRefs {
		j.aggregates[name(ref)] = append(j.aggregates[name(ref)], part.Aggregates[i])
	}
	if partition == 0 {
		j.metadata = append(j.metadata, part.Metadata...)
	}
	j.hashes = append(j.hashes, part.Request)
}

// rig is a Writer with fakes around it.
type rig struct {
	*Writer
	directory *fakeDirectory
	journal   *fakeJournal
	ledger    *rejects.Ledger
	registry  *prometheus.Registry
}

func newRig(t testing.TB) *rig {
	t.Helper()
	directory := newFakeDirectory()
	r := &rig{
		directory: directory,
		journal:   &fakeJournal{directory: directory, points: make(map[string][]point), aggregates: make(map[string][]bucket.Bucket)},
		registry:  prometheus.NewRegistry(),
	}
	now := func() time.Time { return time.UnixMilli(start) }
	r.ledger = rejects.New(r.registry, now)
	t.Cleanup(func() {
		if near := r.journal.near.Load(); near != 0 {
			t.Errorf("%d announcements to the journal were not withdrawn", near)
		}
	})
	r.Writer = NewWriter(Config{
		Directory: directory, Journal: r.journal, Rejects: r.ledger, Now: now,
		Registerer: r.registry, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	return r
}

// got is the points of a series so far.
func (r *rig) got(name string) []point {
	r.journal.mu.Lock()
	defer r.journal.mu.Unlock()
	return slices.Clone(r.journal.points[name])
}

// refused counts by reason what one protocol did not take.
func (r *rig) refused(p Protocol) map[string]int {
	counts := make(map[string]int)
	for _, entry := range r.ledger.Entries() {
		if entry.Protocol == string(p) {
			counts[entry.Reason] = int(entry.Count)
		}
	}
	return counts
}

// await polls a condition, with a deadline.
func await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within 10 s", what)
		}
	}
}
