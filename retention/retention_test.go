package retention

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"carillon/series"
	"carillon/store"
)

func tiers(t testing.TB) []store.Tier {
	tiers, err := store.ParseTiers(store.DefaultTiers)
	if err != nil {
		t.Fatal(err)
	}
	return tiers
}

func key(t testing.TB, pairs ...string) series.Key {
	t.Helper()
	var labels []series.Label
	for i := 0; i < len(pairs); i += 2 {
		labels = append(labels, series.Label{Name: pairs[i], Value: pairs[i+1]})
	}
	key, err := series.NewKey(labels)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

const example = `
rules:
- match: '{job="batch", host!~"a.*"}'
  tiers: 10s:2d, 5m:90d
  max_series: 100000
- match: up
  max_points: 10
- match: '{job="batch"}'
  tiers: 1h:1y
`

const day = 24 * time.Hour

func TestParse(t *testing.T) {
	rules, err := Parse([]byte(example), tiers(t))
	if err != nil {
		t.Fatal(err)
	}
	want := Rules{
		{Match: `{job="batch", host!~"a.*"}`, Keep: []time.Duration{2 * day, 90 * day, 0}, MaxSeries: 100_000},
		{Match: "up", Keep: []time.Duration{0, 0, 0}, MaxPoints: 10},
		{Match: `{job="batch"}`, Keep: []time.Duration{0, 0, 365 * day}},
	}
	if diff := cmp.Diff(want, rules, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Matchers" }, cmp.Ignore())); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]time.Duration{2 * day, 90 * day, 365 * day}, rules.Shortest()); diff != "" {
		t.Error(diff)
	}
	for _, c := range []struct {
		key  series.Key
		want int
	}{
		{key(t, "__name__", "x", "job", "batch"), 0},
		{key(t, "__name__", "x", "job", "batch", "host", "b1"), 0},
		{key(t, "__name__", "x", "job", "batch", "host", "a1"), 2},
		{key(t, "__name__", "up", "job", "batch", "host", "a1"), 1},
		{key(t, "__name__", "x"), -1},
	} {
		if got := rules.Find(c.key); got != c.want {
			t.Errorf("%s is under rule %d, not %d", c.key.Format(), got, c.want)
		}
	}
	if empty, err := Parse(nil, tiers(t)); err != nil || len(empty) != 0 {
		t.Errorf("an empty file: %v, %v", empty, err)
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"rules: 7", "cannot unmarshal"},
		{"rule:\n- match: up", "field rule not found"},
		{"rules:\n- up", "rule 1: want fields like match and tiers"},
		{"rules:\n- tiers: 10s:1d", "rule 1: match: it is missing"},
		{"rules:\n- match: up", "rule 1: it rules nothing"},
		{"rules:\n- match: up\n  max_points: 3\n- match: '{'\n  max_points: 3", "rule 2: match: "},
		{"rules:\n- match: up\n  tier: 10s:1d", "rule 1: tier: there is no such field"},
		{"rules:\n- match: up\n  tiers: [10s:1d]", "rule 1: tiers: want one value"},
		{"rules:\n- match: up\n  tiers: 10s", `rule 1: tiers: tier "10s": want resolution:retention`},
		{"rules:\n- match: up\n  tiers: 7s:1d", "rule 1: tiers: 7s:1d: there is no tier of 7s"},
		{"rules:\n- match: up\n  tiers: 10s:20d", "rule 1: tiers: 10s:20d: the tier keeps nothing for longer than 10d"},
		{"rules:\n- match: up\n  tiers: 10s:1s", "rule 1: tiers: 10s:1s: the retention is shorter than the resolution"},
		{"rules:\n- match: up\n  tiers: 10s:1d,10s:2d", "rule 1: tiers: 10s:2d: the tier is named twice"},
		{"rules:\n- match: up\n  tiers: 5m:5d", "rule 1: tiers: 5m:5d: the finer tier would be kept for longer, 10d"},
		{"rules:\n- match: up\n  max_series: -1", `rule 1: max_series: "-1": want a whole number of at least 1`},
		{"rules:\n- match: up\n  max_points: many", `rule 1: max_points: "many": want`},
		{"rules:\n" + strings.Repeat("- {match: up, max_points: 1}\n", maxRules+1), "256 rules: the limit is 255"},
	} {
		if _, err := Parse([]byte(c.text), tiers(t)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.text[:min(len(c.text), 60)], err, c.want)
		}
	}
}

// FuzzParse: any text is an error or rules that keep to their bounds.
func FuzzParse(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte("rules:\n- &a {match: up, max_points: 1}\n- *a"))
	all := tiers(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		rules, err := Parse(text, all)
		if err != nil {
			return
		}
		for _, r := range rules {
			if r.Match == "" || len(r.Keep) != len(all) || r.MaxSeries < 0 || r.MaxPoints < 0 {
				t.Errorf("%q became %+v", text, r)
			}
			for i, d := range r.Keep {
				if d < 0 || d > all[i].Retention {
					t.Errorf("%q keeps tier %d for %s", text, i, d)
				}
			}
		}
	})
}
