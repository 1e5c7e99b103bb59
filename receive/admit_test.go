package receive

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"carillon/journal"
	"carillon/retention"
	"carillon/series"
)

// TestSeriesLimit: a series that is not admitted costs no other one, is counted and
// explained; one that is there already needs no admission.
func TestSeriesLimit(t *testing.T) {
	r := newRig(t)
	r.admit = func(key series.Key) error {
		if strings.HasPrefix(key.Get(series.MetricName), "many") {
			return fmt.Errorf("%w: rule 1 has its max_series of 0", retention.ErrSeriesLimit)
		}
		return nil
	}
	line := func(format string, protocol Protocol) {
		t.Helper()
		l := newLines(r.Writer, protocol, new(session))
		l.addAll([]byte(fmt.Sprintf(format, start/1000, start/1000)))
		if err := l.commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	line("many.a 1 %d\nother.a 2 %d\n", ProtocolGraphite)
	line("many.b %d 1\nother.b %d 2\n", ProtocolIstatd)
	for _, p := range []Protocol{ProtocolGraphite, ProtocolIstatd} {
		if diff := cmp.Diff(map[string]int{"series_limit": 1}, r.refused(p)); diff != "" {
			t.Errorf("%s: %s", p, diff)
		}
	}
	for name, want := range map[string]int{"many.a": 0, "many.b": 0, "other.a": 1, "other.b": 1} {
		if got := len(r.got(name)); got != want {
			t.Errorf("%s has %d points, want %d", name, got, want)
		}
	}
	if detail := r.ledger.Entries()[0].Samples[0].Detail; !strings.Contains(detail, "rule 1 has its max_series") {
		t.Errorf("explained by %q", detail)
	}
	if seriesReason(retention.ErrSeriesLimit) != "series_limit" {
		t.Error("remote write counts it as something else")
	}

	known, err := series.Named("many.known")
	if err != nil {
		t.Fatal(err)
	}
	r.directory.define(known.Partition(testPartitions), series.Definition{Key: known})
	request := r.Begin(ProtocolGraphite)
	handle, err := request.Series(named("many.known"))
	if err != nil {
		t.Fatalf("a known series: %v", err)
	}
	request.Point(handle, start, 1)
	if err := request.Commit(t.Context(), journal.Hash{}); err != nil {
		t.Fatal(err)
	}
}
