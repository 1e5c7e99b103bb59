package directory

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/cockroachdb/pebble/v2"

	"carillon/directory/index"
	"carillon/series"
)

// maxTextBytes is how much is kept of a family's type, help and unit, each.
const maxTextBytes = 4096

// families is the metadata of all partitions together.
//
// Known and KindOf read byName under mu. Describe holds writing all the while,
// so that it may read byName without mu, decide, and commit to Pebble; it takes
// mu only to enter what it decided.
type families struct {
	writing sync.Mutex
	mu      sync.RWMutex
	byName  map[string]series.Metadata
}

// suffixes of the series of a histogram or summary; "" is the family itself.
var suffixes = [...]string{"", "_bucket", "_sum", "_count"}

// kindOfMember is what the values of a family's series with the given suffix
// mean, or false if the metadata does not say.
func kindOfMember(m series.Metadata, suffix string) (series.Kind, bool) {
	switch m.Type {
	case "counter", "gauge", "info", "stateset":
		return m.Kind(), suffix == ""
	case "histogram":
		return m.Kind(), true
	case "gaugehistogram":
		return series.Gauge, suffix == "" || suffix == "_bucket"
	case "summary": // the family itself carries quantiles, which go up and down
		if suffix == "" {
			return series.Gauge, true
		}
		return m.Kind(), suffix != "_bucket"
	}
	return series.Gauge, false // "unknown", and what is yet to be invented
}

// kindByMetadata finds the kind of a metric in families: the family of just that
// name has the first word, then one of which the metric is a part.
func kindByMetadata(metric string, family func(string) (series.Metadata, bool)) (series.Kind, bool) {
	for _, suffix := range suffixes {
		name, ok := strings.CutSuffix(metric, suffix)
		if !ok {
			continue
		}
		if m, ok := family(name); ok {
			if kind, ok := kindOfMember(m, suffix); ok {
				return kind, true
			}
		}
	}
	return series.Gauge, false
}

// KindOf is the kind of a new series of the metric: by the metadata known of its
// family, or else by its name.
func (d *Directory) KindOf(metric string) series.Kind {
	if kind, ok := d.describedKind(metric); ok {
		return kind
	}
	return series.KindOfName(metric)
}

// describedKind is the kind that metadata give to the series of a metric.
func (d *Directory) describedKind(metric string) (series.Kind, bool) {
	d.families.mu.RLock()
	defer d.families.mu.RUnlock()
	return d.families.kindOf(metric)
}

// kindOf is called under mu.
func (f *families) kindOf(metric string) (series.Kind, bool) {
	return kindByMetadata(metric, func(name string) (series.Metadata, bool) {
		m, ok := f.byName[name]
		return m, ok
	})
}

// Known tells that Describe would store nothing for m: it is what is stored, or
// it is of a family that cannot have series.
func (d *Directory) Known(m series.Metadata) bool {
	m, ok := clipped(m)
	if !ok {
		return true
	}
	d.families.mu.RLock()
	defer d.families.mu.RUnlock()
	known, ok := d.families.byName[m.Family]
	return ok && known == m
}

// Metadata is all families, sorted by name.
func (d *Directory) Metadata() []series.Metadata {
	d.families.mu.RLock()
	all := slices.Collect(maps.Values(d.families.byName))
	d.families.mu.RUnlock()
	slices.SortFunc(all, func(a, b series.Metadata) int { return strings.Compare(a.Family, b.Family) })
	return all
}

// clipped is m as it is stored: texts are cut at maxTextBytes and made valid
// UTF-8. It is false for a family that is no possible name of a metric.
func clipped(m series.Metadata) (series.Metadata, bool) {
	if m.Family == "" || len(m.Family) > series.MaxValueBytes || !utf8.ValidString(m.Family) {
		return m, false
	}
	for _, text := range [...]*string{&m.Type, &m.Help, &m.Unit} {
		*text = strings.ToValidUTF8((*text)[:min(len(*text), maxTextBytes)], "")
	}
	return m, true
}

// Describe stores metadata, and corrects the kind of the partition's series of
// these families; it returns the numbers whose kind changed, ascending. A family
// is the metric of its name and, for histograms and summaries, those with
// _bucket, _sum and _count behind it. Event series stay events: their sender knew.
// It is called by the partition's loop, in the order of the journal. Metadata is
// shared by all partitions, but each corrects only its own series, so each one's
// journal must bring it. It is durable after the next Sync.
func (d *Directory) Describe(partition int, metadata []series.Metadata) ([]uint32, error) {
	d.families.writing.Lock()
	defer d.families.writing.Unlock()
	latest := make(map[string]series.Metadata, len(metadata))
	for _, m := range metadata {
		if m, ok := clipped(m); ok {
			latest[m.Family] = m
		}
	}
	changed := misjudged(d.partitions[partition], d.kindsAfter(latest))
	maps.DeleteFunc(latest, func(name string, m series.Metadata) bool {
		known, ok := d.families.byName[name]
		return ok && known == m
	})
	if len(latest) == 0 && len(changed) == 0 {
		return nil, nil
	}
	if err := d.storeKinds(partition, latest, changed); err != nil {
		return nil, fmt.Errorf("describe %d families in partition %d: %w", len(latest), partition, err)
	}
	d.enterKinds(partition, latest, changed)
	return slices.Sorted(maps.Keys(changed)), nil
}

// kindsAfter is the kind of every metric that the families in latest can have
// series of, once these are stored. It leaves out those of which no metadata
// says anything.
func (d *Directory) kindsAfter(latest map[string]series.Metadata) map[string]series.Kind {
	kinds := make(map[string]series.Kind)
	for name := range latest {
		for _, suffix := range suffixes {
			kind, ok := kindByMetadata(name+suffix, func(family string) (series.Metadata, bool) {
				if m, ok := latest[family]; ok {
					return m, true
				}
				m, ok := d.families.byName[family]
				return m, ok
			})
			if ok {
				kinds[name+suffix] = kind
			}
		}
	}
	return kinds
}

// misjudged is the series whose kind differs from that of their metric, with the
// right kind.
func misjudged(p *index.Index, kinds map[string]series.Kind) map[uint32]series.Kind {
	changed := make(map[uint32]series.Kind)
	for metric, kind := range kinds {
		for _, number := range p.With(series.MetricName, metric) {
			if have, _ := p.Kind(number); have != kind && have != series.Event {
				changed[number] = kind
			}
		}
	}
	return changed
}

func (d *Directory) storeKinds(partition int, described map[string]series.Metadata, changed map[uint32]series.Kind) error {
	batch := d.db.NewBatch()
	defer batch.Close()
	var key, value []byte // a batch copies them
	for name, m := range described {
		key, value = appendFamilyKey(key[:0], name), appendFamilyValue(value[:0], m)
		if err := batch.Set(key, value, nil); err != nil {
			return err
		}
	}
	for number, kind := range changed {
		key, value = appendID(key[:0], kindSpace, series.NewID(partition, number)), appendKindValue(value[:0], kind)
		if err := batch.Set(key, value, nil); err != nil {
			return err
		}
	}
	return batch.Commit(pebble.NoSync)
}

func (d *Directory) enterKinds(partition int, described map[string]series.Metadata, changed map[uint32]series.Kind) {
	d.partitions[partition].SetKinds(changed)
	d.families.mu.Lock()
	for name, m := range described {
		// A copy: the strings may be pieces of a whole journal message.
		d.families.byName[strings.Clone(name)] = series.Metadata{
			Family: strings.Clone(m.Family), Type: strings.Clone(m.Type),
			Help: strings.Clone(m.Help), Unit: strings.Clone(m.Unit),
		}
	}
	d.families.mu.Unlock()
}
