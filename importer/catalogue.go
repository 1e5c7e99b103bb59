package importer

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"carillon/bucket"
	"carillon/series"
	"carillon/store"
)

const (
	commitBuckets = 32 << 20 // buckets of a partition after which what was read is committed
	pieceBuckets  = 64 << 10 // buckets of a series that are handed over together, about
	defineSeries  = 8 << 10  // new series that are defined together
)

// Span is the time of a round: what ends in (From, To], milliseconds. A sample ends a
// millisecond after its time.
type Span struct{ From, To int64 }

// Holds tells whether what begins at start, and is so long, is of the span.
func (s Span) Holds(start, length int64) bool {
	return start > s.From-length && start <= s.To-length
}

// Catalogue is history of which each series can be read by itself. A catalogue that is
// opened again later has at least what it had, and more at its end: so there are rounds,
// each through a span of time.
type Catalogue interface {
	// Name tells what is read and where, the same whenever it is opened.
	Name() string
	// Next is the end of the span that begins at from, or from if there is no more.
	Next(from int64) (to int64)
	// Size is how many series Each lists, about.
	Size(span Span) int
	// Each lists all series that may have something in a span. One that is listed several
	// times is read with all its refs. It counts what it cannot list.
	Each(ctx context.Context, span Span, visit func(Entry) error) error
	// Reader makes a reader for one goroutine.
	Reader() Reader
}

// Entry is a series of a catalogue.
type Entry struct {
	Key  series.Key
	Ref  uint64
	Kind series.Kind // of a new series
	// KindUnknown has the kind be what the directory knows of the metric, or what its name
	// suggests.
	KindUnknown bool
}

// Reader reads the series of a catalogue.
type Reader interface {
	// Read visits what a series has in a span, by time; the bucket is valid during the
	// call. It counts what it cannot read, and goes on with the rest. An error ends the
	// import.
	Read(refs []uint64, span Span, visit func(*bucket.Bucket)) error
}

// Catalogue imports what the catalogue has beyond what earlier runs took.
func (im *Importer) Catalogue(ctx context.Context, c Catalogue) error {
	for {
		r := im.nextRound(c)
		if r == nil {
			return nil
		}
		if err := im.list(ctx, r); err != nil {
			return fmt.Errorf("listing the series of %s: %w", c.Name(), err)
		}
		if err := im.read(ctx, r); err != nil {
			return fmt.Errorf("reading %s: %w", c.Name(), err)
		}
	}
}

// round is one span, for the partitions that have come that far and not further.
//
// How far a partition has come is in two entries of its store. One is the end of the last
// span that is finished. The other is the end of the one that is being read, and the number
// of the next series: a partition's series are read in that order.
type round struct {
	Span
	catalogue            Catalogue
	finished, unfinished store.Source
	partitions           []share // by partition
	done, total          atomic.Uint64
}

// share is what one partition does in a round.
type share struct {
	within  bool       // the partition takes part
	next    uint64     // number of the first series that is not yet read
	entries []numbered // what is to be read, by number
}

type numbered struct {
	number uint32
	ref    uint64
}

// nextRound finds the earliest span that any partition has before it; nil if none has.
func (im *Importer) nextRound(c Catalogue) *round {
	r := &round{
		catalogue: c, partitions: make([]share, len(im.config.Target.Stores)),
		finished: sourceOf(c.Name()), unfinished: sourceOf(c.Name() + " unfinished"),
	}
	spans := make([]Span, len(r.partitions))
	for i, s := range im.config.Target.Stores {
		from, at := s.Imported(r.finished).Stage, s.Imported(r.unfinished)
		spans[i] = Span{from, at.Stage}
		if at.Stage > from {
			r.partitions[i].next = at.Item
		} else {
			spans[i].To = c.Next(from)
		}
		if s := spans[i]; s.To > s.From && (r.To == 0 || s.From < r.From || s.From == r.From && s.To < r.To) {
			r.Span = s
		}
	}
	if r.To == 0 {
		return nil
	}
	for i := range r.partitions {
		r.partitions[i].within = spans[i] == r.Span
	}
	return r
}

// list collects the series of a round, and defines those that are new.
func (im *Importer) list(ctx context.Context, r *round) error {
	var waiting []Entry
	settle := func() error {
		definitions := make([]series.Definition, len(waiting))
		for i, w := range waiting {
			definitions[i] = series.Definition{Key: w.Key, Kind: w.Kind}
			if w.KindUnknown {
				definitions[i].Kind = im.config.Target.KindOf(w.Key.Get(series.MetricName))
			}
		}
		if err := im.config.Target.Define(ctx, definitions, nil); err != nil {
			return err
		}
		for _, w := range waiting {
			id, ok := im.config.Target.Lookup(w.Key)
			if !ok {
				return fmt.Errorf("series %s was defined, but is not known", w.Key.Format())
			}
			r.enter(id, w.Ref)
		}
		waiting = waiting[:0]
		return nil
	}
	listed, size := uint64(0), uint64(max(r.catalogue.Size(r.Span), 1))
	err := r.catalogue.Each(ctx, r.Span, func(e Entry) error {
		listed++
		im.config.Progress("listing series", min(listed, size-1), size)
		if !r.partitions[e.Key.Partition(len(r.partitions))].within {
			return nil
		}
		if id, ok := im.config.Target.Lookup(e.Key); ok {
			r.enter(id, e.Ref)
			return nil
		}
		waiting = append(waiting, e)
		if len(waiting) < defineSeries {
			return nil
		}
		return settle()
	})
	if err == nil && len(waiting) > 0 {
		err = settle()
	}
	return err
}

func (r *round) enter(id series.ID, ref uint64) {
	s := &r.partitions[id.Partition()]
	s.entries = append(s.entries, numbered{id.Number(), ref})
}

// read imports a round, as many partitions at a time as there are cores.
func (im *Importer) read(ctx context.Context, r *round) error {
	for i := range r.partitions {
		s := &r.partitions[i]
		slices.SortFunc(s.entries, func(a, b numbered) int {
			return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.ref, b.ref))
		})
		r.total.Add(uint64(len(s.entries)))
		already, _ := slices.BinarySearchFunc(s.entries, s.next, func(e numbered, n uint64) int { return cmp.Compare(uint64(e.number), n) })
		s.entries = s.entries[already:]
		r.done.Add(uint64(already))
	}
	im.advance(r, 0)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range r.partitions {
		if r.partitions[i].within {
			group.Go(func() error { return im.readPartition(ctx, r, i) })
		}
	}
	return group.Wait()
}

func (im *Importer) advance(r *round, entries int) {
	done := r.done.Add(uint64(entries))
	im.mu.Lock()
	defer im.mu.Unlock()
	im.config.Progress("importing up to "+formatTime(r.To), done, max(r.total.Load(), 1))
}

func (im *Importer) readPartition(ctx context.Context, r *round, partition int) error {
	t := &taking{im: im, round: r, partition: partition, reader: r.catalogue.Reader(), rest: r.partitions[partition].entries}
	for len(t.rest) > 0 {
		t.begin()
		if err := im.put(partition, r.unfinished, t.buckets(ctx), t.through); err != nil {
			return err
		}
		im.taken(partition, t.series, t.counts)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return im.reach(partition, r.finished, store.Position{Stage: r.To})
}

// taking reads some series of a partition for one commit. The goroutine of the store's
// worker uses it while the one that asked for the import waits.
type taking struct {
	im        *Importer
	round     *round
	partition int
	reader    Reader
	rest      []numbered

	position store.Position
	err      error
	counts   Counts
	series   []uint32
	refs     []uint64
	piece    []bucket.Bucket
}

func (t *taking) begin() {
	t.position, t.err, t.counts, t.series = store.Position{}, nil, Counts{}, t.series[:0]
}

// buckets yields series until there is enough for a commit, or ctx ends: what was read by
// then is committed, too.
func (t *taking) buckets(ctx context.Context) func(func(uint32, []bucket.Bucket) bool) {
	return func(yield func(uint32, []bucket.Bucket) bool) {
		for len(t.rest) > 0 && t.counts.Buckets < t.im.commitBuckets {
			if err := ctx.Err(); err != nil {
				if t.position.Stage == 0 { // nothing was read that could be committed
					t.err = err
				}
				return
			}
			if !t.one(yield) {
				return
			}
		}
	}
}

func (t *taking) through() (store.Position, error) { return t.position, t.err }

// one reads a series.
func (t *taking) one(yield func(uint32, []bucket.Bucket) bool) bool {
	number, n := t.rest[0].number, 0
	t.refs = t.refs[:0]
	for ; n < len(t.rest) && t.rest[n].number == number; n++ {
		t.refs = append(t.refs, t.rest[n].ref)
	}
	buckets, wanted, beat := t.counts.Buckets, true, t.im.beat()
	flush := func() {
		if len(t.piece) > 0 {
			wanted = wanted && yield(number, t.piece)
			t.piece = t.piece[:0]
		}
	}
	t.piece = t.piece[:0]
	t.err = t.reader.Read(t.refs, t.round.Span, func(b *bucket.Bucket) {
		if !t.im.admits(b.FirstTime) {
			return
		}
		if n := len(t.piece); n >= pieceBuckets && b.Start(beat) > t.piece[n-1].Start(beat) {
			flush()
		}
		t.piece = append(t.piece, *b)
		t.counts.Buckets++
		t.counts.Samples += b.Count
	})
	flush()
	if t.err != nil || !wanted {
		return false
	}
	if t.counts.Buckets > buckets {
		t.series = append(t.series, number)
	}
	t.rest = t.rest[n:]
	t.position = store.Position{Stage: t.round.To, Item: uint64(number) + 1}
	t.im.advance(t.round, n)
	return true
}
