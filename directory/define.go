package directory

import (
	"fmt"
	"math"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"carillon/series"
)

// maxSeries is how many series a partition can have: numbers are 32 bits.
const maxSeries = math.MaxUint32

// newSeries is a definition that was not known before, ready to be entered.
type newSeries struct {
	key    series.Key
	kind   series.Kind
	labels []series.Label // substrings of key
}

// Define gives numbers to the series of one partition, and returns them aligned
// with definitions. A key that is known already keeps its number and its kind;
// others get the next numbers in order. It is called by the partition's loop, in
// the order of the journal, which makes the numbers the same on every replay.
// The series are durable after the next Sync.
//
// A batch with a definition that no journal of ours can hold is refused as a
// whole, with ErrRefused and the reason in the error (series.ErrBadKey for a
// malformed key): half a batch would leave the points of the part that brought
// it with nobody to belong to.
func (d *Directory) Define(partition int, definitions []series.Definition) ([]uint32, error) {
	p := d.partitions[partition]
	numbers, fresh, err := d.plan(partition, definitions)
	if err != nil {
		return nil, fmt.Errorf("define in partition %d: %w", partition, err)
	}
	if len(fresh) == 0 {
		return numbers, nil
	}
	first := len(p.keys)
	if err := d.storeSeries(partition, first, fresh); err != nil {
		return nil, fmt.Errorf("define %d series in partition %d: %w", len(fresh), partition, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	d.lookups.define(partition, first, fresh)
	for _, s := range fresh {
		p.add(s.key, s.kind, s.labels)
	}
	return numbers, nil
}

// plan decides the number of each definition and which of them are new. It
// changes nothing.
func (d *Directory) plan(partition int, definitions []series.Definition) ([]uint32, []newSeries, error) {
	p := d.partitions[partition]
	numbers := make([]uint32, len(definitions))
	var fresh []newSeries
	var inBatch map[series.Key]uint32
	for i, definition := range definitions {
		if number, known := inBatch[definition.Key]; known {
			numbers[i] = number
			continue
		}
		id, known, err := d.find(definition.Key)
		if err != nil {
			return nil, nil, err
		}
		if known && id.Partition() != partition {
			return nil, nil, fmt.Errorf("%w: series %.200s belongs to partition %d", ErrRefused, definition.Key.Format(), id.Partition())
		}
		if known {
			numbers[i] = id.Number()
			continue
		}
		s, err := d.check(partition, definition)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrRefused, err)
		}
		if len(p.keys)+len(fresh) >= maxSeries {
			return nil, nil, fmt.Errorf("%w: there are %d series already", ErrRefused, maxSeries)
		}
		if inBatch == nil {
			inBatch = make(map[series.Key]uint32, len(definitions)-i)
			fresh = make([]newSeries, 0, len(definitions)-i)
		}
		numbers[i] = uint32(len(p.keys) + len(fresh))
		inBatch[s.key] = numbers[i]
		fresh = append(fresh, s)
	}
	return numbers, fresh, nil
}

// check takes a definition apart. The key is copied: it may be a piece of a
// whole journal message, which must not stay in memory with it.
func (d *Directory) check(partition int, definition series.Definition) (newSeries, error) {
	key := series.Key(strings.Clone(string(definition.Key)))
	labels, err := key.Labels()
	if err != nil {
		return newSeries{}, fmt.Errorf("key %.200q: %w", string(key), err)
	}
	if owner := key.Partition(len(d.partitions)); owner != partition {
		return newSeries{}, fmt.Errorf("series %.200s belongs to partition %d", key.Format(), owner)
	}
	if definition.Kind > series.Event {
		return newSeries{}, fmt.Errorf("series %.200s: kind %d does not exist", key.Format(), definition.Kind)
	}
	return newSeries{key: key, kind: d.kindAsOfNow(key, definition.Kind), labels: labels}, nil
}

// kindAsOfNow prefers what is known of the family by now to what the sender knew
// when it looked: the metadata may have stood in the journal before the definition.
func (d *Directory) kindAsOfNow(key series.Key, sent series.Kind) series.Kind {
	if sent == series.Event {
		return sent
	}
	if kind, ok := d.describedKind(key.Get(series.MetricName)); ok {
		return kind
	}
	return sent
}

// storeSeries commits new series, the first of which has the number first.
func (d *Directory) storeSeries(partition, first int, fresh []newSeries) error {
	batch := d.db.NewBatch()
	defer batch.Close()
	var w recordWriter
	for i, s := range fresh {
		if err := w.setSeries(batch, series.NewID(partition, uint32(first+i)), s.kind, s.key); err != nil {
			return err
		}
	}
	return batch.Commit(pebble.NoSync)
}

// recordWriter holds the buffers in which records are put together, for reuse:
// a batch copies them.
type recordWriter struct{ key, value []byte }

// setSeries writes both records of a series.
func (w *recordWriter) setSeries(batch *pebble.Batch, id series.ID, kind series.Kind, key series.Key) error {
	w.key, w.value = appendKeyKey(w.key[:0], key), appendKeyValue(w.value[:0], kind, id)
	if err := batch.Set(w.key, w.value, nil); err != nil {
		return err
	}
	w.key, w.value = appendIDKey(w.key[:0], id), appendIDValue(w.value[:0], kind, key)
	return batch.Set(w.key, w.value, nil)
}

// add enters one series in memory, under the next number.
func (p *partition) add(key series.Key, kind series.Kind, labels []series.Label) {
	number := uint32(len(p.keys))
	p.keys = append(p.keys, key)
	p.kinds = append(p.kinds, kind)
	p.index.add(number, labels)
}
