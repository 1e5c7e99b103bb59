package agent

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"carillon/series"
)

func oneGauge(name string) []family {
	return []family{{series.Metadata{Family: name, Type: "gauge"}, []point{{name, nil, 1}}}}
}

func names(families []family) []string {
	var names []string
	for _, f := range families {
		names = append(names, f.Family)
	}
	return names
}

func testCollector(t *testing.T, log *bytes.Buffer, sources ...source) *collector {
	t.Helper()
	m, err := newMetrics(prometheus.NewRegistry(), NewMemory(0))
	if err != nil {
		t.Fatal(err)
	}
	return newCollector(sources, time.Second, slog.New(slog.NewTextHandler(log, nil)), m)
}

func TestFailingSourceIsLoggedOnceAndStopsNobody(t *testing.T) {
	var log bytes.Buffer
	var failure error
	c := testCollector(t, &log,
		source{"good", func(context.Context) ([]family, error) { return oneGauge("a"), nil }},
		source{"half", func(context.Context) ([]family, error) { return oneGauge("b"), failure }},
		source{"other", func(context.Context) ([]family, error) { return oneGauge("c"), nil }})
	failure = errors.New("no permission")
	for range 3 {
		if got := names(c.collect(t.Context())); !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Fatalf("collected %v", got)
		}
	}
	if n := strings.Count(log.String(), "no permission"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, log.String())
	}
	if n := testutil.ToFloat64(c.metrics.collectErrors.WithLabelValues("half")); n != 3 {
		t.Errorf("counted %v, want 3", n)
	}
	failure = nil
	c.collect(t.Context())
	if !strings.Contains(log.String(), "works again") {
		t.Errorf("recovery is not logged:\n%s", log.String())
	}
}

func TestHangingSourceCostsOneTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		release := make(chan struct{})
		c := testCollector(t, &log,
			source{"hangs", func(context.Context) ([]family, error) { <-release; return oneGauge("late"), nil }},
			source{"good", func(context.Context) ([]family, error) { return oneGauge("a"), nil }})
		for _, want := range []time.Duration{c.timeout, 0, 0} {
			start := time.Now()
			if got := names(c.collect(t.Context())); !slices.Equal(got, []string{"a"}) {
				t.Fatalf("collected %v", got)
			}
			if took := time.Since(start); took != want {
				t.Errorf("took %s, want %s", took, want)
			}
		}
		close(release)
		synctest.Wait()
		if got := names(c.collect(t.Context())); !slices.Equal(got, []string{"late", "a"}) {
			t.Errorf("after its return: %v", got)
		}
		if n := testutil.ToFloat64(c.metrics.collectErrors.WithLabelValues("hangs")); n != 3 {
			t.Errorf("counted %v, want 3", n)
		}
	})
}

func TestOneSourceCannotFloodACollection(t *testing.T) {
	flood := []family{
		{series.Metadata{Family: "a"}, make([]point, maxSourcePoints-1)},
		{series.Metadata{Family: "b"}, make([]point, 5)},
		{series.Metadata{Family: "c"}, make([]point, 5)},
	}
	families, err := limit(flood, nil)
	if countPoints(families) != maxSourcePoints || len(families) != 2 || err == nil {
		t.Fatalf("%d points in %d families, error %v", countPoints(families), len(families), err)
	}
	if _, err := limit(oneGauge("a"), nil); err != nil {
		t.Fatal(err)
	}
}
