package index

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"carillon/series"
)

func key(t testing.TB, pairs ...string) series.Key {
	t.Helper()
	var list []series.Label
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, series.Label{Name: pairs[i], Value: pairs[i+1]})
	}
	k, err := series.NewKey(list)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func enter(x *Index, keys ...series.Key) []uint32 {
	definitions, numbers := make([]series.Definition, len(keys)), make([]uint32, len(keys))
	for i, k := range keys {
		definitions[i] = series.Definition{Key: k, Kind: series.Kind(i % 3)}
	}
	x.Enter(definitions, numbers)
	return numbers
}

func publish(x *Index) { x.Publish(func() {}) }

// keyOf is a key of which nothing was kept outside the index.
func keyOf(x *Index, number uint32) series.Key {
	k, _ := x.AppendKey(nil, number)
	return series.Key(k)
}

// several makes n different keys: some labels have few values, one has a value for each
// series, and some keys are as long as keys may be.
func several(t testing.TB, n int) []series.Key {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	keys := make([]series.Key, n)
	for i := range keys {
		pairs := []string{
			series.MetricName, fmt.Sprint("m", random.IntN(50)), "id", fmt.Sprint(i),
			fmt.Sprint("label", random.IntN(20)), "x", "host", fmt.Sprint("h", random.IntN(500)),
		}
		switch i % 1000 {
		case 1: // as many labels as there may be
			for len(pairs) < 2*series.MaxLabels {
				pairs = append(pairs, fmt.Sprint("more", len(pairs)), fmt.Sprint(random.IntN(1000)))
			}
		case 2: // texts that fill many cells
			for j := range 3 {
				pairs = append(pairs, fmt.Sprint(strings.Repeat("n", series.MaxNameBytes-1), j), strings.Repeat("ä", series.MaxValueBytes/2))
			}
		}
		keys[i] = key(t, pairs...)
	}
	return keys
}

func TestKeysAndNumbers(t *testing.T) {
	x := New(7)
	keys := several(t, 10_000)
	for i := 0; i < len(keys); i += 100 {
		some := keys[i : i+100]
		for j, number := range enter(x, append(slices.Clone(some), some...)...) {
			if want := uint32(i + j%100); number != want {
				t.Fatalf("series %d was entered as %d", want, number)
			}
		}
		publish(x)
	}
	for i, k := range keys {
		if number, ok := x.Find(k); !ok || number != uint32(i) {
			t.Fatalf("series %d is found as %d, %v", i, number, ok)
		}
		if got := keyOf(x, uint32(i)); got != k {
			t.Fatalf("series %d is %s, want %s", i, got.Format(), k.Format())
		}
		if kind, ok := x.Kind(uint32(i)); !ok || kind != series.Kind(i%100%3) {
			t.Fatalf("series %d is a %s, %v", i, kind, ok)
		}
		pairs, _ := k.Labels()
		for _, absent := range []series.Key{k[:len(k)-1], k + "\x01z\x01z", key(t, "id", fmt.Sprint(i)), key(t, "host", pairs[1].Value)} {
			if number, ok := x.Find(absent); ok {
				t.Fatalf("%q is found as %d", string(absent), number)
			}
		}
	}
	for _, bad := range []series.Key{"", "\x80", "\x00", "\xff\xff\xff\xff\xff"} {
		if _, ok := x.Find(bad); ok {
			t.Errorf("%q is found", string(bad))
		}
	}
	if err := x.Verify(func(series.Key) error { return nil }); err != nil {
		t.Error(err)
	}
	if err := x.Verify(func(series.Key) error { return errors.ErrUnsupported }); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("error %v", err)
	}
}

// What is entered is nowhere to be seen before it is published.
func TestHiddenUntilPublished(t *testing.T) {
	x := New(7)
	a, b := key(t, "a", "1", "b", "2"), key(t, "a", "1", "c", "3")
	enter(x, a)
	publish(x)
	enter(x, a, b)
	matches := labels.MustNewMatcher(labels.MatchRegexp, "c", ".*3.*")
	seen := func() (all []any) {
		_, found := x.Find(b)
		_, hasKey := x.AppendKey(nil, 1)
		_, hasKind := x.Kind(1)
		names := x.LabelNames()
		slices.Sort(names)
		return []any{
			found, hasKey, hasKind, x.Count(), names, x.LabelValues("c"), x.LabelValues("c", matches),
			x.Select(), x.Select(matches), x.With("a", "1"), x.With("c", "3"),
		}
	}
	none := []uint32{}
	before := []any{false, false, false, 1, []string{"a", "b"}, []string(nil), []string(nil), []uint32{0}, none, []uint32{0}, none}
	if diff := cmp.Diff(before, seen()); diff != "" {
		t.Errorf("hidden: -want +got\n%s", diff)
	}
	if x.Entered() != 2 {
		t.Errorf("%d are entered", x.Entered())
	}
	publish(x)
	after := []any{true, true, true, 2, []string{"a", "b", "c"}, []string{"3"}, []string{"3"}, []uint32{0, 1}, []uint32{1}, []uint32{0, 1}, []uint32{1}}
	if diff := cmp.Diff(after, seen()); diff != "" {
		t.Errorf("published: -want +got\n%s", diff)
	}
}

// The answers to matchers, against a look at each series. The series are so many that
// each way of putting lists together is taken.
func TestSelectAgainstEachSeries(t *testing.T) {
	x := New(7)
	keys := several(t, 5000)
	for some := range slices.Chunk(keys, MaxEntered) {
		enter(x, some...)
		publish(x)
	}
	random := rand.New(rand.NewPCG(3, 4))
	texts := []string{"m1", "m7", "m[0-9]", "m.*", "h1.?", "h33", "h2|h3|h444|none", "x", ".*", "", "17", "[1-4]+"}
	names := []string{series.MetricName, "host", "id", "label3", "label4", "none"}
	for range 500 {
		var matchers []*labels.Matcher
		for range 1 + random.IntN(3) {
			kind := labels.MatchType(random.IntN(4))
			matchers = append(matchers, labels.MustNewMatcher(kind, names[random.IntN(len(names))], texts[random.IntN(len(texts))]))
		}
		want, values := []uint32{}, map[string]bool{}
		for number, k := range keys {
			if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(k.Get(m.Name)) }) {
				want = append(want, uint32(number))
				values[k.Get("host")] = true
			}
		}
		if diff := cmp.Diff(want, x.Select(matchers...)); diff != "" {
			t.Fatalf("%v: -want +got\n%s", matchers, diff)
		}
		got := x.LabelValues("host", matchers...)
		if slices.ContainsFunc(got, func(v string) bool { return !values[v] }) || len(got) != len(values) {
			t.Fatalf("%v: hosts %v, want %v", matchers, got, values)
		}
	}
}

func TestEnteringWhatIsKnownDoesNotAllocate(t *testing.T) {
	x := New(7)
	definitions, numbers := []series.Definition{{Key: several(t, 1)[0]}}, make([]uint32, 1)
	x.Enter(definitions, numbers)
	publish(x)
	var key []byte
	if n := testing.AllocsPerRun(100, func() {
		x.Enter(definitions, numbers)
		x.Find(definitions[0].Key)
		key, _ = x.AppendKey(key[:0], 0)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzValid(f *testing.F) {
	f.Add(string(key(f, "a", "b", series.MetricName, "up")))
	f.Add("\x01b\x01x\x01a\x01x")
	f.Add("\x81\x00a\x01x")
	f.Add(string(key(f, "long", strings.Repeat("ä", 200))))
	f.Fuzz(func(t *testing.T, k string) {
		_, err := series.Key(k).Labels()
		if Valid(series.Key(k)) != (err == nil) {
			t.Errorf("%q: valid %v, but %v", k, err != nil, err)
		}
	})
}
