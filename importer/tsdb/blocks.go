package tsdb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/index"

	"carillon/bucket"
	"carillon/importer"
	"carillon/series"
)

// Blocks is a folder of blocks. It satisfies importer.Catalogue.
type Blocks struct {
	path   string
	blocks []*block // by their first time
	wal    bool
	ledger *importer.Ledger
}

// A ref is the index of a block and the number of a series in it.
const (
	refBits   = 40
	maxBlocks = 1 << (64 - refBits)
)

// Open opens the blocks of a folder, or the one block that it is. What a compaction has put
// into another one is left out.
func Open(path string, ledger *importer.Ledger) (b *Blocks, err error) {
	b = &Blocks{ledger: ledger}
	if b.path, err = filepath.Abs(path); err == nil {
		b.path, err = filepath.EvalSymlinks(b.path)
	}
	if err != nil {
		return nil, err
	}
	metas, err := b.metas()
	if err != nil {
		return nil, err
	}
	superseded := make(map[string]bool)
	for _, m := range metas {
		for _, parent := range m.Compaction.Parents {
			superseded[parent.ULID] = true
		}
	}
	for dir, m := range metas {
		if superseded[m.ULID] {
			continue
		}
		one, err := openBlock(dir, m)
		if err != nil {
			ledger.Refuse(importer.Unreadable, 1, dir, err.Error())
			continue
		}
		b.blocks = append(b.blocks, one)
	}
	if len(b.blocks) == 0 {
		return nil, errors.New(path + ": there are no blocks in it that can be read; want the folder that Prometheus was started with as --storage.tsdb.path, a snapshot or a block")
	}
	if len(b.blocks) >= maxBlocks {
		return nil, errors.Join(fmt.Errorf("%s: %d blocks, and at most %d are read together", path, len(b.blocks), maxBlocks-1), b.Close())
	}
	slices.SortFunc(b.blocks, func(x, y *block) int {
		return cmp.Or(cmp.Compare(x.MinTime, y.MinTime), cmp.Compare(x.MaxTime, y.MaxTime), cmp.Compare(x.dir, y.dir))
	})
	segments, err := os.ReadDir(filepath.Join(b.path, "wal"))
	b.wal = err == nil && len(segments) > 0
	return b, nil
}

// metas reads those of all blocks, by folder.
func (b *Blocks) metas() (map[string]meta, error) {
	entries, err := os.ReadDir(b.path)
	if err != nil {
		return nil, err
	}
	dirs := []string{b.path}
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) == "" { // else it is of a compaction or a deletion that is not over
			dirs = append(dirs, filepath.Join(b.path, entry.Name()))
		}
	}
	metas := make(map[string]meta)
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, metaName)); err != nil {
			continue
		}
		m, err := readMeta(dir)
		if err != nil {
			b.ledger.Refuse(importer.Unreadable, 1, dir, err.Error())
			continue
		}
		metas[dir] = m
	}
	return metas, nil
}

// Close closes the blocks.
func (b *Blocks) Close() (err error) {
	for _, one := range b.blocks {
		err = errors.Join(err, one.close())
	}
	return err
}

// Log tells whether there is a write-ahead log beside the blocks, which may hold samples
// that no block has yet.
func (b *Blocks) Log() bool { return b.wal }

// Name is the folder's path.
func (b *Blocks) Name() string { return "prometheus " + b.path }

// Next is the end of the first block behind from, or of all that overlap with it.
func (b *Blocks) Next(from int64) int64 {
	to := from
	for _, one := range b.blocks {
		switch {
		case one.MaxTime <= from:
		case to == from || one.MinTime < to:
			to = max(to, one.MaxTime)
		default:
			return to
		}
	}
	return to
}

// Size is how many series the blocks have, one after the other.
func (b *Blocks) Size(span importer.Span) (size int) {
	for _, one := range b.blocks {
		if one.overlaps(span) {
			size += int(min(one.Stats.NumSeries, 1<<32))
		}
	}
	return size
}

// Each lists the series of the blocks in a span.
func (b *Blocks) Each(ctx context.Context, span importer.Span, visit func(importer.Entry) error) error {
	for i, one := range b.blocks {
		if !one.overlaps(span) {
			continue
		}
		if err := b.list(ctx, one, span, func(key series.Key, ref storage.SeriesRef) error {
			return visit(importer.Entry{Key: key, Ref: uint64(i)<<refBits | uint64(ref), KindUnknown: true})
		}); err != nil {
			return err
		}
	}
	return nil
}

func (b *Blocks) list(ctx context.Context, one *block, span importer.Span, visit func(series.Key, storage.SeriesRef) error) error {
	name, value := index.AllPostingsKey()
	all, err := one.index.Postings(ctx, name, value)
	if err != nil {
		b.ledger.Refuse(importer.Unreadable, 1, one.dir, err.Error())
		return nil
	}
	r := blockReader{ledger: b.ledger}
	for all.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		ref := all.At()
		if err := r.series(one, ref, span); err != nil {
			b.ledger.Refuse(importer.BadSeries, 1, one.dir, err.Error())
			continue
		}
		if len(r.metas) == 0 {
			continue
		}
		key, err := keyOf(r.builder.Labels())
		if err == nil && ref>>refBits > 0 {
			err = fmt.Errorf("it has number %d", ref)
		}
		if err != nil {
			b.ledger.Refuse(importer.BadSeries, 1, one.dir, err.Error())
			continue
		}
		if err := visit(key, ref); err != nil {
			return err
		}
	}
	if err := all.Err(); err != nil {
		b.ledger.Refuse(importer.Unreadable, 1, one.dir, err.Error())
	}
	return nil
}

func keyOf(l labels.Labels) (series.Key, error) {
	pairs := make([]series.Label, 0, l.Len())
	l.Range(func(l labels.Label) { pairs = append(pairs, series.Label{Name: l.Name, Value: l.Value}) })
	return series.NewKey(pairs)
}

// Reader makes one.
func (b *Blocks) Reader() importer.Reader {
	return &reader{blocks: b, of: blockReader{ledger: b.ledger}}
}

type reader struct {
	blocks *Blocks
	of     blockReader
}

// Read puts together what the blocks have of a series. Of samples of one time the first
// one counts.
func (r *reader) Read(refs []uint64, span importer.Span, visit func(*bucket.Bucket)) error {
	r.of.samples = r.of.samples[:0]
	for _, ref := range refs {
		r.of.read(r.blocks.blocks[ref>>refBits], storage.SeriesRef(ref&(1<<refBits-1)), span)
	}
	samples := r.of.samples
	byTime := func(a, b sample) int { return cmp.Compare(a.time, b.time) }
	if !slices.IsSortedFunc(samples, byTime) {
		slices.SortStableFunc(samples, byTime)
	}
	for i, s := range samples {
		if i == 0 || s.time > samples[i-1].time {
			b := bucket.Of(s.time, s.value)
			visit(&b)
		}
	}
	return nil
}
