// Package require decides what a test does when something outside the program is
// missing: a browser, a Prometheus, a kernel feature. It takes the feature's name
// and whether it is there, and skips the test with a reason, or fails it where the
// environment variable CARILLON_REQUIRE says that the feature must be there.
// Tests of every package call it; continuous integration sets the variable.
package require

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// Variable names the environment variable that lists the features, separated by
// commas, whose absence is a failure; "all" stands for every feature.
const Variable = "CARILLON_REQUIRE"

// Feature lets the test go on if ok. Otherwise it skips it with the reason, or
// fails it if name is required.
func Feature(t testing.TB, name string, ok bool, reason string) {
	t.Helper()
	switch {
	case ok:
	case Wanted(name):
		t.Fatalf("%s is required by %s but missing: %s", name, Variable, reason)
	default:
		t.Skipf("%s is missing: %s (set %s=%s to fail instead)", name, reason, Variable, name)
	}
}

// Wanted tells whether a feature is required: for tests that take too long to
// run just because they could.
func Wanted(name string) bool { return required(os.Getenv(Variable), name) }

func required(list, name string) bool {
	names := strings.Split(list, ",")
	for i := range names {
		names[i] = strings.TrimSpace(names[i])
	}
	return slices.Contains(names, name) || slices.Contains(names, "all")
}
