package server

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/prompb"

	"carillon/directory"
	"carillon/receive"
	"carillon/store"
)

// TestAnswersWhileReplaying: before the loops have applied what the journal held,
// queries are answered and say what they miss, and whatever needs all of it is refused.
func TestAnswersWhileReplaying(t *testing.T) {
	tiers, err := store.ParseTiers(store.DefaultTiers)
	if err != nil {
		t.Fatal(err)
	}
	p, err := open(t.Context(), Config{
		Data: filepath.Join(t.TempDir(), "data"), Tiers: tiers, Partitions: 2, SealEvery: time.Hour, FutureTolerance: time.Minute,
		SeriesCaches: directory.DefaultCaches(), Logger: slog.New(slog.DiscardHandler), Progress: func(string, uint64, uint64) {},
	})
	defer func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
	}()
	if err != nil {
		t.Fatal(err)
	}
	status := &status{
		started: time.Now(), now: time.Now, tiers: tiers, journal: p.journal, directory: p.directory,
		partitions: p.partitions, disk: p.disk, writer: p.writer, rejects: p.rejects,
	}
	front := httptest.NewServer(p.handler(receive.NewRemoteWrite(p.writer), status, newBackups(p)))
	defer front.Close()
	request := prompb.WriteRequest{Timeseries: []prompb.TimeSeries{{
		Labels: []prompb.Label{{Name: "__name__", Value: "up"}}, Samples: []prompb.Sample{{Timestamp: time.Now().UnixMilli(), Value: 7}},
	}}}
	raw, err := request.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	write := string(snappy.Encode(nil, raw))
	ask := func(method, path, body string, code int, want string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, front.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != code || !strings.Contains(string(text), want) {
			t.Errorf("%s %s: %d %s %v, want %d with %q", method, path, response.StatusCode, text, err, code, want)
		}
	}
	const replaying = "being replayed"
	ask("GET", "/api/v1/query?query=up", "", 200, `"warnings":["the journal is `+replaying)
	ask("GET", "/api/v1/status", "", 200, replaying)
	ask("GET", "/-/healthy", "", 200, "")
	ask("GET", "/-/ready", "", 503, replaying)
	ask("POST", "/api/v1/write", write, 503, replaying)
	ask("POST", "/api/v1/admin/tsdb/delete_series?match[]=up", "", 503, replaying)
	ask("GET", ExportPath+"?match[]=up&start=0&end=10", "", 503, replaying)

	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); p.partitions.Run(ctx) }()
	defer func() { stop(); <-ended }()
	if err := p.replay(ctx, func(string, uint64, uint64) {}); err != nil {
		t.Fatal(err)
	}
	ask("GET", "/-/ready", "", 200, "ready")
	ask("POST", "/api/v1/write", write, 204, "")
	ask("GET", "/api/v1/query?query=up", "", 200, `,"7"]`)
}
