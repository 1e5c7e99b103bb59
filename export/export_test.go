package export

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/prompb"

	"carillon/bucket"
	"carillon/series"
)

const start = 1_700_000_000_000

var stale = math.Float64frombits(bucket.StaleNaN)

func keyOf(t testing.TB, pairs ...string) series.Key {
	t.Helper()
	var l []series.Label
	for i := 0; i < len(pairs); i += 2 {
		l = append(l, series.Label{Name: pairs[i], Value: pairs[i+1]})
	}
	key, err := series.NewKey(l)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// merged is the bucket of samples, one second apart.
func merged(kind series.Kind, from int64, values ...float64) bucket.Bucket {
	b := bucket.Of(from, values[0])
	for i, v := range values[1:] {
		later := bucket.Of(from+1000*int64(i+1), v)
		b.Merge(kind, &later)
	}
	return b
}

func chunks(t testing.TB) []Chunk {
	return []Chunk{
		{Key: keyOf(t, "__name__", "load", "host", "a\"b\\c\nd"), Buckets: []bucket.Bucket{
			bucket.Of(start, 0.1), bucket.Of(start+10_000, stale), merged(series.Gauge, start+20_000, 1, -2, 3.5), bucket.Of(start+30_001, math.Inf(-1)),
		}},
		{Key: keyOf(t, "__name__", "load", "host", "b"), Buckets: []bucket.Bucket{bucket.Of(start, math.NaN())}},
		{Key: keyOf(t, "__name__", "load", "host", "b"), Buckets: []bucket.Bucket{bucket.Of(start+10_000, 7), bucket.Of(start+20_000, math.Copysign(0, -1))}},
		{Key: keyOf(t, "__name__", "cpu.idle", "a.b", "c"), Kind: series.Counter, Buckets: []bucket.Bucket{merged(series.Counter, start, 5, 1e300)}},
		{Key: keyOf(t, "__name__", "hits", "host", "a"), Kind: series.Event, Buckets: []bucket.Bucket{merged(series.Event, start, 5, 6, 7)}},
		{Key: keyOf(t, "host", "nameless"), Buckets: []bucket.Bucket{bucket.Of(start, 1)}},
	}
}

// wanted is what the chunks are as samples.
var wanted = []string{
	`{"__name__"="load", "host"="a\"b\\c\nd"}: 0.1@0 stale@10000 1@20000 3.5@22000 -Inf@30001`,
	`{"__name__"="load", "host"="b"}: NaN@0 7@10000 -0@20000`,
	`{"__name__"="cpu.idle", "a.b"="c"}: 5@0 1e+300@1000`,
	`{"__name__"="hits", "host"="a"}: 18@2000`,
	`{"host"="nameless"}: 1@0`,
}

// found collects samples by series.
type found struct {
	order  []string
	series map[string][]string
}

func (f *found) add(l labels.Labels, time int64, value float64) {
	var b strings.Builder
	separator := "{"
	l.Range(func(l labels.Label) {
		fmt.Fprintf(&b, "%s%q=%q", separator, l.Name, l.Value)
		separator = ", "
	})
	name := b.String() + "}"
	if f.series == nil {
		f.series = make(map[string][]string)
	}
	if f.series[name] == nil {
		f.order = append(f.order, name)
	}
	text := fmt.Sprint(value)
	if math.Float64bits(value) == bucket.StaleNaN {
		text = "stale"
	}
	f.series[name] = append(f.series[name], fmt.Sprintf("%s@%d", text, time-start))
}

func (f *found) lines() (lines []string) {
	for _, name := range f.order {
		lines = append(lines, name+": "+strings.Join(f.series[name], " "))
	}
	return lines
}

func encode(t testing.TB, format string) ([]byte, Counts) {
	t.Helper()
	e, err := New(format)
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	for _, c := range chunks(t) {
		if out, err = e.Append(out, &c); err != nil {
			t.Fatal(err)
		}
	}
	return e.Finish(out), e.Counts()
}

// TestOpenMetrics reads with Prometheus what was written.
func TestOpenMetrics(t *testing.T) {
	text, counts := encode(t, "openmetrics")
	var f found
	p := textparse.NewOpenMetricsParser(text, labels.NewSymbolTable())
	types := make(map[string]string)
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		switch entry {
		case textparse.EntryType:
			name, kind := p.Type()
			types[string(name)] = string(kind)
		case textparse.EntrySeries:
			_, at, value := p.Series()
			var l labels.Labels
			p.Labels(&l)
			f.add(l, *at, value)
		}
	}
	want := append([]string(nil), wanted[:4]...)
	want[0] = strings.Replace(want[0], "stale@10000 ", "", 1)
	if !reflect.DeepEqual(f.lines(), want) {
		t.Errorf("have\n%s\nwant\n%s\nin\n%s", strings.Join(f.lines(), "\n"), strings.Join(want, "\n"), text)
	}
	if types["load"] != "gauge" || types["cpu.idle"] != "unknown" {
		t.Errorf("types %v", types)
	}
	if counts != (Counts{Series: 5, Buckets: 10, Samples: 10, Summed: 3, Stale: 1, Nameless: 1}) {
		t.Errorf("counts %+v", counts)
	}
}

// TestRemoteWrite reads the bodies with Prometheus's own types.
func TestRemoteWrite(t *testing.T) {
	dump, counts := encode(t, "remote-write")
	var f found
	for len(dump) > 0 {
		size := binary.LittleEndian.Uint32(dump)
		raw, err := s2.Decode(nil, dump[4:4+size])
		if err != nil {
			t.Fatal(err)
		}
		dump = dump[4+size:]
		var request prompb.WriteRequest
		if err := request.Unmarshal(raw); err != nil {
			t.Fatal(err)
		}
		for _, one := range request.Timeseries {
			var b labels.ScratchBuilder
			for _, l := range one.Labels {
				b.Add(l.Name, l.Value)
			}
			for _, s := range one.Samples {
				f.add(b.Labels(), s.Timestamp, s.Value)
			}
		}
	}
	if !reflect.DeepEqual(f.lines(), wanted) {
		t.Errorf("have\n%s\nwant\n%s", strings.Join(f.lines(), "\n"), strings.Join(wanted, "\n"))
	}
	if counts.Samples != 12 || counts.Summed != 3 || counts.Stale != 0 {
		t.Errorf("counts %+v", counts)
	}
}

// TestRemoteWriteBodies fills several bodies.
func TestRemoteWriteBodies(t *testing.T) {
	e := &RemoteWrite{}
	c := Chunk{Key: keyOf(t, "__name__", "x")}
	for i := range int64(MaxChunk) {
		c.Buckets = append(c.Buckets, bucket.Of(start+10_000*i, float64(i)))
	}
	var dump []byte
	for range 3 {
		var err error
		if dump, err = e.Append(dump, &c); err != nil {
			t.Fatal(err)
		}
	}
	dump = e.Finish(dump)
	bodies := 0
	for ; len(dump) > 0; bodies++ {
		dump = dump[4+binary.LittleEndian.Uint32(dump):]
	}
	if bodies != 3 || e.Counts().Samples != 3*MaxChunk {
		t.Errorf("%d bodies, %d samples", bodies, e.Counts().Samples)
	}
}

func TestJSON(t *testing.T) {
	text, counts := encode(t, "json")
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) != len(chunks(t)) || counts.Samples != 14 {
		t.Fatalf("%d lines, %+v", len(lines), counts)
	}
	for _, line := range lines {
		var one struct {
			Metric  map[string]string
			Kind    string
			Buckets [][]any
		}
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Errorf("%v in %s", err, line)
		}
	}
	want := `{"metric":{"__name__":"hits","host":"a"},"kind":"event","buckets":[[1700000000000,1700000002000,3,5,7,18,5,7,2,0,0]]}`
	if lines[4] != want {
		t.Errorf("have %s\nwant %s", lines[4], want)
	}
}

func writeStream(t testing.TB, end func(*Writer) error) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, 9)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range chunks(t) {
		c.Done = uint64(i)
		if err := w.Write(&c); err != nil {
			t.Fatal(err)
		}
	}
	if err := end(w); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func readStream(data []byte) (all []Chunk, err error) {
	r, err := NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	for {
		c, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		one := *c
		one.Buckets = append([]bucket.Bucket(nil), c.Buckets...)
		all = append(all, one)
	}
}

func TestStream(t *testing.T) {
	data := writeStream(t, (*Writer).End)
	have, err := readStream(data)
	if err != nil {
		t.Fatal(err)
	}
	want := chunks(t)
	for i := range want {
		want[i].Done = uint64(i)
	}
	if fmt.Sprint(have) != fmt.Sprint(want) {
		t.Errorf("have %v\nwant %v", have, want)
	}
	for n := range data {
		if _, err := readStream(data[:n]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut after %d of %d bytes: %v", n, len(data), err)
		}
	}
	failed := writeStream(t, func(w *Writer) error { return w.Fail(errors.New("the disk is gone")) })
	if have, err := readStream(failed); err == nil || err.Error() != "the disk is gone" || len(have) != len(want) {
		t.Errorf("%d chunks, %v", len(have), err)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(writeStream(f, (*Writer).End))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := readStream(data)
		if err != nil {
			return
		}
		for _, format := range strings.Split("openmetrics,remote-write,json", ",") {
			e, err := New(format)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range all {
				if _, err := e.Append(nil, &c); err != nil {
					t.Errorf("%s: %v", format, err)
				}
			}
		}
	})
}
