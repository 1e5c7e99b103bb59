//go:build !race

// The race detector makes sync.Pool forget on purpose.

package receive

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// maxHTTPAllocs is what one POST may allocate, however many points it brings: for
// its headers and its body's limit.
const maxHTTPAllocs = 5

// Points of known series allocate nothing, in any protocol, and neither does the
// request around them.
func TestKnownSeriesDoNotAllocate(t *testing.T) {
	const count = 1000
	w := newWorkload(t, count)
	rw := NewRemoteWrite(w.writer)
	body := w.bodies(t, 1)[0]
	var answer discard
	content := bytes.NewReader(nil)
	posted := httptest.NewRequest(http.MethodPost, "/api/v1/write", io.NopCloser(content))
	posted.Header.Set("Content-Encoding", "snappy")
	posted.Header.Set("Content-Type", "application/x-protobuf")
	lines := func(p Protocol, format func(int) string) func() {
		l := newLines(w.writer, p, new(session))
		buffer := testBuffer()
		block := w.blocks(1, format)[0]
		return func() { sendBlock(t, l, buffer, block) }
	}
	for name, c := range map[string]struct {
		request func()
		allowed float64
	}{
		"remote write": {func() {
			if _, err := rw.WriteRemote(t.Context(), body); err != nil {
				t.Fatal(err)
			}
		}, 0},
		"remote write by HTTP": {func() {
			content.Reset(body)
			posted.Body, posted.ContentLength = io.NopCloser(content), int64(len(body))
			rw.ServeHTTP(&answer, posted)
		}, maxHTTPAllocs},
		"graphite":      {lines(ProtocolGraphite, w.graphite), 0},
		"istatd":        {lines(ProtocolIstatd, w.istatd), 0},
		"istatd now":    {lines(ProtocolIstatd, w.istatdNow), 0},
		"istatd bucket": {lines(ProtocolIstatd, w.istatdBucket), 0},
	} {
		for range 3 { // the spellings, the buffers
			c.request()
		}
		before := w.sink.points
		if n := testing.AllocsPerRun(50, c.request); n > c.allowed {
			t.Errorf("%s: %v allocations for %d points, %v allowed", name, n, count, c.allowed)
		}
		if got := w.sink.points - before; got != 51*count {
			t.Errorf("%s: %d points arrived, %d were sent", name, got, 51*count)
		}
	}
	if answer.status != http.StatusNoContent {
		t.Errorf("answer %d", answer.status)
	}
}

// discard is an http.ResponseWriter that keeps only the status.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header {
	if d.header == nil {
		d.header = make(http.Header)
	}
	return d.header
}

func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }
