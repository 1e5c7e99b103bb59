package text

import (
	"math"
	"strconv"
	"testing"

	"pgregory.net/rapid"
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

// Decimals of every length are read to the bit as strconv reads them.
func TestDecimals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		digits := rapid.StringMatching(`-?[0-9]{0,20}\.?[0-9]{0,20}`).Draw(t, "digits")
		got, ok := Float([]byte(digits))
		want, err := strconv.ParseFloat(digits, 64)
		if ok != (err == nil) || math.Float64bits(got) != math.Float64bits(want) {
			t.Fatalf("%q: %v %v, want %v %v", digits, got, ok, want, err)
		}
	})
	for text, exact := range map[string]bool{
		"0": true, "-0": true, "97.5": true, "1.": true, ".5": true, "9007199254740992": true, "12345678.123456789": false,
		"": false, "-": false, ".": false, "1.2.3": false, "+1": false, "1e3": false, "9007199254740994": false,
	} {
		if _, ok := decimal([]byte(text)); ok != exact {
			t.Errorf("%q: %v", text, ok)
		}
	}
}

func TestCut(t *testing.T) {
	field, rest := Cut([]byte("a\tb  c"))
	if string(field) != "a\tb" || string(rest) != " c" {
		t.Errorf("%q %q", field, rest)
	}
	if field, rest = Cut([]byte("abc")); string(field) != "abc" || rest != nil {
		t.Errorf("%q %q", field, rest)
	}
}

func BenchmarkFloat(b *testing.B) {
	fields := [][]byte{[]byte("0"), []byte("97.5"), []byte("1234567"), []byte("0.123456"), []byte("-17.25")}
	for i := 0; b.Loop(); i++ {
		Float(fields[i%len(fields)])
	}
}

func FuzzFloat(f *testing.F) {
	f.Add("1.5")
	f.Add("-nan")
	f.Add("1e400")
	f.Add("-0.1")
	f.Add("9007199254740993")
	f.Add(".12345678901234567")
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
