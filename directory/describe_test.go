package directory

import (
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"carillon/series"
)

func TestKindOf(t *testing.T) {
	d := openMem(t, vfs.NewMem(), 1)
	if _, err := d.Describe(0, []series.Metadata{
		{Family: "c", Type: "counter"}, {Family: "g_total", Type: "gauge"},
		{Family: "h", Type: "histogram"}, {Family: "gh", Type: "gaugehistogram"}, {Family: "s", Type: "summary"},
		{Family: "h_count", Type: "gauge"}, {Family: "u", Type: "unknown"}, {Family: "s_sum", Type: "unknown"},
	}); err != nil {
		t.Fatal(err)
	}
	tests := map[string]series.Kind{
		"c": series.Counter, "c_x": series.Gauge, "c_sum": series.Counter, "g_total": series.Gauge,
		"h": series.Counter, "h_bucket": series.Counter, "h_sum": series.Counter, "h_count": series.Gauge,
		"gh": series.Gauge, "gh_bucket": series.Gauge, "gh_gcount": series.Gauge,
		"s": series.Gauge, "s_sum": series.Counter, "s_count": series.Counter, "s_bucket": series.Counter,
		"u": series.Gauge, "u_total": series.Counter, "new": series.Gauge, "new_total": series.Counter, "": series.Gauge,
	}
	for metric, want := range tests {
		if got := d.KindOf(metric); got != want {
			t.Errorf("KindOf(%q) = %s, want %s", metric, got, want)
		}
	}
}

func TestDescribeChangesKinds(t *testing.T) {
	const gauge, counter, event = series.Gauge, series.Counter, series.Event
	// All in one partition; the number is the index.
	defined := []struct {
		metric string
		kind   series.Kind
	}{
		{"h_bucket", gauge}, {"h_count", gauge}, {"h_sum", counter}, {"h", event}, {"h_other", gauge},
		{"h_bucket", event}, {"c", gauge}, {"c_sum", gauge}, {"h_count", gauge},
	}
	steps := []struct {
		name     string
		metadata []series.Metadata
		want     []uint32
		kinds    []series.Kind
	}{
		{"unknown says nothing", []series.Metadata{{Family: "h", Type: "unknown"}, {Family: "c"}}, nil,
			[]series.Kind{gauge, gauge, counter, event, gauge, event, gauge, gauge, gauge}},
		{"histogram", []series.Metadata{{Family: "h", Type: "histogram"}}, []uint32{0, 1, 8},
			[]series.Kind{counter, counter, counter, event, gauge, event, gauge, gauge, counter}},
		{"again", []series.Metadata{{Family: "h", Type: "histogram"}}, nil, nil},
		{"the family of just that name wins", []series.Metadata{{Family: "h_sum", Type: "gauge"}, {Family: "h", Type: "histogram", Help: "new"}}, []uint32{2}, nil},
		{"counter has no suffixes", []series.Metadata{{Family: "c", Type: "counter"}}, []uint32{6}, nil},
		{"last of a batch wins", []series.Metadata{{Family: "c", Type: "gauge"}, {Family: "c", Type: "counter"}}, nil, nil},
		{"and back", []series.Metadata{{Family: "c", Type: "gauge"}, {Family: "h", Type: "gaugehistogram"}}, []uint32{0, 6},
			[]series.Kind{gauge, counter, gauge, event, gauge, event, gauge, gauge, counter}},
		{"nothing", nil, nil, nil},
		{"no metric has such a name", []series.Metadata{{Type: "counter"}, {Family: "\xff"}, {Family: strings.Repeat("x", 9000)}}, nil, nil},
	}
	fs := vfs.NewMem()
	d := openMem(t, fs, 1)
	for i, s := range defined {
		defineAs(t, d, key(t, series.MetricName, s.metric, "i", string(rune('a'+i))), s.kind)
	}
	for _, step := range steps {
		got, err := d.Describe(0, step.metadata)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("%s: changed numbers, -want +got\n%s", step.name, diff)
		}
		for number, want := range step.kinds {
			if have := d.Kind(series.ID(number)); have != want {
				t.Errorf("%s: %s %d is a %s, want %s", step.name, defined[number].metric, number, have, want)
			}
		}
		for _, m := range step.metadata[max(0, len(step.metadata)-1):] {
			if !d.Known(m) {
				t.Errorf("%s: %q is not known", step.name, m.Family)
			}
		}
		closeNow(t, d)
		d = openMem(t, fs, 1)
	}
	if err := d.Verify(); err != nil {
		t.Error(err)
	}
}

// Another partition may have brought the metadata first: each corrects its own
// series all the same.
func TestDescribeEachPartition(t *testing.T) {
	d := openMem(t, vfs.NewMem(), 2)
	var ids []series.ID
	for partition := range 2 {
		for i := 0; ; i++ {
			k := key(t, series.MetricName, "m", "i", string(rune('a'+i)))
			if k.Partition(2) == partition {
				ids = append(ids, defineAs(t, d, k, series.Gauge))
				break
			}
		}
	}
	m := []series.Metadata{{Family: "m", Type: "counter"}}
	for partition, id := range ids {
		changed, err := d.Describe(partition, m)
		if err != nil {
			t.Fatal(err)
		}
		if len(changed) != 1 || changed[0] != id.Number() || d.Kind(id) != series.Counter {
			t.Errorf("partition %d: changed %v, kind %s", partition, changed, d.Kind(id))
		}
	}
}

func TestKnown(t *testing.T) {
	d := openMem(t, vfs.NewMem(), 1)
	m := series.Metadata{Family: "f", Type: "gauge", Help: "help", Unit: "seconds"}
	if d.Known(m) {
		t.Error("known before it was told")
	}
	if _, err := d.Describe(0, []series.Metadata{m}); err != nil {
		t.Fatal(err)
	}
	for _, changed := range []series.Metadata{
		{Family: "g", Type: "gauge", Help: "help", Unit: "seconds"}, {Family: "f", Type: "counter", Help: "help", Unit: "seconds"},
		{Family: "f", Type: "gauge", Help: "other", Unit: "seconds"}, {Family: "f", Type: "gauge", Help: "help"},
	} {
		if d.Known(changed) {
			t.Errorf("%+v is known, but only %+v was told", changed, m)
		}
	}
	long := series.Metadata{Family: "l", Type: "gauge", Help: strings.Repeat("ä", maxTextBytes) + "\xff"}
	if _, err := d.Describe(0, []series.Metadata{m, long}); err != nil {
		t.Fatal(err)
	}
	if !d.Known(m) || !d.Known(long) {
		t.Error("forgotten, or a long text would be journalled for ever")
	}
	if n := len(d.Metadata()[1].Help); n > maxTextBytes {
		t.Errorf("%d bytes of help were kept", n)
	}
}
