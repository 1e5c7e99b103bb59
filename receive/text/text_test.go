package text

import (
	"math"
	"strconv"
	"testing"
)

func TestSeconds(t *testing.T) {
	for field, want := range map[string]int64{
		"0": 0, "1700000000": 1700000000000, "1700000000.123": 1700000000123, "-1": -1000, "1.0005": 1001, "1e3": 1000000,
		"999999999999999": 999999999999999000, "0001": 1000,
	} {
		if got, ok := Seconds([]byte(field)); !ok || got != want {
			t.Errorf("%q: %d %v, want %d", field, got, ok, want)
		}
	}
	for _, field := range []string{"", "x", "nan", "inf", "1e300", "99999999999999999999", "1 ", "--1"} {
		if got, ok := Seconds([]byte(field)); ok {
			t.Errorf("%q: %d", field, got)
		}
	}
}

func TestFields(t *testing.T) {
	var fields [2][]byte
	for line, want := range map[string]int{"": 0, " \t\r": 0, "a": 1, " a  b\tc\r": 3, "a\rb": 2} {
		if got := Fields([]byte(line), fields[:]); got != want {
			t.Errorf("%q: %d fields, want %d", line, got, want)
		}
	}
	Fields([]byte(" aa \t bb cc"), fields[:])
	if string(fields[0]) != "aa" || string(fields[1]) != "bb" {
		t.Errorf("fields %q", fields)
	}
}

func FuzzFloat(f *testing.F) {
	f.Add("1.5")
	f.Add("-nan")
	f.Add("1e400")
	f.Fuzz(func(t *testing.T, field string) {
		got, ok := Float([]byte(field))
		want, err := strconv.ParseFloat(field, 64)
		if len(field) <= maxFieldBytes && (ok != (err == nil) || (ok && math.Float64bits(got) != math.Float64bits(want))) {
			t.Errorf("%q: %v %v", field, got, ok)
		}
		if ms, ok := Seconds([]byte(field)); ok && math.Abs(float64(ms)/1000-want) > 0.001+1e-12*math.Abs(want) {
			t.Errorf("%q: %d ms", field, ms)
		}
	})
}
