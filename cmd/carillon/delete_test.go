package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// graphiteSeries is Graphite lines of one name, one every ten seconds, at the values of their
// position, the newest at now.
func graphiteSeries(name string, n, now int64) string {
	var lines strings.Builder
	for i := range n {
		fmt.Fprintf(&lines, "%s %d %d\n", name, i, now-10*(n-1-i))
	}
	return lines.String()
}

// TestDeleteVerb deletes, kills the server right after the answer, and finds nothing
// of it afterwards, but all else, and what was sent again.
func TestDeleteVerb(t *testing.T) {
	data := tempData(t)
	s := startServer(t, data, "--agent=false")
	now := time.Now().Unix()
	const n = 60
	if err := sendLines(s.Graphite, graphiteSeries("deleted.a", n, now)+graphiteSeries("deleted.b", n, now)+graphiteSeries("other", n, now)); err != nil {
		t.Fatal(err)
	}
	at := func(i int64) string { return fmt.Sprint(now - 10*(n-1-i)) }
	run := func(args ...string) (string, error) {
		out, err := carillon(append([]string{"delete", "--url", s.URL}, args...)...).CombinedOutput()
		return string(out), err
	}
	const selector = `{__name__=~"deleted\\..*"}`
	for _, c := range []struct {
		want string
		args []string
	}{
		{"--match is missing", nil},
		{"nobody is there to be asked", []string{"--match", selector}},
		{"is no time", []string{"--match", selector, "--from", "soon"}},
		{"invalid parameter", []string{"--match", "{{", "--yes"}},
	} {
		if out, err := run(c.args...); err == nil || !strings.Contains(out, c.want) {
			t.Errorf("%q: %v, want %q in\n%s", c.args, err, c.want, out)
		}
	}
	if out, err := run("--match", selector, "--dry-run"); err != nil || !strings.Contains(out, "nothing was deleted") || !strings.Contains(out, "  2\n") {
		t.Errorf("dry run: %v\n%s", err, out)
	}
	out, err := run("--match", selector, "--from", at(20), "--to", at(39), "--yes", "--json")
	var said struct {
		Series  int
		Deleted bool
	}
	if err != nil || json.Unmarshal([]byte(out), &said) != nil || said.Series != 2 || !said.Deleted {
		t.Fatalf("delete: %v\n%s", err, out)
	}
	s.kill()
	s = startServer(t, data, "--agent=false")
	check := func(when string, want int) {
		t.Helper()
		left := samples(t, s.URL, selector, time.Unix(now, 0))
		if want > 0 && len(left) != 2 {
			t.Errorf("%s: %d series are left, want both", when, len(left))
		}
		for series, points := range left {
			if len(points) != want {
				t.Errorf("%s: %s has %d samples, want %d", when, series, len(points), want)
			}
		}
		for series, points := range samples(t, s.URL, "other", time.Unix(now, 0)) {
			if len(points) != n {
				t.Errorf("%s: %s has %d samples, want all %d", when, series, len(points), n)
			}
		}
	}
	check("after the kill", n-20)
	if err := sendLines(s.Graphite, fmt.Sprintf("deleted.a 7 %s\ndeleted.b 7 %s\n", at(25), at(25))); err != nil {
		t.Fatal(err)
	}
	check("with a point that came later", n-20+1)

	// All of it, with the newest sample: sent again it is no duplicate.
	response, err := http.PostForm(s.URL+"/api/v1/admin/tsdb/delete_series", url.Values{"match[]": {selector}})
	if err != nil || response.StatusCode != http.StatusNoContent {
		t.Fatalf("%v: %v", err, response)
	}
	response.Body.Close()
	check("with everything deleted", 0)
	if got := samples(t, s.URL, selector, time.Unix(now, 0)); len(got) != 0 {
		t.Errorf("there is still %v", got)
	}
	if err := sendLines(s.Graphite, fmt.Sprintf("deleted.a %d %d\ndeleted.b %d %d\n", n-1, now, n-1, now)); err != nil {
		t.Fatal(err)
	}
	check("sent again", 1)
}

func TestDeleteIsRefusedToOtherSites(t *testing.T) {
	s := startServer(t, tempData(t), "--agent=false")
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
		s.URL+"/api/v1/admin/tsdb/delete_series?match[]=up", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Origin", "http://elsewhere.example")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusForbidden {
		t.Errorf("a page of another site was answered %s", response.Status)
	}
}

// TestRetentionRules: a server keeps to its rules, says what it refuses and why, and
// the check shows the same.
func TestRetentionRules(t *testing.T) {
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	text := "rules:\n- match: '{__name__=~\"short.*\"}'\n  tiers: 10s:1h\n  max_series: 2\n- match: '{__name__=~\"busy.*\"}'\n  max_points: 1\n"
	if err := os.WriteFile(rules, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, tempData(t), "--agent=false", "--retention-rules", rules)
	now := time.Now().Unix()
	old := now - 4*3600
	var lines strings.Builder
	for i := range 4 {
		fmt.Fprintf(&lines, "short.%d 1 %d\nshort.%d 2 %d\nlong.%d 1 %d\n", i, old, i, now, i, old)
	}
	fmt.Fprintf(&lines, "busy 1 %d\nbusy 2 %d\n", now-now%10-10, now-now%10-9)
	if err := sendLines(s.Graphite, lines.String()); err != nil {
		t.Fatal(err)
	}
	if got := samples(t, s.URL, `{__name__=~"short.*"}`, time.Unix(now, 0)); len(got) != 2 {
		t.Errorf("series under a limit of two: %v", got)
	}
	if got := samples(t, s.URL, `{__name__=~"long.*"}`, time.Unix(now, 0)); len(got) != 4 {
		t.Errorf("series without a limit: %v", got)
	}
	if got := samples(t, s.URL, "busy", time.Unix(now, 0))["busy"]; len(got) != 1 {
		t.Errorf("a series that may bring one point a segment: %v", got)
	}
	response, err := http.Get(s.URL + "/api/v1/status/rejects")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var refused struct {
		Data []struct {
			Reason  string
			Count   int
			Samples []struct{ Detail string }
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&refused); err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, r := range refused.Data {
		counts[r.Reason] = r.Count
		if detail := r.Samples[0].Detail; !strings.Contains(detail, "max_") {
			t.Errorf("%s is explained by %q", r.Reason, detail)
		}
	}
	if counts["series_limit"] != 4 || counts["too_many"] != 1 {
		t.Errorf("refused: %v", counts)
	}
	out, err := carillon("retention", "check", rules, "--url", s.URL).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "10s:1h,5m:1y,1h:6y") || !strings.Contains(string(out), "series now") {
		t.Errorf("check: %v\n%s", err, out)
	}
	t.Logf("\n%s", out)
}
