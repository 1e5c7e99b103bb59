package remotewrite

import (
	"testing"

	"github.com/prometheus/prometheus/prompb"

	"carillon/series"
)

type count struct{ samples int }

func (c *count) Series([]series.Label, Counts) bool { return true }
func (c *count) Sample(int64, float64)              { c.samples++ }
func (c *count) Metadata(series.Metadata)           {}

func body(n int) []byte {
	var w prompb.WriteRequest
	for i := range n {
		w.Timeseries = append(w.Timeseries, prompb.TimeSeries{
			Labels:  []prompb.Label{{Name: "__name__", Value: "node_cpu_seconds_total"}, {Name: "cpu", Value: "0"}, {Name: "instance", Value: "host13:9100"}, {Name: "job", Value: "node"}, {Name: "mode", Value: "idle"}},
			Samples: []prompb.Sample{{Timestamp: 1700000000000 + int64(i), Value: float64(i) + 0.5}},
		})
	}
	b, _ := w.Marshal()
	return b
}

func BenchmarkScan(b *testing.B) {
	data := body(1000)
	var s Scanner
	c := &count{}
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Scan(data, c); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/point")
}
