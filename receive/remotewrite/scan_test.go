package remotewrite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/prompb"
	"pgregory.net/rapid"

	"carillon/series"
)

// transcript writes down what a scan finds.
type transcript struct {
	scanner Scanner
	lines   []string
	skip    bool // take no samples
}

func (v *transcript) scan(body []byte) error { return v.scanner.Scan(body, v) }

func (v *transcript) TimeSeries(batch []Series) error {
	for i := range batch {
		labels, has, err := v.scanner.Labels(&batch[i])
		if err != nil {
			return err
		}
		v.lines = append(v.lines, fmt.Sprintf("series %v %v", labels, has))
		if v.skip {
			continue
		}
		samples := v.scanner.Samples(&batch[i])
		for samples.Next() {
			v.lines = append(v.lines, sampleLine(samples.Time, samples.Value))
		}
		if err := samples.Err(); err != nil {
			return err
		}
	}
	return nil
}

func sampleLine(ms int64, value float64) string {
	return fmt.Sprintf("sample %d %v %x", ms, value, math.Float64bits(value))
}

func (v *transcript) Metadata(m series.Metadata) error {
	v.lines = append(v.lines, fmt.Sprintf("metadata %+v", m))
	return nil
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
	if err := got.scan(body); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"series [{__name__ a} {b c}] {2 1 2}", sampleLine(1, 2.5), sampleLine(-3, 0),
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
	if err := got.scan(marshal(t, request())); err != nil || len(got.lines) != 4 {
		t.Errorf("%v %v", err, got.lines)
	}
}

// Protobuf allows fields in any order: the labels may follow the samples.
func TestScanLabelsBehindSamples(t *testing.T) {
	body := []byte("\x0a\x15" + "\x12\x02\x10\x07" + "\x0a\x0d\x0a\x08__name__\x12\x01a" + "\x12\x00")
	var got transcript
	if err := got.scan(body); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"series [{__name__ a}] {2 0 0}", sampleLine(7, 0), sampleLine(0, 0)}, got.lines); diff != "" {
		t.Error(diff)
	}
}

func TestScanBoundsLabels(t *testing.T) {
	w := &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{{}}}
	for range 10_000 {
		w.Timeseries[0].Labels = append(w.Timeseries[0].Labels, prompb.Label{Name: "n", Value: "v"})
	}
	var got transcript
	if err := got.scan(marshal(t, w)); err != nil || len(got.scanner.labels) != series.MaxLabels+1 {
		t.Errorf("%v, %d labels", err, len(got.scanner.labels))
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
		// What stands first is blamed, though series are looked into later.
		"\x0a\x02\x0a\x00" + "\x0a\x04\x0a\x02\x0a\x7f" + "\x1a\x01\xff": 8,
		"\x0a\x04\x0a\x02\x0a\x7f" + "\x0a\x02\x12\x7f":                  4,
		"\x0a\x06\x0a\x02\x0a\x7f\x12\x7f":                               4, // label before sample
		"\x0a\x05\x12\x03\x10\xff\xff":                                   4, // time cut off
		"\x0a\x05\x12\x03\x09\x00\x00":                                   4, // value cut off
		"\x0a\x04\x12\x02\x08\x00":                                       4, // value is a varint
	} {
		err := new(transcript).scan([]byte(body))
		var syntax *SyntaxError
		if !errors.As(err, &syntax) {
			t.Errorf("%q: %v", body, err)
		} else if syntax.Offset != want {
			t.Errorf("%q: %v, want byte %d", body, err, want)
		}
	}
}

// counter is a visitor that allocates nothing.
type counter struct {
	scanner        Scanner
	bytes, samples int
}

func (c *counter) TimeSeries(batch []Series) error {
	for i := range batch {
		c.bytes += len(c.scanner.Spelling(&batch[i]))
		samples := c.scanner.Samples(&batch[i])
		for samples.Next() {
			c.samples++
		}
	}
	return nil
}

func (c *counter) Metadata(series.Metadata) error { return nil }

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
	var c counter
	if n := testing.AllocsPerRun(100, func() {
		if err := c.scanner.Scan(body, &c); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for 100 samples", n)
	}
}

func BenchmarkScan(b *testing.B) {
	const points = 1000
	body := hostMetrics(b, points)
	var c counter
	b.ReportAllocs()
	for b.Loop() {
		if err := c.scanner.Scan(body, &c); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/points, "ns/point")
}

// The spelling is the labels' bytes where they stand together in front, whatever
// the samples are.
func TestSpelling(t *testing.T) {
	label := []byte("\x0a\x05\x0a\x01a\x12\x00" + "\x0a\x03\x12\x01b")
	sample := "\x12\x02\x10\x07"
	long := "\x0a\xc8\x01" + strings.Repeat("x", 200) // of a length of two bytes
	for body, want := range map[string]string{
		string(label) + sample:              string(label),
		string(label) + sample + sample:     string(label),
		string(label):                       string(label),
		long + sample:                       long,
		sample:                              "",
		"":                                  "",
		sample + string(label):              "", // labels behind the samples
		string(label) + sample + "\x0a\x00": "", // and on both sides
		string(label) + "\x1a\x00":          "", // an exemplar
		string(label) + "\x12":              "", // cut off
		string(label) + "\x12\x05":          "",
		"\x0a\x05x":                         "",
	} {
		var v spellings
		field := append([]byte{tagTimeSeries, byte(len(body)) | 0x80, byte(len(body) >> 7)}, body...)
		if err := v.scanner.Scan(field, &v); err != nil {
			t.Errorf("%q: %v", body, err)
		}
		if len(v.list) != 1 || v.list[0] != want {
			t.Errorf("%q: spelled %q, want %q", body, v.list, want)
		}
	}
}

// spellings is a visitor that looks no deeper.
type spellings struct {
	scanner Scanner
	list    []string
}

func (v *spellings) TimeSeries(batch []Series) error {
	for i := range batch {
		v.list = append(v.list, string(v.scanner.Spelling(&batch[i])))
	}
	return nil
}

func (v *spellings) Metadata(series.Metadata) error { return nil }

// Batches are bounded and in order, and metadata keeps its place between them.
func TestScanInBatches(t *testing.T) {
	var body []byte
	for range 2 {
		body = append(body, hostMetrics(t, 2*BatchSeries+1)...)
		body = append(body, 0x1a, 0)
	}
	var v batches
	if err := v.scanner.Scan(body, &v); err != nil {
		t.Fatal(err)
	}
	if want := []int{BatchSeries, BatchSeries, 1, 0, BatchSeries, BatchSeries, 1, 0}; !slices.Equal(v.sizes, want) {
		t.Errorf("batches of %v, want %v", v.sizes, want)
	}
}

type batches struct {
	scanner Scanner
	sizes   []int // 0 is metadata
}

func (v *batches) TimeSeries(batch []Series) error {
	v.sizes = append(v.sizes, len(batch))
	return nil
}

func (v *batches) Metadata(series.Metadata) error {
	v.sizes = append(v.sizes, 0)
	return nil
}

func TestVarint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.Uint64().Draw(t, "value") >> rapid.IntRange(0, 63).Draw(t, "shift")
		var b [16]byte
		copy(b[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "noise"))
		size := binary.PutUvarint(b[:], value)
		got, n := varint(binary.LittleEndian.Uint64(b[:]))
		if size <= 8 && (n != size || uint64(got) != value) || size > 8 && n != 0 {
			t.Fatalf("%d in %d bytes: read as %d in %d", value, size, got, n)
		}
	})
}

// FuzzScan: what the generated decoder takes, the scanner takes too, but for
// groups, wide field numbers and overlong varints; and both find the same.
func FuzzScan(f *testing.F) {
	body := marshal(f, request())
	f.Add(body)
	f.Add(body[:len(body)-2])
	f.Add([]byte("\x0a\x04\x0a\x02\x0a\x7f"))
	f.Add(hostMetrics(f, 3))
	f.Add([]byte("\x0a\x15\x12\x02\x10\x07\x0a\x0d\x0a\x08__name__\x12\x01a\x12\x00"))
	f.Fuzz(func(t *testing.T, body []byte) {
		var got transcript
		err := got.scan(body)
		var syntax *SyntaxError
		if err != nil && (!errors.As(err, &syntax) || syntax.Offset < 0 || syntax.Offset >= len(body)) {
			t.Fatalf("error %v of %d bytes", err, len(body))
		}
		var w prompb.WriteRequest
		if w.Unmarshal(body) != nil {
			return
		}
		if err != nil {
			if !errors.Is(err, errGroup) && !errors.Is(err, errFieldNumber) && !errors.Is(err, errVarint) {
				t.Fatalf("the generated decoder takes what is refused: %v", err)
			}
			return
		}
		if diff := cmp.Diff(describe(&w), sorted(got.lines)); diff != "" {
			t.Error(diff)
		}
	})
}

// describe is the transcript of what the generated decoder found. It keeps
// metadata apart from series, so metadata is sorted to the end.
func describe(w *prompb.WriteRequest) (lines []string) {
	for _, ts := range w.Timeseries {
		var labels []series.Label
		for _, l := range ts.Labels[:min(len(ts.Labels), series.MaxLabels+1)] {
			labels = append(labels, series.Label{Name: l.Name, Value: l.Value})
		}
		lines = append(lines, fmt.Sprintf("series %v %v", labels, Counts{len(ts.Samples), len(ts.Exemplars), len(ts.Histograms)}))
		for _, s := range ts.Samples {
			lines = append(lines, sampleLine(s.Timestamp, s.Value))
		}
	}
	for _, m := range w.Metadata {
		kind := types[0]
		if m.Type >= 0 && int(m.Type) < len(types) {
			kind = types[m.Type]
		}
		lines = append(lines, fmt.Sprintf("metadata %+v",
			series.Metadata{Family: m.MetricFamilyName, Type: kind, Help: m.Help, Unit: m.Unit}))
	}
	return lines
}

func sorted(lines []string) []string {
	slices.SortStableFunc(lines, func(a, b string) int {
		rank := func(s string) int { return min(1, strings.Index(s, "metadata")+1) }
		return rank(a[:8]) - rank(b[:8])
	})
	return lines
}
