package rejects_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"carillon/rejects"
)

func TestLedger(t *testing.T) {
	now := time.Unix(1_700_000_000, 0).UTC()
	registry := prometheus.NewRegistry()
	l := rejects.New(registry, func() time.Time { return now })
	for i := range 20 {
		l.Add("graphite", "bad_value", 2, rejects.Sample{From: "10.0.0.1:5", Input: fmt.Sprint("line ", i)})
	}
	l.Add("istatd", "malformed", 1, rejects.Sample{Input: strings.Repeat("x", 1<<20)})
	l.Add("istatd", "nothing", 0, rejects.Sample{})

	entries := l.Entries()
	if len(entries) != 2 {
		t.Fatalf("%d entries", len(entries))
	}
	graphite, istatd := entries[0], entries[1]
	if graphite.Protocol != "graphite" || graphite.Count != 40 || len(graphite.Samples) != 8 {
		t.Errorf("graphite: %+v", graphite)
	}
	newest := rejects.Sample{Time: now, From: "10.0.0.1:5", Input: "line 19"}
	if diff := cmp.Diff(newest, graphite.Samples[7]); diff != "" {
		t.Errorf("newest sample (-want +got):\n%s", diff)
	}
	if input := istatd.Samples[0].Input; len(input) != 256 || !strings.HasSuffix(input, "...") {
		t.Errorf("a sample of %d bytes", len(input))
	}
	graphite.Samples[0].Input = "changed"
	if l.Entries()[0].Samples[0].Input == "changed" {
		t.Error("Entries lets the ledger be changed")
	}
	want := `
		# HELP carillon_rejected_total Points, lines and requests that were not taken, by protocol and reason.
		# TYPE carillon_rejected_total counter
		carillon_rejected_total{protocol="graphite",reason="bad_value"} 40
		carillon_rejected_total{protocol="istatd",reason="malformed"} 1
	`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}
