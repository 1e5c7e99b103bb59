package directory

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"pgregory.net/rapid"

	"carillon/series"
)

// The model: the directory as one list of maps, in which everything is found by
// looking at every series. Label names and values are few, so that keys meet.

const modelPartitions = 3

var (
	modelNames  = []string{series.MetricName, "job", "host", "ä"}
	modelValues = []string{"", "a", "b", "ab", "c_count", "c_sum", "c", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}
	modelTypes  = []string{"counter", "gauge", "histogram", "gaugehistogram", "summary", "unknown", ""}
	modelRegexp = []string{"", "a", "a|b", "a|", "a?", ".*", ".+", "[0-9]", "c.*", "(?i:A)", "[^a]", "x", "a|b|zz"}
)

type modelSeries struct {
	id     series.ID
	key    series.Key
	kind   series.Kind
	labels map[string]string
}

type model struct {
	fs       vfs.FS
	d        *Directory
	series   []*modelSeries // in order of definition
	families map[string]series.Metadata
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{fs: vfs.NewMem(), families: make(map[string]series.Metadata)}
		m.open(t)
		defer func() {
			if err := m.d.Close(); err != nil {
				t.Error(err)
			}
		}()
		t.Repeat(map[string]func(*rapid.T){
			"define":   m.define,
			"describe": m.describe,
			"reopen":   m.reopen,
			"lookup":   m.lookup,
			"select":   m.selects,
			"":         m.check,
		})
		if err := m.d.Verify(); err != nil {
			t.Error(err)
		}
	})
}

func (m *model) open(t *rapid.T) {
	d, err := open(m.fs, testDir, modelPartitions, Caches{Series: 5, Absent: 4}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	m.d = d
}

func (m *model) reopen(t *rapid.T) {
	if err := m.d.Close(); err != nil {
		t.Fatal(err)
	}
	m.open(t)
}

func drawKey(t *rapid.T) series.Key {
	for {
		var list []series.Label
		for _, name := range modelNames {
			list = append(list, series.Label{Name: name, Value: rapid.SampledFrom(modelValues).Draw(t, name)})
		}
		if k, err := series.NewKey(list); err == nil {
			return k
		}
	}
}

func (m *model) find(k series.Key) *modelSeries {
	i := slices.IndexFunc(m.series, func(s *modelSeries) bool { return s.key == k })
	if i < 0 {
		return nil
	}
	return m.series[i]
}

func (m *model) count(partition int) uint32 {
	n := uint32(0)
	for _, s := range m.series {
		if s.id.Partition() == partition {
			n++
		}
	}
	return n
}

// define sends a batch of definitions to the partition of the first, as one
// message of the journal would.
func (m *model) define(t *rapid.T) {
	batches := make([][]series.Definition, modelPartitions)
	for range rapid.IntRange(0, 60).Draw(t, "definitions") {
		k := drawKey(t)
		kind := series.Kind(rapid.IntRange(0, 2).Draw(t, "kind"))
		partition := k.Partition(modelPartitions)
		batches[partition] = append(batches[partition], series.Definition{Key: k, Kind: kind})
	}
	for partition, batch := range batches {
		var want []uint32
		for _, definition := range batch {
			want = append(want, m.define1(partition, definition))
		}
		got, err := m.d.Define(partition, batch)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("partition %d: numbers %v, want %v", partition, got, want)
		}
	}
}

func (m *model) define1(partition int, definition series.Definition) uint32 {
	if s := m.find(definition.Key); s != nil {
		return s.id.Number()
	}
	s := &modelSeries{key: definition.Key, kind: definition.Kind, labels: make(map[string]string)}
	if kind, known := m.kindOf(s.key.Get(series.MetricName)); known && s.kind != series.Event {
		s.kind = kind
	}
	s.id = series.NewID(partition, m.count(partition))
	list, _ := definition.Key.Labels()
	for _, l := range list {
		s.labels[l.Name] = l.Value
	}
	m.series = append(m.series, s)
	return s.id.Number()
}

func (m *model) describe(t *rapid.T) {
	partition := rapid.IntRange(0, modelPartitions-1).Draw(t, "partition")
	var metadata []series.Metadata
	for range rapid.IntRange(0, 3).Draw(t, "families") {
		metadata = append(metadata, series.Metadata{
			Family: rapid.SampledFrom(modelValues).Draw(t, "family"),
			Type:   rapid.SampledFrom(modelTypes).Draw(t, "type"),
			Help:   rapid.SampledFrom([]string{"", "help"}).Draw(t, "help"),
		})
	}
	touched := make(map[string]bool)
	for _, f := range metadata {
		if f.Family == "" {
			continue
		}
		m.families[f.Family] = f
		for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
			touched[f.Family+suffix] = true
		}
	}
	var want []uint32
	for _, s := range m.series {
		metric := s.labels[series.MetricName]
		kind, ok := m.kindOf(metric)
		if s.id.Partition() == partition && touched[metric] && ok && s.kind != series.Event && s.kind != kind {
			s.kind = kind
			want = append(want, s.id.Number())
		}
	}
	got, err := m.d.Describe(partition, metadata)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("%+v changed %v, want %v", metadata, got, want)
	}
}

// kindOf spells the rule out, family type by family type.
func (m *model) kindOf(metric string) (series.Kind, bool) {
	switch m.families[metric].Type {
	case "counter", "histogram":
		return series.Counter, true
	case "gauge", "gaugehistogram", "summary":
		return series.Gauge, true
	}
	if family, ok := strings.CutSuffix(metric, "_count"); ok && slices.Contains([]string{"histogram", "summary"}, m.families[family].Type) {
		return series.Counter, true
	}
	if family, ok := strings.CutSuffix(metric, "_sum"); ok && slices.Contains([]string{"histogram", "summary"}, m.families[family].Type) {
		return series.Counter, true
	}
	return series.Gauge, false
}

func (m *model) lookup(t *rapid.T) {
	k := drawKey(t)
	id, ok := m.d.Lookup(k)
	s := m.find(k)
	if ok != (s != nil) || ok && id != s.id {
		t.Fatalf("Lookup(%s) = %d, %v; want %+v", k.Format(), id, ok, s)
	}
	metric := k.Get(series.MetricName)
	want, known := m.kindOf(metric)
	if !known {
		want = series.KindOfName(metric)
	}
	if got := m.d.KindOf(metric); got != want {
		t.Fatalf("KindOf(%q) = %s, want %s", metric, got, want)
	}
}

func drawMatchers(t *rapid.T) []*labels.Matcher {
	var list []*labels.Matcher
	for range rapid.IntRange(0, 3).Draw(t, "matchers") {
		kind := labels.MatchType(rapid.IntRange(0, 3).Draw(t, "type"))
		name := rapid.SampledFrom(append(modelNames, "none")).Draw(t, "name")
		values := modelValues
		if kind == labels.MatchRegexp || kind == labels.MatchNotRegexp {
			values = modelRegexp
		}
		list = append(list, labels.MustNewMatcher(kind, name, rapid.SampledFrom(values).Draw(t, "value")))
	}
	return list
}

func (m *model) selects(t *rapid.T) {
	list := drawMatchers(t)
	var ids []series.ID
	names, values := make(map[string]bool), make(map[string]bool)
	name := rapid.SampledFrom(modelNames).Draw(t, "values of")
	for _, s := range m.series {
		if !slices.ContainsFunc(list, func(l *labels.Matcher) bool { return !l.Matches(s.labels[l.Name]) }) {
			ids = append(ids, s.id)
			for n, v := range s.labels {
				names[n] = true
				if n == name {
					values[v] = true
				}
			}
		}
	}
	slices.Sort(ids)
	same(t, "series", list, ids)(m.d.Select(list...))
	same(t, "names", list, sorted(names))(m.d.LabelNames(list...))
	same(t, "values of "+name, list, sorted(values))(m.d.LabelValues(name, list...))
}

func sorted(set map[string]bool) []string {
	var list []string
	for s := range set {
		list = append(list, s)
	}
	slices.Sort(list)
	return list
}

func same[T comparable](t *rapid.T, what string, matchers []*labels.Matcher, want []T) func([]T, error) {
	return func(got []T, err error) {
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%s of %v: %v, want %v", what, matchers, got, want)
		}
	}
}

// check runs after each step.
func (m *model) check(t *rapid.T) {
	for partition := range modelPartitions {
		if got, want := m.d.Count(partition), m.count(partition); got != int(want) {
			t.Fatalf("partition %d has %d series, want %d", partition, got, want)
		}
	}
	for _, s := range m.series {
		if k, ok := m.d.Key(s.id); !ok || k != s.key || m.d.Kind(s.id) != s.kind {
			t.Fatalf("series %d is %s, a %s; want %s, a %s", s.id, k.Format(), m.d.Kind(s.id), s.key.Format(), s.kind)
		}
	}
	got := make(map[string]series.Metadata)
	for _, f := range m.d.Metadata() {
		got[f.Family] = f
		if !m.d.Known(f) {
			t.Fatalf("%+v is stored but not known", f)
		}
	}
	if diff := cmp.Diff(m.families, got); diff != "" {
		t.Fatal(fmt.Sprint("metadata, -want +got\n", diff))
	}
}
