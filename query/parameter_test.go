package query

import (
	"testing"
	"time"
)

func TestParseTime(t *testing.T) {
	for text, want := range map[string]string{
		"0":                         "1970-01-01T00:00:00Z",
		"1435781430.781":            "2015-07-01T20:10:30.781Z",
		"-1.5":                      "1969-12-31T23:59:58.5Z",
		"1e9":                       "2001-09-09T01:46:40Z",
		"2015-07-01T20:10:30.781Z":  "2015-07-01T20:10:30.781Z",
		"2015-07-01T22:10:30+02:00": "2015-07-01T20:10:30Z",
	} {
		got, err := parseTime(text)
		if err != nil || got.UTC().Format(time.RFC3339Nano) != want {
			t.Errorf("%s: %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "now", "NaN", "Inf", "-1e300", "1e12", "9999-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "15s"} {
		if got, err := parseTime(text); err == nil {
			t.Errorf("%s: %s, want an error", text, got)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"15": 15 * time.Second, "0.25": 250 * time.Millisecond, "15s": 15 * time.Second,
		"1h30m": 90 * time.Minute, "1d": 24 * time.Hour, "-2": -2 * time.Second, "100ms": 100 * time.Millisecond,
	} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "NaN", "1e300", "-Inf", "5 minutes", "1.5h"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("%s: %s, want an error", text, got)
		}
	}
}

func FuzzParseTime(f *testing.F) {
	for _, text := range []string{"1435781430.781", "2015-07-01T20:10:30.781Z", "NaN", "1e300", "-0.0005", "0x1p-2"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseTime(text)
		if err != nil {
			return
		}
		if year := got.UTC().Year(); year < 1678 || year > 2261 {
			t.Fatalf("%q: year %d", text, year)
		}
		if again, err := parseTime(got.Format(time.RFC3339Nano)); err != nil || !again.Equal(got) {
			t.Fatalf("%q: %s, and again %s, %v", text, got, again, err)
		}
	})
}

func FuzzParseDuration(f *testing.F) {
	for _, text := range []string{"15s", "0.25", "1e300", "1y", "-3", "9.2e9"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseDuration(text)
		if err != nil {
			return
		}
		if s := got.Seconds(); s < -maxSeconds*1.01 || s > maxSeconds*1.01 {
			t.Fatalf("%q: %s", text, got)
		}
	})
}
