package directory

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"carillon/series"
)

// matchers parses a selector such as {a="b"}.
func matchers(t testing.TB, selector string) []*labels.Matcher {
	t.Helper()
	m, err := parser.NewParser(parser.Options{}).ParseMetricSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestSelect(t *testing.T) {
	d := openMem(t, vfs.NewMem(), 4)
	define(t, d,
		key(t, "__name__", "up", "job", "a", "host", "h1"),
		key(t, "__name__", "up", "job", "a", "host", "h2"),
		key(t, "__name__", "up", "job", "b", "host", "h1"),
		key(t, "__name__", "up"),
		key(t, "__name__", "load", "host", "h1"),
		key(t, "job", "b"),
	)
	tests := []struct{ selector, want string }{
		{`{__name__="up"}`, "up up{a,h1} up{a,h2} up{b,h1}"},
		{`up{job="a"}`, "up{a,h1} up{a,h2}"},
		{`up{job=""}`, "up"},
		{`up{job!=""}`, "up{a,h1} up{a,h2} up{b,h1}"},
		{`up{job!="a"}`, "up up{b,h1}"},
		{`up{job=~"a|b"}`, "up{a,h1} up{a,h2} up{b,h1}"},
		{`up{job=~"a|"}`, "up up{a,h1} up{a,h2}"},
		{`up{job=~"a?"}`, "up up{a,h1} up{a,h2}"},
		{`up{job=~".+"}`, "up{a,h1} up{a,h2} up{b,h1}"},
		{`up{job=~".*"}`, "up up{a,h1} up{a,h2} up{b,h1}"},
		{`up{job!~"a|c"}`, "up up{b,h1}"},
		{`up{job!~"a|"}`, "up{b,h1}"},
		{`up{job!~".+"}`, "up"},
		{`up{job=~"(?i:A)"}`, "up{a,h1} up{a,h2}"},
		{`up{job=~"[ab]",host="h1"}`, "up{a,h1} up{b,h1}"},
		{`up{job="a",job="b"}`, ""},
		{`up{job!="a",job!="b"}`, "up"},
		{`up{gone="x"}`, ""},
		{`up{gone!="x"}`, "up up{a,h1} up{a,h2} up{b,h1}"},
		{`{host="h1"}`, "load{,h1} up{a,h1} up{b,h1}"},
		{`{job="b",__name__=""}`, "{b,}"},
		{`{__name__=~".+",job=""}`, "load{,h1} up"},
	}
	for _, test := range tests {
		t.Run(test.selector, func(t *testing.T) {
			ids, err := d.Select(matchers(t, test.selector)...)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.IsSorted(ids) {
				t.Errorf("not sorted: %v", ids)
			}
			if got := short(d, ids); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
	all, err := d.Select()
	if err != nil || len(all) != 6 {
		t.Errorf("no matcher selects %d series, %v; want all 6", len(all), err)
	}
}

// short prints series as name{job,host}, sorted.
func short(d *Directory, ids []series.ID) string {
	names := make([]string, len(ids))
	for i, id := range ids {
		k, _ := d.Key(id)
		names[i] = k.Get("__name__")
		if job, host := k.Get("job"), k.Get("host"); job != "" || host != "" {
			names[i] += fmt.Sprintf("{%s,%s}", job, host)
		}
	}
	slices.Sort(names)
	list := fmt.Sprint(names)
	return list[1 : len(list)-1]
}

func TestLabels(t *testing.T) {
	d := openMem(t, vfs.NewMem(), 4)
	var keys []series.Key
	for i := range 300 {
		keys = append(keys, key(t, "__name__", "m", "id", fmt.Sprint(i), fmt.Sprint("third", i%3), "x"))
	}
	define(t, d, keys...)
	tests := []struct {
		name, selector string
		got            func(...*labels.Matcher) ([]string, error)
		want           []string
	}{
		{"names", ``, d.LabelNames, []string{"__name__", "id", "third0", "third1", "third2"}},
		{"names of some", `{id=~"0|3|4"}`, d.LabelNames, []string{"__name__", "id", "third0", "third1"}},
		{"names of none", `{id="none"}`, d.LabelNames, nil},
		{"values", ``, func(m ...*labels.Matcher) ([]string, error) { return d.LabelValues("third1", m...) }, []string{"x"}},
		{"values of some", `{third1="x",id=~".[0-3]"}`, func(m ...*labels.Matcher) ([]string, error) { return d.LabelValues("id", m...) },
			[]string{"10", "13", "22", "31", "40", "43", "52", "61", "70", "73", "82", "91"}},
		{"values of none", `{third1="y"}`, func(m ...*labels.Matcher) ([]string, error) { return d.LabelValues("id", m...) }, nil},
		{"values of no label", ``, func(m ...*labels.Matcher) ([]string, error) { return d.LabelValues("none", m...) }, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var m []*labels.Matcher
			if test.selector != "" {
				m = matchers(t, test.selector)
			}
			got, err := test.got(m...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}
