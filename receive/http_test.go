package receive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/prompb"

	"carillon/journal"
	"carillon/series"
)

// sent makes a time series of a name, further labels as name and value, and one sample.
func sent(ms int64, value float64, labels ...string) prompb.TimeSeries {
	ts := prompb.TimeSeries{Samples: []prompb.Sample{{Timestamp: ms, Value: value}}}
	for i := 0; i < len(labels); i += 2 {
		ts.Labels = append(ts.Labels, prompb.Label{Name: labels[i], Value: labels[i+1]})
	}
	return ts
}

func pack(t testing.TB, list ...prompb.TimeSeries) []byte {
	t.Helper()
	body, err := (&prompb.WriteRequest{Timeseries: list}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return snappy.Encode(nil, body)
}

func post(h http.Handler, body io.Reader, header ...string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(http.MethodPost, "/api/v1/write", body)
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, request)
	return answer
}

var good = sent(start, 1.5, "__name__", "good", "job", "a")

func TestRemoteWriteTakes(t *testing.T) {
	r := newRig(t)
	answer := post(NewRemoteWrite(r.Writer), bytes.NewReader(pack(t, good, sent(start+1, math.Inf(1), "__name__", "naïve.name"))),
		"Content-Encoding", "snappy", "Content-Type", "application/x-protobuf;proto=prometheus.WriteRequest")
	if answer.Code != http.StatusNoContent {
		t.Fatalf("%d %s", answer.Code, answer.Body)
	}
	if got, want := r.got(`good{job="a"}`), []point{{start, 1.5}}; !cmp.Equal(got, want, cmp.AllowUnexported(point{})) {
		t.Errorf("got %v", got)
	}
	if got := r.got("naïve.name"); len(got) != 1 || !math.IsInf(got[0].value, 1) {
		t.Errorf("got %v", got)
	}
	if got := r.Received()[0]; got != (Received{ProtocolRemoteWrite, 2}) {
		t.Errorf("received %v", got)
	}
}

// One bad series costs neither its neighbours nor their acknowledgement.
func TestRemoteWriteKeepsNeighbours(t *testing.T) {
	manyLabels := []string{"__name__", "wide"}
	for i := range 10_000 {
		manyLabels = append(manyLabels, fmt.Sprintf("l%d", i), "x")
	}
	histogram := sent(start, 3, "__name__", "native")
	histogram.Histograms = []prompb.Histogram{{Timestamp: start}}
	for _, test := range []struct {
		reason string
		bad    prompb.TimeSeries
		kept   int // points of the bad one that are kept all the same
	}{
		{"not_utf8", sent(start, 1, "__name__", "a", "b", "\xff\xfe"), 0},
		{"not_utf8", sent(start, 1, "__name__", "a", "b\xff", "x"), 0},
		{"duplicate_label", sent(start, 1, "__name__", "a", "b", "1", "b", "2"), 0},
		{"too_many_labels", sent(start, 1, manyLabels...), 0},
		{"no_labels", sent(start, 1), 0},
		{"no_labels", sent(start, 1, "__name__", ""), 0},
		{"no_name", sent(start, 1, "job", "a"), 0},
		{"empty_label_name", sent(start, 1, "__name__", "a", "", "x"), 0},
		{"label_too_long", sent(start, 1, "__name__", strings.Repeat("n", series.MaxValueBytes+1)), 0},
		{"bad_time", sent(-1, 1, "__name__", "a"), 0},
		{"bad_time", sent(math.MaxInt64, 1, "__name__", "a"), 0},
		{"native_histogram", histogram, 1},
	} {
		r := newRig(t)
		answer := post(NewRemoteWrite(r.Writer), bytes.NewReader(pack(t, good, test.bad, sent(start, 2, "__name__", "after"))))
		text := answer.Body.String()
		if test.reason == "no_labels" && strings.Contains(text, "no_name") {
			test.reason = "no_name" // an empty name is no name
		}
		if answer.Code != http.StatusBadRequest || !strings.Contains(text, test.reason) || strings.Count(text, "\n") != 1 || len(text) > 1024 {
			t.Errorf("%s: %d %q", test.reason, answer.Code, text)
		}
		if got := r.refused(ProtocolRemoteWrite); !cmp.Equal(got, map[string]int{test.reason: 1}) {
			t.Errorf("%s: refused %v", test.reason, got)
		}
		if len(r.got(`good{job="a"}`)) != 1 || len(r.got("after")) != 1 || len(r.journal.points) != 2+test.kept {
			t.Errorf("%s: kept %v", test.reason, r.journal.points)
		}
	}
}

// Whether 1970 is too old and 2200 too far ahead is decided behind the journal.
func TestRemoteWritePassesOddYears(t *testing.T) {
	r := newRig(t)
	const year2200 = 7258118400000
	answer := post(NewRemoteWrite(r.Writer), bytes.NewReader(pack(t, sent(0, 1, "__name__", "old"), sent(year2200, 2, "__name__", "new"))))
	if answer.Code != http.StatusNoContent || len(r.got("old")) != 1 || len(r.got("new")) != 1 {
		t.Errorf("%d %s: %v", answer.Code, answer.Body, r.journal.points)
	}
}

func TestRemoteWriteIgnoresExemplars(t *testing.T) {
	r := newRig(t)
	with := sent(start, 1, "__name__", "a")
	with.Exemplars = []prompb.Exemplar{{Value: 1}, {Value: 2}}
	if answer := post(NewRemoteWrite(r.Writer), bytes.NewReader(pack(t, with))); answer.Code != http.StatusNoContent {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
	if got := r.refused(ProtocolRemoteWrite)["exemplar_ignored"]; got != 2 {
		t.Errorf("%d exemplars counted", got)
	}
}

func TestRemoteWriteRefusesBodies(t *testing.T) {
	whole := pack(t, good)
	claims := []byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0, 'x'} // 4 GiB
	for _, test := range []struct {
		name   string
		body   []byte
		header []string
		status int
		text   string
	}{
		{"truncated snappy", whole[:len(whole)-3], nil, 400, "snappy"},
		{"no snappy", []byte("\xff\xff\xff\xff\xff\xff\xff"), nil, 400, "snappy"},
		{"no body", nil, nil, 400, "snappy"},
		{"a bomb", claims, nil, 413, "64 MiB"},
		{"a claim that snappy cannot keep", []byte{0x80, 0x80, 0x80, 0x10, 0, 'x'}, nil, 400, "snappy"},
		{"wrong protobuf", snappy.Encode(nil, []byte("\x0a\x04\x0a\x02\x0a\x7f")), nil, 400, "byte 4"},
		{"text", snappy.Encode(nil, []byte("cpu 1 2\n")), nil, 400, "protobuf: "},
		{"gzip", whole, []string{"Content-Encoding", "gzip"}, 415, "snappy"},
		{"json", whole, []string{"Content-Type", "application/json"}, 415, "application/x-protobuf"},
		{"2.0", whole, []string{"Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"}, 415, "2.0"},
		{"long key", whole, []string{"Idempotency-Key", strings.Repeat("k", 300)}, 400, "Idempotency-Key"},
	} {
		r := newRig(t)
		answer := post(NewRemoteWrite(r.Writer), bytes.NewReader(test.body), test.header...)
		if answer.Code != test.status || !strings.Contains(answer.Body.String(), test.text) {
			t.Errorf("%s: %d %s", test.name, answer.Code, answer.Body)
		}
		if len(r.refused(ProtocolRemoteWrite)) != 1 || r.journal.appends != 0 {
			t.Errorf("%s: refused %v, %d appends", test.name, r.refused(ProtocolRemoteWrite), r.journal.appends)
		}
	}
	r := newRig(t)
	answer := httptest.NewRecorder()
	NewRemoteWrite(r.Writer).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/api/v1/write", nil))
	if answer.Code != http.StatusMethodNotAllowed || answer.Header().Get("Allow") != http.MethodPost {
		t.Errorf("GET: %d", answer.Code)
	}
}

// zeros is an endless body that counts what is read of it.
type zeros struct{ read atomic.Int64 }

func (z *zeros) Read(p []byte) (int, error) {
	clear(p)
	z.read.Add(int64(len(p)))
	return len(p), nil
}

func TestRemoteWriteRefusesHugeBodies(t *testing.T) {
	r := newRig(t)
	server := httptest.NewServer(NewRemoteWrite(r.Writer))
	defer server.Close()
	for _, declared := range []int64{100 << 20, -1} { // -1 is chunked
		body := &zeros{}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, io.LimitReader(body, 100<<20))
		if err != nil {
			t.Fatal(err)
		}
		request.ContentLength = declared
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		answer, err := http.DefaultClient.Do(request)
		runtime.ReadMemStats(&after)
		if err != nil { // the server may close before the client has read its answer
			t.Logf("declared %d: %v", declared, err)
		} else {
			text, _ := io.ReadAll(answer.Body)
			answer.Body.Close()
			if answer.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(string(text), "32 MiB") {
				t.Errorf("declared %d: %d %s", declared, answer.StatusCode, text)
			}
		}
		if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 5*maxCompressedBytes {
			t.Errorf("declared %d: allocated %d MiB", declared, allocated>>20)
		}
		if read := body.read.Load(); declared > 0 && read > 16<<20 {
			t.Errorf("%d MiB were sent before the refusal", read>>20)
		}
	}
	await(t, "count of both", func() bool { return r.refused(ProtocolRemoteWrite)["too_large"] == 2 })
}

func TestRemoteWriteLimitsPoints(t *testing.T) {
	body, err := (&prompb.WriteRequest{Timeseries: []prompb.TimeSeries{good, good}}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	var in intake
	in.begin(newRig(t).Begin(ProtocolRemoteWrite), "")
	in.request.points = maxRequestPoints - 1
	var refused *RefusedError
	if err := in.read(body); !errors.As(err, &refused) || refused.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("got %v", err)
	}
	in.request.Release()
}

func TestRemoteWriteAnswersForTheJournal(t *testing.T) {
	for _, test := range []struct {
		err    error
		status int
		retry  string
	}{
		{fmt.Errorf("x: %w", journal.ErrBusy), http.StatusTooManyRequests, "1"},
		{fmt.Errorf("x: %w", journal.ErrUnavailable), http.StatusServiceUnavailable, "5"},
		{journal.ErrClosed, http.StatusServiceUnavailable, "5"},
		{journal.ErrTooLarge, http.StatusRequestEntityTooLarge, ""},
		{io.ErrUnexpectedEOF, http.StatusInternalServerError, ""},
	} {
		r := newRig(t)
		r.journal.fail = []error{test.err}
		answer := post(NewRemoteWrite(r.Writer), bytes.NewReader(pack(t, good)))
		if answer.Code != test.status || answer.Header().Get("Retry-After") != test.retry {
			t.Errorf("%v: %d, Retry-After %q", test.err, answer.Code, answer.Header().Get("Retry-After"))
		}
		if r.Received()[0].Points != 0 {
			t.Errorf("%v: counted as received", test.err)
		}
	}
}

func TestRemoteWriteBoundsWhatIsInFlight(t *testing.T) {
	r := newRig(t)
	rw := NewRemoteWrite(r.Writer)
	if !rw.inFlight.TryAcquire(maxInFlightBytes) {
		t.Fatal("no room")
	}
	if answer := post(rw, bytes.NewReader(pack(t, good))); answer.Code != http.StatusTooManyRequests {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
	rw.inFlight.Release(maxInFlightBytes)
	if answer := post(rw, bytes.NewReader(pack(t, good))); answer.Code != http.StatusNoContent {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
	if !rw.inFlight.TryAcquire(maxInFlightBytes) {
		t.Error("a request left its reservation behind")
	}
}

// A repeated body has the hash it had before; a key stands for the body.
func TestRemoteWriteHashes(t *testing.T) {
	r := newRig(t)
	rw := NewRemoteWrite(r.Writer)
	one, other := pack(t, good), pack(t, sent(start, 7, "__name__", "good", "job", "a"))
	post(rw, bytes.NewReader(one))
	if _, err := rw.WriteRemote(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	post(rw, bytes.NewReader(other))
	post(rw, bytes.NewReader(one), "Idempotency-Key", "k")
	post(rw, bytes.NewReader(other), "Idempotency-Key", "k")
	h := r.journal.hashes
	if len(h) != 5 || h[0] != h[1] || h[0] == h[2] || h[3] != h[4] || h[0] == h[3] || h[0] == (journal.Hash{}) {
		t.Errorf("hashes %x", h)
	}
}

func TestWriteRemote(t *testing.T) {
	r := newRig(t)
	written, err := NewRemoteWrite(r.Writer).WriteRemote(t.Context(), pack(t, good, sent(start, 1)))
	if refused, ok := err.(*RefusedError); !ok || refused.Status != http.StatusBadRequest || written != (Written{Points: 1, Refused: 1}) {
		t.Errorf("%+v %v", written, err)
	}
	if got := r.refused(ProtocolAgent); got["no_labels"] != 1 {
		t.Errorf("refused %v", got)
	}
}

func TestRemoteWriteMetadata(t *testing.T) {
	r := newRig(t)
	body, err := (&prompb.WriteRequest{Metadata: []prompb.MetricMetadata{
		{Type: prompb.MetricMetadata_HISTOGRAM, MetricFamilyName: "latency", Help: "h", Unit: "s"},
		{MetricFamilyName: ""},
	}}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	answer := post(NewRemoteWrite(r.Writer), bytes.NewReader(snappy.Encode(nil, body)))
	if answer.Code != http.StatusBadRequest || !strings.Contains(answer.Body.String(), "bad_metadata") {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
	want := []series.Metadata{{Family: "latency", Type: "histogram", Help: "h", Unit: "s"}}
	if !cmp.Equal(r.journal.metadata, want) {
		t.Errorf("journalled %v", r.journal.metadata)
	}
}

// FuzzRemoteWrite: whatever comes, the answer is one of those documented, and it is
// the same when the spellings of its series are known.
func FuzzRemoteWrite(f *testing.F) {
	whole := pack(f, good, sent(start, 1, "b", "1", "b", "2"))
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Add(pack(f, good, sent(-1, 1, "__name__", "good", "job", "a"), sent(start, 2, "job", "a", "__name__", "good")))
	f.Fuzz(func(t *testing.T, body []byte) {
		r := newRig(t)
		rw := NewRemoteWrite(r.Writer)
		r.repeats(t, func() {
			switch answer := post(rw, bytes.NewReader(body)); answer.Code {
			case 204, 400, 413:
			default:
				t.Errorf("%d %s", answer.Code, answer.Body)
			}
		})
	})
}

// FuzzWriteRequest is FuzzRemoteWrite behind the compression.
func FuzzWriteRequest(f *testing.F) {
	for _, list := range [][]prompb.TimeSeries{{good}, {sent(start, 1, "b", "1"), good, sent(-1, 1, "__name__", "a")}} {
		body, err := (&prompb.WriteRequest{Timeseries: list}).Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r := newRig(t)
		rw := NewRemoteWrite(r.Writer)
		r.repeats(t, func() {
			_, err := rw.WriteRemote(t.Context(), snappy.Encode(nil, body))
			if refused := (*RefusedError)(nil); err != nil && !errors.As(err, &refused) {
				t.Error(err)
			}
		})
	})
}
