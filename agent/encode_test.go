package agent

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/prompb"

	"carillon/series"
)

// decode reads a body with Prometheus's own types.
func decode(t *testing.T, body []byte) *prompb.WriteRequest {
	t.Helper()
	raw, err := snappy.Decode(nil, body)
	if err != nil {
		t.Fatal(err)
	}
	var request prompb.WriteRequest
	if err := request.Unmarshal(raw); err != nil {
		t.Fatal(err)
	}
	return &request
}

func TestBodyIsRemoteWrite(t *testing.T) {
	at := time.UnixMilli(1_700_000_010_000)
	e := encoder{host: "web1"}
	families := []family{
		{series.Metadata{Family: "host_load1", Type: "gauge", Help: "Load."}, []point{{"host_load1", nil, 0.25}}},
		{series.Metadata{Family: "zoo_total", Type: "counter", Help: "Zoo.", Unit: "animals"}, []point{
			{"zoo_total", []series.Label{{Name: "zebra", Value: "a\xff"}, {Name: "ape", Value: "x"}, {Name: "none", Value: ""}}, 3},
			{"zoo_total", []series.Label{{Name: "host", Value: "its own"}}, -1},
		}},
	}
	bodies := slices.Collect(e.bodies(families, at))
	if len(bodies) != 1 {
		t.Fatalf("%d bodies, want 1", len(bodies))
	}
	ts := func(value float64, labels ...prompb.Label) prompb.TimeSeries {
		return prompb.TimeSeries{Labels: labels, Samples: []prompb.Sample{{Value: value, Timestamp: at.UnixMilli()}}}
	}
	l := func(name, value string) prompb.Label { return prompb.Label{Name: name, Value: value} }
	want := &prompb.WriteRequest{
		Timeseries: []prompb.TimeSeries{
			ts(0.25, l("__name__", "host_load1"), l("host", "web1")),
			ts(3, l("__name__", "zoo_total"), l("ape", "x"), l("host", "web1"), l("zebra", "a\uFFFD")),
			ts(-1, l("__name__", "zoo_total"), l("host", "its own")),
		},
		Metadata: []prompb.MetricMetadata{
			{Type: prompb.MetricMetadata_GAUGE, MetricFamilyName: "host_load1", Help: "Load."},
			{Type: prompb.MetricMetadata_COUNTER, MetricFamilyName: "zoo_total", Help: "Zoo.", Unit: "animals"},
		},
	}
	if diff := cmp.Diff(want, decode(t, bodies[0])); diff != "" {
		t.Fatalf("body (-want +got):\n%s", diff)
	}
}

func TestMetricTypesAreThoseOfTheProtocol(t *testing.T) {
	for name, want := range map[string]prompb.MetricMetadata_MetricType{
		"counter": prompb.MetricMetadata_COUNTER, "gauge": prompb.MetricMetadata_GAUGE,
		"histogram": prompb.MetricMetadata_HISTOGRAM, "gaugehistogram": prompb.MetricMetadata_GAUGEHISTOGRAM,
		"summary": prompb.MetricMetadata_SUMMARY, "unknown": prompb.MetricMetadata_UNKNOWN,
	} {
		if got := metricType(name); got != int32(want) {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}

func TestLongCollectionIsSplit(t *testing.T) {
	e := encoder{host: "h"}
	f := family{Metadata: series.Metadata{Family: "x", Type: "gauge"}}
	for i := range 2*maxPointsPerBody + 1 {
		f.points = append(f.points, point{"x", []series.Label{{Name: "i", Value: fmt.Sprint(i)}}, float64(i)})
	}
	var sizes, described []int
	for body := range e.bodies([]family{f}, time.UnixMilli(0)) {
		request := decode(t, body)
		sizes = append(sizes, len(request.Timeseries))
		described = append(described, len(request.Metadata))
	}
	if !slices.Equal(sizes, []int{maxPointsPerBody, maxPointsPerBody, 1}) || !slices.Equal(described, []int{1, 0, 0}) {
		t.Fatalf("points %v, metadata %v", sizes, described)
	}
}

func TestMetadataIsRepeatedEveryMinute(t *testing.T) {
	e := encoder{host: "h"}
	old := family{series.Metadata{Family: "old", Type: "gauge"}, []point{{"old", nil, 1}}}
	late := family{series.Metadata{Family: "late", Type: "gauge"}, []point{{"late", nil, 1}}}
	var counts []int
	for second := 0; second <= 70; second += 10 {
		families := []family{old}
		if second >= 20 {
			families = append(families, late)
		}
		for body := range e.bodies(families, time.Unix(1_700_000_000+int64(second), 0)) {
			counts = append(counts, len(decode(t, body).Metadata))
		}
	}
	if want := []int{1, 0, 1, 0, 0, 0, 2, 0}; !slices.Equal(counts, want) {
		t.Fatalf("metadata in bodies: %v, want %v", counts, want)
	}
}
