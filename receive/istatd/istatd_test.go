package istatd

import (
	"bytes"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"carillon/bucket"
)

func TestParse(t *testing.T) {
	names := func(list ...string) []string { return list }
	for line, want := range map[string]Line{
		"cpu.idle 97.5":          {Form: Value, Names: names("cpu.idle"), Value: 97.5, Now: true},
		"  \tcpu.idle 1\r":       {Form: Value, Names: names("cpu.idle"), Value: 1, Now: true},
		"cpu 1700000000 3":       {Form: Value, Names: names("cpu"), Value: 3, Time: 1700000000000},
		"cpu 1700000000.5 -3":    {Form: Value, Names: names("cpu"), Value: -3, Time: 1700000000500},
		"*hits 2":                {Form: Value, Event: true, Names: names("hits"), Value: 2, Now: true},
		"*hits 10 2":             {Form: Value, Event: true, Names: names("hits"), Value: 2, Time: 10000},
		"x NaN":                  {Form: Value, Names: names("x"), Value: math.NaN(), Now: true},
		"x 10 7 49 7 7 1":        {Form: Value, Names: names("x"), Value: 7, Time: 10000},
		"x 10 Inf Inf Inf Inf 1": {Form: Value, Names: names("x"), Value: math.Inf(1), Time: 10000},
		"x 10 30 350 5 15 3": {Form: Aggregate, Names: names("x"), Time: 10000, Bucket: bucket.Bucket{
			FirstTime: 10000, LastTime: 10000, First: 10, Last: 10, Count: 3, Sum: 30, Min: 5, Max: 15, M2: 50}},
		"*x^y 10 4 8 2 2 2": {Form: Aggregate, Event: true, Names: names("x.y"), Time: 10000, Bucket: bucket.Bucket{
			FirstTime: 10000, LastTime: 10000, First: 2, Last: 2, Count: 2, Sum: 4, Min: 2, Max: 2}},
		"x 10 30 200 5 15 3": {Form: Aggregate, Names: names("x"), Time: 10000, Bucket: bucket.Bucket{ // sumsq too small: noise
			FirstTime: 10000, LastTime: 10000, First: 10, Last: 10, Count: 3, Sum: 30, Min: 5, Max: 15}},

		"a^x^y 1":   {Form: Value, Names: names("a.x", "a.y"), Value: 1, Now: true},
		"a^x^y^ 1":  {Form: Value, Names: names("a", "a.x", "a.y"), Value: 1, Now: true},
		"a^^b 1":    {Form: Value, Names: names("a.b"), Value: 1, Now: true},
		"a^ 1":      {Form: Value, Names: names("a"), Value: 1, Now: true},
		"a^^^ 1":    {Form: Value, Names: names("a"), Value: 1, Now: true},
		"a^b^b^B 1": {Form: Value, Names: names("a.b"), Value: 1, Now: true},

		"CPU/Idle:a\\b\"c'd\x01\xff 1": {Form: Value, Names: names("cpu_idle_a_b_c_d__"), Value: 1, Now: true},
		"a=b,c;d 1":                    {Form: Value, Names: names("a=b,c;d"), Value: 1, Now: true},

		"#hostname web 1": {Form: Remark, Key: []byte("hostname"), Text: []byte("web 1")},
		"#proto\tx 1 1\r": {Form: Remark, Key: []byte("proto"), Text: []byte("x 1 1")},
		"#":               {Form: Remark},
		"":                {}, " \t\r": {}, "!anything at all": {}, "@a 1": {}, "$a 1": {}, "%a 1": {}, "&a 1": {}, ";a 1": {}, ":a 1": {},
	} {
		var got Line
		if reason := got.Parse([]byte(line)); reason != "" {
			t.Errorf("%q: %s", line, reason)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateNaNs(), cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(Line{}), cmpopts.IgnoreFields(Line{}, "Name")); diff != "" {
			t.Errorf("%q: %s", line, diff)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for line, want := range map[string]Reason{
		"one":                                   Malformed,
		"a 1 2 3":                               Malformed,
		"a 1 2 3 4":                             Malformed,
		"a 1 2 3 4 5":                           Malformed,
		"a 1 2 3 4 5 6 7":                       Malformed,
		"a 1 2 3 4 5 6 7 8 9":                   Malformed,
		"*":                                     BadName,
		"* 1":                                   BadName,
		"* a 1":                                 BadName,
		"^ 1":                                   BadName,
		"^a 1":                                  BadName,
		"a x":                                   BadValue,
		"a 10 x":                                BadValue,
		"a x 1":                                 BadTime,
		"a nan 1":                               BadTime,
		"a 10 x 1 1 1 1":                        BadValue,
		"a 10 0 0 0 0 0":                        BadCount,
		"a 10 1 1 1 1 -1":                       BadCount,
		"a 10 1 1 1 1 1.5":                      BadCount,
		"a 10 1 1 1 1 nan":                      BadCount,
		"a 10 1 1 1 1 1e300":                    BadCount,
		"a 10 100 1 1 2 3":                      MeanOutOfRange,
		"a 10 3 1 2 3 3":                        MeanOutOfRange,
		"a 10 nan 1 1 2 3":                      MeanOutOfRange,
		"a 10 5 25 6 6 1":                       MeanOutOfRange,
		"a 10 6 inf 1 3 3":                      BadValue,
		"a 10 6 12 -inf 3 3":                    BadValue,
		"a" + strings.Repeat("^x", 9000) + " 1": BadName,
		"a^" + distinct(MaxNames+1) + " 1":      TooManyNames,
	} {
		var got Line
		if reason := got.Parse([]byte(line)); reason != want {
			t.Errorf("%.80q: %q, want %q", line, reason, want)
		}
	}
	var most Line
	if reason := most.Parse([]byte("a^" + distinct(MaxNames) + " 1")); reason != "" || len(most.Names) != MaxNames {
		t.Errorf("%d names: %q", len(most.Names), reason)
	}
}

// distinct is n different suffixes.
func distinct(n int) string {
	var suffixes []string
	for i := range n {
		suffixes = append(suffixes, strings.Repeat("s", i+1))
	}
	return strings.Join(suffixes, "^")
}

// An average of rounded numbers may lie a little outside their range.
func TestMeanToleratesRounding(t *testing.T) {
	for line, want := range map[string]Reason{
		"a 10 8.64198 10.669 1.23457 1.23457 7":            "", // six digits, as istatd forwards
		"a 10 0.30000001192092896 0.03 0.1 0.1 3":          "",
		"a 10 3.0009 3 1 1 3":                              MeanOutOfRange,
		"a 10 -300000000 3e16 -100000001.5 -100000001.5 3": "",
	} {
		var got Line
		if reason := got.Parse([]byte(line)); reason != want {
			t.Errorf("%q: %q, want %q", line, reason, want)
		}
	}
}

// The squared distances are those of exact arithmetic, up to the last bits,
// also where sumsq and sum²/count cancel nearly all of each other.
func TestSquaredDistances(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		offset := rapid.Float64Range(-1e9, 1e9).Draw(t, "offset")
		values := rapid.SliceOfN(rapid.Float64Range(-1, 1), 2, 50).Draw(t, "values")
		var sum, squares float64
		for _, v := range values {
			sum += offset + v
			squares += (offset + v) * (offset + v)
		}
		got := squaredDistances(sum, squares, float64(len(values)))

		exact := func(f float64) *big.Float { return new(big.Float).SetPrec(2000).SetFloat64(f) }
		want := exact(0).Mul(exact(sum), exact(sum))
		want.Quo(want, exact(float64(len(values)))).Sub(exact(squares), want)
		if want.Sign() <= 0 {
			want = exact(0)
		}
		if w, _ := want.Float64(); math.Abs(got-w) > 1e-14*w {
			t.Fatalf("got %v, want %v", got, w)
		}
	})
	if got := squaredDistances(1e200, 1e308, 2); got != 0 {
		t.Errorf("overflow: %v", got)
	}
}

func TestParseDoesNotAllocate(t *testing.T) {
	line := []byte("*Hits^a^b^ 1700000000 30 350 5 15 3")
	var l Line
	if n := testing.AllocsPerRun(100, func() { l.Split(line); l.Parse(line) }); n != 0 {
		t.Errorf("%v allocations a line", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, line := range []string{"a 1", "*a^^b^ 1 2", "a 10 30 350 5 15 3", "#k v", "!x", "a^^^^^^^^ 1", "\xff 1", "*a 1 2\r", "a\t1 2", "a 1 2 3 4 5 6 7"} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var l, split Line
		reason := l.Parse(line)
		if split.Split(line) && len(l.Name) > 0 && bytes.Equal(split.Name, l.Name) && reason != BadName && reason != TooManyNames {
			same := split.Form == l.Form && split.Event == l.Event && split.Time == l.Time && split.Now == l.Now &&
				(l.Form != Value || math.Float64bits(split.Value) == math.Float64bits(l.Value)) && (l.Form != Aggregate || split.Bucket == l.Bucket)
			if reason != "" || !same {
				t.Errorf("split into %+v, parsed as %+v %s", split, l, reason)
			}
		}
		if reason != "" || l.Form == Nothing || l.Form == Remark {
			return
		}
		if len(l.Names) == 0 || len(l.Names) > MaxNames {
			t.Fatalf("%d names", len(l.Names))
		}
		for _, name := range l.Names {
			if name == "" || strings.ContainsAny(name, "^/:\\\"' ") || strings.ToLower(name) != name {
				t.Errorf("name %q", name)
			}
		}
		if b := l.Bucket; l.Form == Aggregate && (b.Count < 2 || !(b.M2 >= 0) || math.IsInf(b.Sum, 0) || math.IsNaN(b.First)) {
			t.Errorf("bucket %+v", b)
		}
	})
}
