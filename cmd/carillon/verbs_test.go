package main

import (
	"fmt"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/model"
)

func TestQueryVerb(t *testing.T) {
	s := startServer(t, tempData(t), "--agent=false")
	now := time.Now().Unix()
	var lines strings.Builder
	for i := range int64(30) {
		fmt.Fprintf(&lines, "verb.wave;job=a %d %d\n", i%5, now-10*(29-i))
	}
	if err := sendLines(s.Graphite, lines.String()); err != nil {
		t.Fatal(err)
	}
	ask := func(args ...string) string {
		t.Helper()
		out, err := carillon(append([]string{"query", "--url", s.URL}, args...)...).CombinedOutput()
		if err != nil {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{`{"verb.wave"}`}, []string{`job="a"`, " 4\n"}},
		{[]string{`{"verb.wave"}`, "--range", "5m", "--step", "10s"}, []string{"series", "newest", "▁", "█", `job="a"`}},
		{[]string{`sum(count_over_time({"verb.wave"}[1h]))`}, []string{"30"}},
		{[]string{`{"verb.wave"}[1m]`}, []string{"▁"}},
		{[]string{"1 + 1"}, []string{"2"}},
		{[]string{"nothing"}, []string{"no series"}},
		{[]string{"nothing", "--range", "1h"}, []string{"no series"}},
	} {
		out := ask(c.args...)
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("%v: want %q in\n%s", c.args, want, out)
			}
		}
	}
	out, err := carillon("query", "--url", s.URL, "sum(").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "parse error") {
		t.Errorf("a bad expression: %v\n%s", err, out)
	}
}

// TestAgentVerb starts an agent before its server is there.
func TestAgentVerb(t *testing.T) {
	address := freePort(t)
	cmd := carillon("agent", "--to", "http://"+address, "--interval", "1s", "--host", "separate", "--buffer", tempData(t))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, tempData(t), "--agent=false", "--listen", address)
	eventually(t, "the agent's numbers arrive", func() error {
		var vector model.Vector
		if err := get(s.URL, "/api/v1/query", url.Values{"query": {`count_over_time(host_load1{host="separate"}[1m])`}}, &vector); err != nil {
			return err
		}
		if len(vector) != 1 {
			return fmt.Errorf("%d series", len(vector))
		}
		return nil
	})
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
}

// TestUnknownVerbs: who mistypes a verb is told, wherever it stands; who names none is shown what there are.
func TestUnknownVerbs(t *testing.T) {
	for _, above := range []string{"", "bench", "directory", "import", "object"} {
		var args []string
		if above != "" {
			args = append(args, above)
		}
		if out, err := carillon(args...).CombinedOutput(); err != nil || !strings.Contains(string(out), "Available Commands:") {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
		args = append(args, "nonsense")
		if out, err := carillon(args...).CombinedOutput(); err == nil || !strings.Contains(string(out), `unknown command "nonsense"`) {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
	}
}
