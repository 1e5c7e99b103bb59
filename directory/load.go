package directory

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/sync/errgroup"

	"carillon/directory/index"
	"carillon/series"
)

// progressEvery is after how many loaded series a line is logged.
const progressEvery = 500_000

// load checks the format record, or writes it in an empty directory, and reads
// everything into memory.
func (d *Directory) load() error {
	if err := d.loadFormat(); err != nil {
		return err
	}
	if err := d.loadFamilies(); err != nil {
		return err
	}
	total := 0
	for i, p := range d.partitions {
		size, err := d.sizeOf(i)
		if err != nil {
			return err
		}
		p.Reserve(min(size, maxReserved))
		total += size
	}
	var loaded atomic.Int64
	progress := func(n int) {
		if now := loaded.Add(int64(n)); now/progressEvery != (now-int64(n))/progressEvery {
			d.logger.Info("loading the directory", "series", now, "of", total)
		}
	}
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, p := range d.partitions {
		group.Go(func() error { return errors.Join(d.loadSeries(i, p, progress), d.loadKinds(i, p)) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	d.logger.Info("directory loaded", "series", loaded.Load(), "families", len(d.families.byName))
	return nil
}

func (d *Directory) loadFormat() error {
	value, closer, err := d.db.Get([]byte{formatSpace})
	if errors.Is(err, pebble.ErrNotFound) {
		return d.storeFormat()
	}
	if err != nil {
		return fmt.Errorf("read the format record: %w", err)
	}
	defer closer.Close()
	partitions, err := decodeFormat(value)
	if err != nil {
		return fmt.Errorf("format record: %w", err)
	}
	if partitions != len(d.partitions) {
		return fmt.Errorf("it was made with %d partitions and cannot be opened with %d", partitions, len(d.partitions))
	}
	return nil
}

// storeFormat makes an empty directory ours, durably: nothing may be defined
// under a number of partitions that could still be forgotten.
func (d *Directory) storeFormat() error {
	empty := true
	if err := d.scan(nil, nil, func(_, _ []byte) error { empty = false; return nil }); err != nil {
		return err
	}
	if !empty {
		return errors.New("it holds data but no format record: this is not a Carillon directory")
	}
	if err := d.db.Set([]byte{formatSpace}, appendFormat(nil, len(d.partitions)), pebble.Sync); err != nil {
		return fmt.Errorf("write the format record: %w", err)
	}
	return nil
}

func (d *Directory) loadFamilies() error {
	d.families.byName = make(map[string]series.Metadata)
	return d.scan([]byte{familySpace}, []byte{endOfSpaces}, func(key, value []byte) error {
		m, err := decodeFamily(key, value)
		if err != nil {
			return fmt.Errorf("metadata record of %.200q: %w", key[1:], err)
		}
		d.families.byName[m.Family] = m
		return nil
	})
}

// maxReserved bounds what one wrong last record can make us allocate.
const maxReserved = 1 << 24 // series

// sizeOf is how many series a partition has, by its last record.
func (d *Directory) sizeOf(partition int) (size int, err error) {
	low, high := bounds(seriesSpace, partition)
	iter, err := d.db.NewIter(&pebble.IterOptions{LowerBound: low, UpperBound: high})
	if err != nil {
		return 0, fmt.Errorf("read partition %d: %w", partition, err)
	}
	if iter.Last() {
		var id series.ID
		id, err = decodeID(iter.Key(), seriesSpace)
		size = int(id.Number()) + 1
	}
	if err := errors.Join(err, iter.Close()); err != nil {
		return 0, fmt.Errorf("read the last series of partition %d: %w", partition, err)
	}
	return size, nil
}

func bounds(space byte, partition int) (low, high []byte) {
	return appendID(nil, space, series.NewID(partition, 0)), appendID(nil, space, series.NewID(partition+1, 0))
}

// loadSeries reads the series of one partition, whose numbers must be 0, 1, 2, …
// without a gap. It calls progress after each record.
func (d *Directory) loadSeries(i int, p *index.Index, progress func(series int)) error {
	low, high := bounds(seriesSpace, i)
	return d.scan(low, high, func(recordKey, value []byte) error {
		id, err := decodeID(recordKey, seriesSpace)
		if err != nil {
			return fmt.Errorf("series record %x: %w", recordKey, err)
		}
		next := p.Entered()
		if int(id.Number()) != next {
			err = fmt.Errorf("number %d is missing", next)
		} else if value, err = decodeVersion(value); err == nil {
			err = p.Load(value)
		}
		if err != nil {
			return fmt.Errorf("series record of partition %d, number %d: %w", i, id.Number(), err)
		}
		progress(p.Entered() - next)
		return nil
	})
}

// loadKinds reads which series have changed their kind since they were defined.
func (d *Directory) loadKinds(i int, p *index.Index) error {
	low, high := bounds(kindSpace, i)
	kinds := make(map[uint32]series.Kind)
	err := d.scan(low, high, func(recordKey, value []byte) error {
		id, err := decodeID(recordKey, kindSpace)
		if err != nil {
			return fmt.Errorf("kind record %x: %w", recordKey, err)
		}
		kind, err := decodeKind(value)
		if err == nil && int(id.Number()) >= p.Entered() {
			err = errors.New("there is no such series")
		}
		if err != nil {
			return fmt.Errorf("kind record of partition %d, number %d: %w", i, id.Number(), err)
		}
		kinds[id.Number()] = kind
		return nil
	})
	p.SetKinds(kinds)
	return err
}

// scan visits the records from low up to but not including high, in order of
// their keys. Key and value are only valid during the call of visit.
func (d *Directory) scan(low, high []byte, visit func(key, value []byte) error) error {
	iter, err := d.db.NewIter(&pebble.IterOptions{LowerBound: low, UpperBound: high})
	if err != nil {
		return fmt.Errorf("read records: %w", err)
	}
	for valid := iter.First(); valid; valid = iter.Next() {
		value, err := iter.ValueAndErr()
		if err == nil {
			err = visit(iter.Key(), value)
		}
		if err != nil {
			return errors.Join(err, iter.Close())
		}
	}
	if err := errors.Join(iter.Error(), iter.Close()); err != nil {
		return fmt.Errorf("read records: %w", err)
	}
	return nil
}

// Verify checks what Open takes for granted: that each series belongs to the partition
// in which it stands, and is found there by its key. The error names the first that is
// wrong. It must not run while series are defined.
func (d *Directory) Verify() error {
	for i, p := range d.partitions {
		err := p.Verify(func(key series.Key) error {
			if owner := key.Partition(len(d.partitions)); owner != i {
				return fmt.Errorf("%.200s belongs to partition %d", key.Format(), owner)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("verify directory %s: partition %d: %w", d.dir, i, err)
		}
	}
	return nil
}
