package require

import (
	"fmt"
	"testing"
)

// recorder is a testing.TB that remembers how it ended instead of ending.
type recorder struct {
	testing.TB
	outcome string
}

func (r *recorder) Helper() {}
func (r *recorder) Skipf(format string, args ...any) {
	r.outcome = "skip: " + fmt.Sprintf(format, args...)
}
func (r *recorder) Fatalf(format string, args ...any) {
	r.outcome = "fail: " + fmt.Sprintf(format, args...)
}

func TestFeature(t *testing.T) {
	const (
		skip = "skip: chromium is missing: not installed (set CARILLON_REQUIRE=chromium to fail instead)"
		fail = "fail: chromium is required by CARILLON_REQUIRE but missing: not installed"
	)
	for _, c := range []struct {
		required string
		ok       bool
		want     string
	}{
		{"", true, ""},
		{"chromium", true, ""},
		{"", false, skip},
		{"prometheus", false, skip},
		{"chromium", false, fail},
		{"prometheus, chromium", false, fail},
		{"all", false, fail},
	} {
		t.Setenv(Variable, c.required)
		r := &recorder{}
		Feature(r, "chromium", c.ok, "not installed")
		if r.outcome != c.want {
			t.Errorf("required %q, ok %v: got %q, want %q", c.required, c.ok, r.outcome, c.want)
		}
	}
}
