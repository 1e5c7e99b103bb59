package directory

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"carillon/directory/index"
	"carillon/series"
)

// Define gives numbers to the series of one partition, and returns them aligned
// with definitions. A key that is known already keeps its number and its kind;
// others get the next numbers in order. It is called by the partition's loop, in
// the order of the journal, which makes the numbers the same on every replay.
// The series are durable after the next Sync.
//
// A batch with a definition that no journal of ours can hold is refused as a
// whole, with ErrRefused and the reason in the error (series.ErrBadKey for a
// malformed key): half a batch would leave the points of the part that brought
// it with nobody to belong to. After any other error the partition defines nothing
// more until the directory is opened again.
func (d *Directory) Define(partition int, definitions []series.Definition) ([]uint32, error) {
	if err := d.check(partition, definitions); err != nil {
		return nil, fmt.Errorf("define in partition %d: %w: %w", partition, ErrRefused, err)
	}
	numbers := make([]uint32, len(definitions))
	for from := 0; from < len(definitions); from += index.MaxEntered {
		to := min(from+index.MaxEntered, len(definitions))
		if err := d.defineSome(partition, definitions[from:to], numbers[from:to]); err != nil {
			return nil, fmt.Errorf("define %d series in partition %d: %w", to-from, partition, err)
		}
	}
	return numbers, nil
}

// check finds what is wrong with a batch before anything of it is entered.
func (d *Directory) check(partition int, definitions []series.Definition) error {
	for _, definition := range definitions {
		key := definition.Key
		if !index.Valid(key) {
			return fmt.Errorf("key %.200q: %w", string(key), series.ErrBadKey)
		}
		if owner := key.Partition(len(d.partitions)); owner != partition {
			return fmt.Errorf("series %.200s belongs to partition %d", key.Format(), owner)
		}
		if definition.Kind > series.Event {
			return fmt.Errorf("series %.200s: kind %d does not exist", key.Format(), definition.Kind)
		}
	}
	if !d.partitions[partition].Fits(len(definitions)) {
		return fmt.Errorf("there is no room for %d series more", len(definitions))
	}
	return nil
}

// defineSome defines up to index.MaxEntered series: in the index, where they are
// hidden, then on disk, and then for everybody.
func (d *Directory) defineSome(partition int, definitions []series.Definition, numbers []uint32) error {
	p := d.partitions[partition]
	first := p.Count()
	if p.Entered() > first {
		return errors.New("an earlier definition could not be stored")
	}
	p.Enter(definitions, numbers)
	if p.Entered() == first {
		return nil
	}
	fresh := freshOf(definitions, numbers, uint32(first))
	p.SetKinds(d.kindsAsOfNow(fresh, uint32(first)))
	key := appendID(nil, seriesSpace, series.NewID(partition, uint32(first)))
	if err := d.db.Set(key, appendSeriesValue(nil, p), pebble.NoSync); err != nil {
		return err
	}
	p.Publish(func() { d.lookups.define(fresh) })
	return nil
}

// freshOf is the definitions of the series from number first on, in their order: each
// the first of its key.
func freshOf(definitions []series.Definition, numbers []uint32, first uint32) []series.Definition {
	fresh := make([]series.Definition, 0, len(definitions))
	for i, number := range numbers {
		if number == first+uint32(len(fresh)) {
			fresh = append(fresh, definitions[i])
		}
	}
	return fresh
}

// kindsAsOfNow is the kinds of the series from number first on that differ from those
// sent. What is known of a family by now is preferred to what the sender knew when it
// looked: the metadata may have stood in the journal before the definition.
func (d *Directory) kindsAsOfNow(fresh []series.Definition, first uint32) map[uint32]series.Kind {
	d.families.mu.RLock()
	defer d.families.mu.RUnlock()
	if len(d.families.byName) == 0 {
		return nil
	}
	kinds := make(map[uint32]series.Kind)
	for i, s := range fresh {
		if s.Kind == series.Event {
			continue
		}
		if kind, ok := d.families.kindOf(s.Key.Get(series.MetricName)); ok && kind != s.Kind {
			kinds[first+uint32(i)] = kind
		}
	}
	return kinds
}
