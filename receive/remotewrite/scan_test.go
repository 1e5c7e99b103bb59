package remotewrite

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/prompb"

	"carillon/series"
)

// transcript writes down what a scan finds.
type transcript struct {
	lines []string
	skip  bool // take no samples
}

func (v *transcript) Series(labels []series.Label, has Counts) bool {
	v.lines = append(v.lines, fmt.Sprintf("series %v %v", labels, has))
	return !v.skip
}

func (v *transcript) Sample(ms int64, value float64) {
	v.lines = append(v.lines, fmt.Sprintf("sample %d %v", ms, value))
}

func (v *transcript) Metadata(m series.Metadata) {
	v.lines = append(v.lines, fmt.Sprintf("metadata %+v", m))
}

func request() *prompb.WriteRequest {
	return &prompb.WriteRequest{
		Timeseries: []prompb.TimeSeries{{
			Labels:     []prompb.Label{{Name: "__name__", Value: "a"}, {Name: "b", Value: "c"}},
			Samples:    []prompb.Sample{{Timestamp: 1, Value: 2.5}, {Timestamp: -3, Value: 0}},
			Exemplars:  []prompb.Exemplar{{Value: 1}},
			Histograms: []prompb.Histogram{{Sum: 1}, {Sum: 2}},
		}, {}},
		Metadata: []prompb.MetricMetadata{
			{Type: prompb.MetricMetadata_COUNTER, MetricFamilyName: "a", Help: "h", Unit: "u"},
			{Type: 99, MetricFamilyName: "b"},
		},
	}
}

func marshal(t testing.TB, w *prompb.WriteRequest) []byte {
	t.Helper()
	body, err := w.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestScan(t *testing.T) {
	body := marshal(t, request())
	body = append(body, 0x7d, 1, 2, 3, 4) // an unknown field of 32 bits
	var got transcript
	if err := new(Scanner).Scan(body, &got); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"series [{__name__ a} {b c}] {2 1 2}", "sample 1 2.5", "sample -3 0",
		"series [] {0 0 0}",
		"metadata {Family:a Type:counter Help:h Unit:u}",
		"metadata {Family:b Type:unknown Help: Unit:}",
	}
	if diff := cmp.Diff(want, got.lines); diff != "" {
		t.Error(diff)
	}
}

func TestScanSkipsSamplesOfRefusedSeries(t *testing.T) {
	got := transcript{skip: true}
	if err := new(Scanner).Scan(marshal(t, request()), &got); err != nil || len(got.lines) != 4 {
		t.Errorf("%v %v", err, got.lines)
	}
}

// Protobuf allows fields in any order: the labels may follow the samples.
func TestScanLabelsBehindSamples(t *testing.T) {
	body := []byte("\x0a\x15" + "\x12\x02\x10\x07" + "\x0a\x0d\x0a\x08__name__\x12\x01a" + "\x12\x00")
	var got transcript
	if err := new(Scanner).Scan(body, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"series [{__name__ a}] {2 0 0}", "sample 7 0", "sample 0 0"}, got.lines); diff != "" {
		t.Error(diff)
	}
}

func TestScanBoundsLabels(t *testing.T) {
	w := &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{{}}}
	for range 10_000 {
		w.Timeseries[0].Labels = append(w.Timeseries[0].Labels, prompb.Label{Name: "n", Value: "v"})
	}
	var s Scanner
	if err := s.Scan(marshal(t, w), &transcript{}); err != nil || len(s.labels) != series.MaxLabels+1 {
		t.Errorf("%v, %d labels", err, len(s.labels))
	}
}

func TestScanSaysWhere(t *testing.T) {
	for body, want := range map[string]int{
		"\x0a\x02\x0a\x00\x0a\x02\x1a":  4, // the second series
		"\x0a":                          0, // no length
		"\x0a\x05\x0a":                  0, // too short
		"\x08\x01":                      0, // varint where a message should be
		"\x00\x01":                      0, // field 0
		"\x1a\x00\x0b":                  2, // a group
		"\x0a\x02\x08\x01":              2, // label is a varint
		"\x0a\x04\x0a\x02\x08\x01":      4, // label name is a varint
		"\x0a\x04\x0a\x02\x0a\x7f":      4, // label name too short
		"\x0a\x04\x12\x02\x08\x01":      4, // value is a varint
		"\x1a\x03\x12\x01x\x1a\x01\xff": 7, // metadata
	} {
		err := new(Scanner).Scan([]byte(body), &transcript{})
		var syntax *SyntaxError
		if !errors.As(err, &syntax) {
			t.Errorf("%q: %v", body, err)
		} else if syntax.Offset != want {
			t.Errorf("%q: %v, want byte %d", body, err, want)
		}
	}
}

// counter is a visitor that allocates nothing.
type counter struct{ samples int }

func (c *counter) Series([]series.Label, Counts) bool { return true }
func (c *counter) Sample(int64, float64)              { c.samples++ }
func (c *counter) Metadata(series.Metadata)           {}

func hostMetrics(t testing.TB, n int) []byte {
	var w prompb.WriteRequest
	for i := range n {
		w.Timeseries = append(w.Timeseries, prompb.TimeSeries{
			Labels: []prompb.Label{
				{Name: "__name__", Value: "node_cpu_seconds_total"}, {Name: "cpu", Value: "0"},
				{Name: "instance", Value: "host13:9100"}, {Name: "job", Value: "node"}, {Name: "mode", Value: "idle"},
			},
			Samples: []prompb.Sample{{Timestamp: 1700000000000 + int64(i), Value: float64(i) + 0.5}},
		})
	}
	return marshal(t, &w)
}

func TestScanDoesNotAllocate(t *testing.T) {
	body := hostMetrics(t, 100)
	var s Scanner
	var c counter
	if n := testing.AllocsPerRun(100, func() {
		if err := s.Scan(body, &c); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for 100 samples", n)
	}
}

func BenchmarkScan(b *testing.B) {
	const points = 1000
	body := hostMetrics(b, points)
	var s Scanner
	var c counter
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Scan(body, &c); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/points, "ns/point")
}

// FuzzScan: what the generated decoder takes, the scanner takes too, and finds
// as many samples.
func FuzzScan(f *testing.F) {
	body := marshal(f, request())
	f.Add(body)
	f.Add(body[:len(body)-2])
	f.Add([]byte("\x0a\x04\x0a\x02\x0a\x7f"))
	f.Fuzz(func(t *testing.T, body []byte) {
		var c counter
		err := new(Scanner).Scan(body, &c)
		var syntax *SyntaxError
		if err != nil && (!errors.As(err, &syntax) || syntax.Offset < 0 || syntax.Offset >= len(body)) {
			t.Fatalf("error %v of %d bytes", err, len(body))
		}
		var w prompb.WriteRequest
		if err != nil || w.Unmarshal(body) != nil {
			return
		}
		want := 0
		for _, ts := range w.Timeseries {
			want += len(ts.Samples)
		}
		if c.samples != want {
			t.Errorf("%d samples, want %d", c.samples, want)
		}
	})
}
