package agent

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

func TestRegistryIsExpandedAsByAScrape(t *testing.T) {
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "c_total", Help: "C."}, []string{"a"})
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: "g", Help: "G."})
	untyped := prometheus.NewUntypedFunc(prometheus.UntypedOpts{Name: "u", Help: "U."}, func() float64 { return 9 })
	histogram := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "h", Help: "H.", Buckets: []float64{0.5, 1}})
	summary := prometheus.NewSummary(prometheus.SummaryOpts{Name: "s", Help: "S.", Objectives: map[float64]float64{0.5: 0.01}})
	registry.MustRegister(counter, gauge, untyped, histogram, summary)
	counter.WithLabelValues("x").Add(2)
	gauge.Set(-1)
	for _, v := range []float64{0.25, 0.75, 4} {
		histogram.Observe(v)
		summary.Observe(v)
	}

	families, err := registrySource(registry).collect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := `
c_total counter "C."
  c_total a=x 2
g gauge "G."
  g -1
h histogram "H."
  h_bucket le=0.5 1
  h_bucket le=1.0 2
  h_bucket le=+Inf 3
  h_sum 5
  h_count 3
s summary "S."
  s quantile=0.5 0.75
  s_sum 5
  s_count 3
u unknown "U."
  u 9
`
	if diff := cmp.Diff(want, "\n"+transcript(families)); diff != "" {
		t.Fatalf("families (-want +got):\n%s", diff)
	}
}

func transcript(families []family) string {
	var b strings.Builder
	for _, f := range families {
		fmt.Fprintf(&b, "%s %s %q\n", f.Family, f.Type, f.Help)
		for _, p := range f.points {
			fmt.Fprintf(&b, "  %s", p.name)
			for _, l := range p.labels {
				fmt.Fprintf(&b, " %s=%s", l.Name, l.Value)
			}
			fmt.Fprintf(&b, " %v\n", p.value)
		}
	}
	return b.String()
}

func TestRegistryGivesWhatItCan(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "good", Help: "."}))
	broken := errors.New("broken collector")
	registry.MustRegister(invalid{prometheus.NewDesc("bad", ".", nil, nil), broken})
	families, err := registrySource(registry).collect(t.Context())
	if !errors.Is(err, broken) && (err == nil || !strings.Contains(err.Error(), broken.Error())) {
		t.Errorf("error %v does not say why", err)
	}
	if len(families) != 1 || families[0].Family != "good" {
		t.Errorf("families %v, want the good one", families)
	}
}

type invalid struct {
	desc *prometheus.Desc
	err  error
}

func (i invalid) Describe(c chan<- *prometheus.Desc) { c <- i.desc }
func (i invalid) Collect(c chan<- prometheus.Metric) { c <- prometheus.NewInvalidMetric(i.desc, i.err) }
