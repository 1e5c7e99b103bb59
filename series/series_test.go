package series_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"carillon/series"
)

func TestKeyIsCanonical(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.StringN(1, 20, 60), 1, 8, rapid.ID[string]).Draw(t, "names")
		var labels []series.Label
		for _, name := range names {
			labels = append(labels, series.Label{Name: name, Value: rapid.StringN(1, 20, 60).Draw(t, "value")})
		}
		key, err := series.NewKey(slices.Clone(labels))
		if err != nil {
			t.Fatal(err)
		}
		shuffled := append(rapid.Permutation(labels).Draw(t, "order"), series.Label{Name: "empty"})
		if again, err := series.NewKey(shuffled); err != nil || again != key {
			t.Fatalf("in another order: %v, %v", again, err)
		}
		slices.SortFunc(labels, func(a, b series.Label) int { return strings.Compare(a.Name, b.Name) })
		got, err := key.Labels()
		if diff := cmp.Diff(labels, got); diff != "" || err != nil {
			t.Fatalf("labels: %v (-want +got):\n%s", err, diff)
		}
		for _, l := range labels {
			if key.Get(l.Name) != l.Value {
				t.Fatalf("Get(%q) = %q, want %q", l.Name, key.Get(l.Name), l.Value)
			}
		}
		if key.Get("no such label\x00") != "" {
			t.Fatal("a label that is not there has a value")
		}
	})
}

func TestRefusedLabels(t *testing.T) {
	many := make([]series.Label, 10_000)
	for i := range many {
		many[i] = series.Label{Name: fmt.Sprint("l", i), Value: "x"}
	}
	long := strings.Repeat("x", series.MaxValueBytes)
	for _, c := range []struct {
		name   string
		labels []series.Label
		want   error
		text   string
	}{
		{"none", nil, series.ErrNoLabels, "no labels"},
		{"only empty", []series.Label{{Name: "a"}}, series.ErrNoLabels, ""},
		{"10,000", many, series.ErrTooManyLabels, "more than 128 labels"},
		{"twice", []series.Label{{"b", "1"}, {"a", "1"}, {"b", "2"}}, series.ErrDuplicateLabel, `label name stands twice: "b"`},
		{"not UTF-8", []series.Label{{"a", "\xff"}}, series.ErrNotUTF8, `"a"`},
		{"no name", []series.Label{{"", "1"}}, series.ErrNoLabelName, ""},
		{"long value", []series.Label{{"a", long + "x"}}, series.ErrLabelTooLong, `"a"`},
		{"long key", []series.Label{{"a", long}, {"b", long}, {"c", long}, {"d", long}}, series.ErrKeyTooLong, "32768"},
	} {
		_, err := series.NewKey(c.labels)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: error %v, want %v with %q", c.name, err, c.want, c.text)
		}
	}
}

// FuzzLabels takes any bytes for a key: what is accepted is what NewKey makes.
func FuzzLabels(f *testing.F) {
	good, err := series.NewKey([]series.Label{{"__name__", "up"}, {"job", "node"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(good))
	f.Add("\x80\x00a\x01b")
	f.Add("\x01b\x01x\x01a\x01y")
	f.Add("\xff\xff\xff\xff\xff\xff")
	f.Fuzz(func(t *testing.T, data string) {
		labels, err := series.Key(data).Labels()
		_ = series.Key(data).Get("job")
		_ = series.Key(data).Format()
		if err != nil {
			return
		}
		if again, err := series.NewKey(labels); err != nil || string(again) != data {
			t.Fatalf("%q is accepted, but its labels make %q, %v", data, again, err)
		}
	})
}

func TestPartitionNeverChanges(t *testing.T) {
	for name, want := range map[string]int{"cpu.idle.host13": 0, "up": 2, "é": 5} {
		key, err := series.Named(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := key.Partition(8); got != want {
			t.Errorf("%s is in partition %d, was always in %d", name, got, want)
		}
	}
}

func TestIDAndFormat(t *testing.T) {
	if id := series.NewID(7, 1<<32-1); id.Partition() != 7 || id.Number() != 1<<32-1 {
		t.Errorf("id %x is %d of partition %d", id, id.Number(), id.Partition())
	}
	key, _ := series.NewKey([]series.Label{{"job", `a"b`}, {"__name__", "up"}, {"env", "x"}})
	if got := key.Format(); got != `up{env="x",job="a\"b"}` {
		t.Errorf("Format: %s", got)
	}
	if got := series.Key("\xff").Format(); got != `"\xff"` {
		t.Errorf("Format of a broken key: %s", got)
	}
}

func TestKinds(t *testing.T) {
	for name, want := range map[string]series.Kind{
		"http_requests_total": series.Counter, "rpc_seconds_bucket": series.Counter, "rpc_seconds_count": series.Counter,
		"rpc_seconds_sum": series.Counter, "host_load1": series.Gauge, "total": series.Gauge,
	} {
		if got := series.KindOfName(name); got != want {
			t.Errorf("KindOfName(%q) = %v, want %v", name, got, want)
		}
	}
	for typ, want := range map[string]series.Kind{"counter": series.Counter, "histogram": series.Counter, "gauge": series.Gauge, "": series.Gauge} {
		if got := (series.Metadata{Type: typ}).Kind(); got != want {
			t.Errorf("kind of type %q: %v, want %v", typ, got, want)
		}
	}
	if s := fmt.Sprint(series.Gauge, series.Counter, series.Event, series.Kind(9)); s != "gauge counter event unknown" {
		t.Errorf("names: %s", s)
	}
}
