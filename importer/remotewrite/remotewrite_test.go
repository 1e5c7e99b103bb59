package remotewrite

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/prometheus/prometheus/prompb"

	"carillon/bucket"
	"carillon/export"
	"carillon/importer"
	"carillon/series"
)

// sink writes down what it gets.
type sink struct {
	samples  []string
	metadata []series.Metadata
}

func (s *sink) Add(key series.Key, time int64, value float64) error {
	s.samples = append(s.samples, fmt.Sprintf("%s %x @%d", key.Format(), math.Float64bits(value), time))
	return nil
}

func (s *sink) Describe(m series.Metadata) error {
	s.metadata = append(s.metadata, m)
	return nil
}

func (s *sink) Progress(done, total int64) {
	if done > total {
		panic("more is read than there is")
	}
}

// dump is what `carillon export` writes, and what it is.
func dump(t testing.TB) (data []byte, want []string) {
	t.Helper()
	e, err := export.New("remote-write")
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		key, err := series.NewKey([]series.Label{{Name: "__name__", Value: "up"}, {Name: "n", Value: fmt.Sprint(n)}})
		if err != nil {
			t.Fatal(err)
		}
		c := export.Chunk{Key: key}
		for i := range int64(export.MaxChunk) {
			at, value := 1_700_000_000_000+10_000*i, math.Sqrt(float64(i))
			if i%100 == 0 {
				value = math.Float64frombits(bucket.StaleNaN)
			}
			c.Buckets = append(c.Buckets, bucket.Of(at, value))
			want = append(want, fmt.Sprintf("%s %x @%d", key.Format(), math.Float64bits(value), at))
		}
		if data, err = e.Append(data, &c); err != nil {
			t.Fatal(err)
		}
	}
	return e.Finish(data), want
}

func body(t testing.TB, request *prompb.WriteRequest) []byte {
	t.Helper()
	raw, err := request.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return framed(s2.EncodeSnappy(nil, raw))
}

func framed(body []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func read(t testing.TB, data []byte) (*sink, map[importer.Reason]importer.Refusal) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.rw")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	ledger := importer.NewLedger()
	f, err := Open(path, ledger)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := new(sink)
	if err := f.Read(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(f.Name(), "remote-write ") {
		t.Error(f.Name())
	}
	refused := map[importer.Reason]importer.Refusal{}
	for _, r := range ledger.Refusals() {
		refused[r.Reason] = r
	}
	return s, refused
}

func TestWhatIsExported(t *testing.T) {
	data, want := dump(t)
	s, refused := read(t, data)
	if !slices.Equal(s.samples, want) || len(refused) != 0 {
		t.Errorf("%d samples of %d, %v", len(s.samples), len(want), refused)
	}
}

func TestWhatIsNotTaken(t *testing.T) {
	data, want := dump(t)
	mixed := body(t, &prompb.WriteRequest{
		Timeseries: []prompb.TimeSeries{
			{Labels: []prompb.Label{{Name: "__name__", Value: "a"}}, Samples: []prompb.Sample{{Value: 1, Timestamp: 2}}, Exemplars: []prompb.Exemplar{{}}},
			{Labels: []prompb.Label{{Name: "__name__", Value: "h"}}, Histograms: []prompb.Histogram{{}, {}}},
			{Labels: []prompb.Label{{Name: "", Value: "h"}}, Samples: []prompb.Sample{{}}},
		},
		Metadata: []prompb.MetricMetadata{{MetricFamilyName: "a", Type: prompb.MetricMetadata_COUNTER, Help: "what"}},
	})
	all := slices.Concat(mixed, framed([]byte("no snappy")), framed(s2.EncodeSnappy(nil, []byte{0x0a, 0xff})), data, mixed[:9])
	s, refused := read(t, all)
	if len(s.samples) != len(want)+1 || len(s.metadata) != 1 || s.metadata[0] != (series.Metadata{Family: "a", Type: "counter", Help: "what"}) {
		t.Errorf("%d samples, %+v", len(s.samples), s.metadata)
	}
	for reason, count := range map[importer.Reason]uint64{importer.Exemplar: 1, importer.Histogram: 2, importer.BadSeries: 1, importer.Unreadable: 3} {
		if refused[reason].Count != count {
			t.Errorf("%s: %+v, want %d", reason, refused[reason], count)
		}
	}
	for what, data := range map[string][]byte{
		"cut short":  {1, 2},
		"is no dump": {0xff, 0xff, 0xff, 0xff, 1},
		"at most":    framed(binary.AppendUvarint(nil, maxDecodedBytes+1)),
	} {
		if _, refused := read(t, data); !strings.Contains(refused[importer.Unreadable].Example, what) {
			t.Errorf("%+v, want %q", refused, what)
		}
	}
}

func TestEndOfPatience(t *testing.T) {
	data, _ := dump(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := &reader{to: new(sink), ledger: importer.NewLedger()}
	if err := r.read(ctx, bytes.NewReader(data), func(int64) {}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(body(f, &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{{Labels: []prompb.Label{{Name: "a", Value: "b"}}, Samples: []prompb.Sample{{Value: 1, Timestamp: 2}}}}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := &reader{to: new(sink), ledger: importer.NewLedger()}
		if err := r.read(t.Context(), bytes.NewReader(data), func(int64) {}); err != nil {
			t.Fatal(err)
		}
	})
}
