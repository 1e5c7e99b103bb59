package agent

import (
	"context"
	"fmt"
	"math"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/model/labels"

	"carillon/series"
)

// registrySource collects the process's own metrics, expanded as a scrape of them
// would be: a histogram into _bucket, _sum and _count, a summary into its
// quantiles, _sum and _count.
func registrySource(gatherer prometheus.Gatherer) source {
	return source{"registry", func(context.Context) ([]family, error) {
		gathered, err := gatherer.Gather() // what it could gather, whatever err says
		families := make([]family, 0, len(gathered))
		for _, mf := range gathered {
			f := family{Metadata: series.Metadata{
				Family: mf.GetName(), Type: typeName(mf.GetType()), Help: mf.GetHelp(), Unit: mf.GetUnit(),
			}}
			for _, m := range mf.GetMetric() {
				f.points = appendMetric(f.points, f.Family, m)
			}
			families = append(families, f)
		}
		if err != nil {
			err = fmt.Errorf("gather the process's own metrics: %w", err)
		}
		return families, err
	}}
}

func typeName(t dto.MetricType) string {
	switch t {
	case dto.MetricType_COUNTER:
		return "counter"
	case dto.MetricType_GAUGE:
		return "gauge"
	case dto.MetricType_SUMMARY:
		return "summary"
	case dto.MetricType_HISTOGRAM:
		return "histogram"
	case dto.MetricType_GAUGE_HISTOGRAM:
		return "gaugehistogram"
	}
	return "unknown"
}

// appendMetric appends the points of one metric of the family name.
func appendMetric(points []point, name string, m *dto.Metric) []point {
	own := make([]series.Label, 0, len(m.GetLabel())+1)
	for _, l := range m.GetLabel() {
		own = append(own, series.Label{Name: l.GetName(), Value: l.GetValue()})
	}
	add := func(suffix string, value float64, more ...series.Label) {
		points = append(points, point{name + suffix, append(own[:len(own):len(own)], more...), value})
	}
	switch {
	case m.Counter != nil:
		add("", m.Counter.GetValue())
	case m.Gauge != nil:
		add("", m.Gauge.GetValue())
	case m.Untyped != nil:
		add("", m.Untyped.GetValue())
	case m.Summary != nil:
		for _, q := range m.Summary.GetQuantile() {
			add("", q.GetValue(), bound("quantile", q.GetQuantile()))
		}
		add("_sum", m.Summary.GetSampleSum())
		add("_count", float64(m.Summary.GetSampleCount()))
	case m.Histogram != nil:
		for _, b := range m.Histogram.GetBucket() {
			if !math.IsInf(b.GetUpperBound(), 1) { // that one is the count, whether it is listed or not
				add("_bucket", float64(b.GetCumulativeCount()), bound("le", b.GetUpperBound()))
			}
		}
		count := float64(m.Histogram.GetSampleCount())
		add("_bucket", count, bound("le", math.Inf(1)))
		add("_sum", m.Histogram.GetSampleSum())
		add("_count", count)
	}
	return points
}

// bound is a label whose value is a number, written as Prometheus 3 does when it scrapes.
func bound(name string, value float64) series.Label {
	return series.Label{Name: name, Value: labels.FormatOpenMetricsFloat(value)}
}
