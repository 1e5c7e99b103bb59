package main

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs the command line as a person would, see testdata/script.
func TestScripts(t *testing.T) {
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv(beCarillon, "1")
			return os.Symlink(executable, env.WorkDir+"/carillon")
		},
	})
}

// TestEveryVerbShowsAnExample keeps --help useful.
func TestEveryVerbShowsAnExample(t *testing.T) {
	for _, verb := range rootCommand().Commands() {
		if !strings.Contains(verb.Example, "carillon "+verb.Name()) {
			t.Errorf("carillon %s --help has no example", verb.Name())
		}
		if verb.Short == "" {
			t.Errorf("carillon %s has no short description", verb.Name())
		}
	}
}

func TestListenersAndLocks(t *testing.T) {
	data := tempData(t)
	first := startServer(t, data, "--agent=false")
	refuse := func(what string, want string, args ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), startLasts)
		defer cancel()
		out, err := carillonContext(ctx, append([]string{"serve"}, args...)...).CombinedOutput()
		if err == nil || ctx.Err() != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v, want an error with %q; said:\n%s", what, err, want, out)
		}
	}
	taken := strings.TrimPrefix(first.URL, "http://")
	refuse("a data directory in use", "in use by process", "--data", data, "--listen", "127.0.0.1:0")
	refuse("an HTTP port asked for", "--listen: listen tcp "+taken, "--data", tempData(t), "--listen", taken)
	refuse("a Graphite port asked for", "--graphite: ", "--data", tempData(t), "--listen", "127.0.0.1:0", "--graphite", taken)
	refuse("other resolutions", "resolutions are fixed", "--data", stopped(t), "--tiers", "20s:1d")
	refuse("wrong tiers", "must be a multiple", "--data", tempData(t), "--tiers", "10s:1d,25s:10d")
}

// stopped is a data directory that was used before.
func stopped(t *testing.T) string {
	data := tempData(t)
	if err := startServer(t, data, "--agent=false").stop(); err != nil {
		t.Fatal(err)
	}
	return data
}
