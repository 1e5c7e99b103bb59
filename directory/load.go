package directory

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/sync/errgroup"

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
	sizes := make([]int, len(d.partitions))
	total := 0
	for i := range d.partitions {
		var err error
		if sizes[i], err = d.sizeOf(i); err != nil {
			return err
		}
		total += sizes[i]
	}
	var loaded atomic.Int64
	progress := func() {
		if n := loaded.Add(1); n%progressEvery == 0 {
			d.logger.Info("loading the directory", "series", n, "of", total)
		}
	}
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range d.partitions {
		group.Go(func() (err error) {
			d.partitions[i], err = d.loadPartition(i, sizes[i], progress)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	d.lookups.whole.Store(total == 0 && d.lookups.present != nil)
	d.logger.Info("directory loaded", "series", total, "families", len(d.families.byName))
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

// sizeOf is how many series a partition has, by its last record.
func (d *Directory) sizeOf(partition int) (int, error) {
	low, high := idBounds(partition)
	iter, err := d.db.NewIter(&pebble.IterOptions{LowerBound: low, UpperBound: high})
	if err != nil {
		return 0, fmt.Errorf("read partition %d: %w", partition, err)
	}
	size := 0
	if iter.Last() {
		var id series.ID
		id, err = decodeIDKey(iter.Key())
		size = int(id.Number()) + 1
	}
	if err := errors.Join(err, iter.Close()); err != nil {
		return 0, fmt.Errorf("read the last series of partition %d: %w", partition, err)
	}
	return size, nil
}

func idBounds(partition int) (low, high []byte) {
	return appendIDKey(nil, series.NewID(partition, 0)), appendIDKey(nil, series.NewID(partition+1, 0))
}

// maxPresized bounds what one wrong last record can make us allocate.
const maxPresized = 1 << 20 // series

// loadPartition reads the series of one partition, whose numbers must be
// 0, 1, 2, … without a gap. It calls progress after each.
func (d *Directory) loadPartition(i, size int, progress func()) (*partition, error) {
	size = min(size, maxPresized)
	p := &partition{
		keys:  make([]series.Key, 0, size),
		kinds: make([]series.Kind, 0, size),
		index: make(index),
	}
	low, high := idBounds(i)
	err := d.scan(low, high, func(recordKey, value []byte) error {
		id, err := decodeIDKey(recordKey)
		if err != nil {
			return fmt.Errorf("series record %x: %w", recordKey, err)
		}
		if err := d.loadSeries(p, id, value); err != nil {
			return fmt.Errorf("series record of partition %d, number %d: %w", i, id.Number(), err)
		}
		progress()
		return nil
	})
	return p, err
}

func (d *Directory) loadSeries(p *partition, id series.ID, value []byte) error {
	if next := len(p.keys); int(id.Number()) != next {
		return fmt.Errorf("number %d is missing", next)
	}
	kind, key, labels, err := decodeIDValue(value)
	if err != nil {
		return err
	}
	if owner := key.Partition(len(d.partitions)); owner != id.Partition() {
		return fmt.Errorf("series %.200s belongs to partition %d", key.Format(), owner)
	}
	p.add(key, kind, labels)
	return nil
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

// Verify reads what Open does not: the records from key to number. Each must
// agree with what was loaded, and none may be missing. The error names the first
// that is wrong. It must not run while series are defined or described.
func (d *Directory) Verify() error {
	want, found := 0, 0
	for i := range d.partitions {
		want += d.Count(i)
	}
	err := d.scan([]byte{keySpace}, []byte{idSpace}, func(recordKey, value []byte) error {
		key := series.Key(recordKey[1:])
		kind, id, err := decodeKeyValue(value)
		if err != nil {
			return fmt.Errorf("key record of %.200s: %w", key.Format(), err)
		}
		if have, ok := d.Key(id); !ok || have != key || d.Kind(id) != kind {
			return fmt.Errorf("key record of %.200s: id %d as %s, but the series record says otherwise", key.Format(), id, kind)
		}
		found++
		return nil
	})
	if err == nil && found != want {
		err = fmt.Errorf("%d series, but %d key records", want, found)
	}
	if err != nil {
		return fmt.Errorf("verify directory %s: %w", d.dir, err)
	}
	return nil
}
