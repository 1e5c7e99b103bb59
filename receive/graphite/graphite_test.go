package graphite

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"carillon/series"
)

func labels(pairs ...string) (list []series.Label) {
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, series.Label{Name: pairs[i], Value: pairs[i+1]})
	}
	return list
}

func TestParse(t *testing.T) {
	const name = series.MetricName
	for line, want := range map[string]Line{
		"a.b 1 2":                        {Labels: labels(name, "a.b"), Value: 1, Time: 2000},
		"  a\t1  2.25\r":                 {Labels: labels(name, "a"), Value: 1, Time: 2250},
		"naïve 1e3 1700000000.123":       {Labels: labels(name, "naïve"), Value: 1000, Time: 1700000000123},
		"a;x=1;y=ü=2 -0.5 2":             {Labels: labels(name, "a", "x", "1", "y", "ü=2"), Value: -0.5, Time: 2000},
		"a nan N":                        {Labels: labels(name, "a"), Value: math.NaN(), Now: true},
		"a -Inf -1":                      {Labels: labels(name, "a"), Value: math.Inf(-1), Now: true},
		"a 0x1p-2 1e9":                   {Labels: labels(name, "a"), Value: 0.25, Time: 1e12},
		"a 9007199254740993 -2":          {Labels: labels(name, "a"), Value: 9007199254740992, Time: -2000},
		"":                               {},
		" \t\r":                          {},
		"Upper/case:\"quoted\" 1 2":      {Labels: labels(name, `Upper/case:"quoted"`), Value: 1, Time: 2000},
		"a 5 " + strings.Repeat("0", 15): {Labels: labels(name, "a"), Value: 5},
	} {
		var got Line
		if reason := got.Parse([]byte(line)); reason != "" {
			t.Errorf("%q: %s", line, reason)
		}
		got.Name = nil // see FuzzParse
		if diff := cmp.Diff(want, got, cmpopts.EquateNaNs(), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%q: %s", line, diff)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for line, want := range map[string]Reason{
		"a":                Malformed,
		"a 1":              Malformed,
		"a 1 2 3":          Malformed,
		"a b 1 2":          Malformed,
		";x=1 1 2":         BadName,
		"a\x00b 1 2":       BadName,
		"a\u0085b 1 2":     BadName,
		"a\x7f 1 2":        BadName,
		"a\xff 1 2":        NotUTF8,
		"a;x=\xc3 1 2":     NotUTF8,
		"a;x 1 2":          BadTag,
		"a; 1 2":           BadTag,
		"a;=1 1 2":         BadTag,
		"a;x= 1 2":         BadTag,
		"a;x=~1 1 2":       BadTag,
		"a;x!=1 1 2":       BadTag,
		"a;x=\x1b 1 2":     BadTag,
		"a;x=1;x=2 1 2":    BadTag,
		"a;__name__=b 1 2": BadTag,
		"a 1,5 2":          BadValue,
		"a 1e999 2":        BadValue,
		"a one 2":          BadValue,
		"a 1 x":            BadTime,
		"a 1 NaN":          BadTime,
		"a 1 Inf":          BadTime,
		"a 1 1e300":        BadTime,
		"a 1 n":            BadTime,
		"a" + strings.Repeat(";x=1", 200) + " 1 2": BadTag,
		"a " + strings.Repeat("1", 2000) + " 2":    BadValue,
	} {
		var got Line
		if reason := got.Parse([]byte(line)); reason != want {
			t.Errorf("%.80q: %q, want %q", line, reason, want)
		}
	}
}

func TestParseDoesNotAllocate(t *testing.T) {
	line := []byte("cpu.idle;host=a;dc=b 1.25 1700000000")
	var l Line
	if n := testing.AllocsPerRun(100, func() { l.Split(line); l.Parse(line) }); n != 0 {
		t.Errorf("%v allocations a line", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, line := range []string{"a.b;c=d 1 2", "a 1 N", "a;b 1 2", "\xff 1 2", "a 1e400 -1\r", "a\t 1 2", "a 1 2\r", "a 1.5 N"} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		before := string(line)
		var l Line
		reason := l.Parse(line)
		if string(line) != before {
			t.Fatal("the line was changed")
		}
		var split Line
		ok := split.Split(line)
		if ok && len(l.Name) > 0 && bytes.Equal(split.Name, l.Name) && reason != NotUTF8 && reason != BadName && reason != BadTag {
			same := math.Float64bits(split.Value) == math.Float64bits(l.Value) && split.Time == l.Time && split.Now == l.Now
			if reason != "" || !same {
				t.Errorf("split into %+v, parsed as %+v %s", split, l, reason)
			}
		}
		if reason != "" || len(l.Labels) == 0 {
			return
		}
		if usual := bytes.Count(line, []byte{' '}) == 2 && !bytes.ContainsAny(line, "\t\r"); usual && !ok {
			t.Errorf("not split, parsed as %+v", l)
		}
		if !bytes.HasPrefix(bytes.TrimLeft(line, " \t\r"), l.Name) || !bytes.HasPrefix(l.Name, []byte(l.Labels[0].Value)) {
			t.Errorf("name %q of %q", l.Name, line)
		}
		for _, label := range l.Labels {
			if label.Name == "" || label.Value == "" || !utf8.ValidString(label.Name) || !utf8.ValidString(label.Value) {
				t.Errorf("label %+v", label)
			}
		}
		if l.Labels[0].Name != series.MetricName {
			t.Errorf("no name: %v", l.Labels)
		}
	})
}
