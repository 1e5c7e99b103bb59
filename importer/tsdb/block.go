// Package tsdb reads the blocks of a Prometheus, or of what writes the same. A folder of
// blocks comes in; the samples of each series go out, from all blocks of a time together.
// Blocks are a Catalogue of package importer, and `carillon import prometheus` opens it.
// Nothing is ever written to them.
package tsdb

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/index"
	"github.com/prometheus/prometheus/tsdb/tombstones"

	"carillon/importer"
)

const (
	metaName     = "meta.json"
	indexName    = "index"
	chunksName   = "chunks"
	metaVersion  = 1
	maxMetaBytes = 16 << 20
)

// meta is what matters of a block's meta.json.
type meta struct {
	Version int    `json:"version"`
	ULID    string `json:"ulid"`
	MinTime int64  `json:"minTime"` // milliseconds
	MaxTime int64  `json:"maxTime"` // excluded
	Stats   struct {
		NumSeries uint64 `json:"numSeries"`
	} `json:"stats"`
	Compaction struct {
		Parents []struct {
			ULID string `json:"ulid"`
		} `json:"parents"`
	} `json:"compaction"`
}

func readMeta(dir string) (m meta, err error) {
	path := filepath.Join(dir, metaName)
	info, err := os.Stat(path)
	if err != nil {
		return m, err
	}
	if info.Size() > maxMetaBytes {
		return m, fmt.Errorf("%s has %d bytes", path, info.Size())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("%s: %w", path, err)
	}
	switch {
	case m.Version != metaVersion:
		err = fmt.Errorf("%s: version %d, want %d", path, m.Version, metaVersion)
	case m.MinTime >= m.MaxTime:
		err = fmt.Errorf("%s: from %d to %d", path, m.MinTime, m.MaxTime)
	}
	return m, err
}

// block is an open one. Its readers may be used by several goroutines.
type block struct {
	meta
	dir     string
	index   *index.Reader
	chunks  *chunks.Reader
	deleted tombstones.Reader
}

func openBlock(dir string, m meta) (b *block, err error) {
	b = &block{meta: m, dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("block %s: %w", dir, err), b.close())
		}
	}()
	if b.index, err = index.NewFileReader(filepath.Join(dir, indexName), index.DecodePostingsRaw); err != nil {
		return b, err
	}
	if b.chunks, err = chunks.NewDirReader(filepath.Join(dir, chunksName), nil); err != nil {
		return b, err
	}
	b.deleted, _, err = tombstones.ReadTombstones(dir)
	return b, err
}

func (b *block) close() (err error) {
	if b.index != nil {
		err = b.index.Close()
	}
	if b.chunks != nil {
		err = errors.Join(err, b.chunks.Close())
	}
	return err
}

func (b *block) overlaps(span importer.Span) bool {
	return b.MaxTime > span.From && b.MinTime < span.To
}

// sample is one of a series.
type sample struct {
	time  int64
	value float64
}

// blockReader reads series of blocks. One goroutine uses it.
type blockReader struct {
	builder  labels.ScratchBuilder
	metas    []chunks.Meta
	iterator chunkenc.Iterator
	samples  []sample
	ledger   *importer.Ledger
}

// series finds a series, and which of its chunks have a part in a span.
func (r *blockReader) series(b *block, ref storage.SeriesRef, span importer.Span) error {
	if err := b.index.Series(ref, &r.builder, &r.metas); err != nil {
		return err
	}
	kept := r.metas[:0]
	for _, m := range r.metas {
		if m.MaxTime >= span.From && m.MinTime < span.To {
			kept = append(kept, m)
		}
	}
	r.metas = kept
	return nil
}

// read appends the samples that a block has of a series in a span, but for those that were
// deleted.
func (r *blockReader) read(b *block, ref storage.SeriesRef, span importer.Span) {
	if err := r.series(b, ref, span); err != nil {
		r.ledger.Refuse(importer.BadSeries, 1, b.dir, err.Error())
		return
	}
	gone, err := b.deleted.Get(ref)
	if err != nil {
		r.ledger.Refuse(importer.BadSeries, 1, b.dir, err.Error())
		return
	}
	for _, m := range r.metas {
		if err := r.chunk(b, m, gone, span); err != nil {
			r.ledger.Refuse(importer.BadChunk, 1, b.dir, err.Error())
		}
	}
}

func (r *blockReader) chunk(b *block, m chunks.Meta, gone tombstones.Intervals, span importer.Span) error {
	c, _, err := b.chunks.ChunkOrIterable(m)
	if err != nil {
		return err
	}
	histograms := uint64(0)
	r.iterator = c.Iterator(r.iterator)
	for kind := r.iterator.Next(); kind != chunkenc.ValNone; kind = r.iterator.Next() {
		time := r.iterator.AtT()
		if !span.Holds(time, 1) || isGone(gone, time) {
			continue
		}
		if kind != chunkenc.ValFloat {
			histograms++
			continue
		}
		_, value := r.iterator.At()
		r.samples = append(r.samples, sample{time, value})
	}
	if histograms > 0 {
		r.ledger.Refuse(importer.Histogram, histograms, r.builder.Labels().String(), "")
	}
	return r.iterator.Err()
}

func isGone(gone tombstones.Intervals, time int64) bool {
	for _, in := range gone {
		if in.InBounds(time) {
			return true
		}
	}
	return false
}
