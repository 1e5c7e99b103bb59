package httpapi

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"carillon/cuckoo"
	"carillon/directory"
	"carillon/directory/feed"
	"carillon/directory/location"
)

var _ Feed = (*feed.Node)(nil)

// directFeed applies a change as soon as it is proposed.
type directFeed struct {
	directory *location.Directory
	now       func() time.Time

	mu      sync.Mutex
	dead    error             // what calls fail with; nil while live
	stuck   bool              // calls wait for their context
	asked   []string          // waits, as the API asked for them
	applied []location.Change // changes, as the API proposed them
}

func (f *directFeed) Propose(ctx context.Context, c location.Change) (location.Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.trouble(ctx); err != nil {
		return location.Result{}, err
	}
	f.applied = append(f.applied, c)
	c.Time = f.now().UnixMilli()
	return f.directory.Apply(f.directory.Revision()+1, c)
}

func (f *directFeed) trouble(ctx context.Context) error {
	if f.stuck {
		<-ctx.Done()
		return ctx.Err()
	}
	return f.dead
}

func (f *directFeed) wait(ctx context.Context, what string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, what)
	return f.trouble(ctx)
}

func (f *directFeed) Await(ctx context.Context, revision uint64) error {
	return f.wait(ctx, "revision "+time.Duration(revision).String())
}

func (f *directFeed) Current(ctx context.Context) error { return f.wait(ctx, "current") }

func (f *directFeed) Status() feed.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := feed.Status{Revision: f.directory.Revision(), Last: f.directory.Revision(), Live: f.dead == nil}
	if f.dead != nil {
		s.Reason = f.dead.Error()
	}
	return s
}

func (f *directFeed) set(dead error, stuck bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead, f.stuck = dead, stuck
}

// fixture is an API over a real directory, and a server of it.
type fixture struct {
	t         *testing.T
	directory *location.Directory
	feed      *directFeed
	registry  *prometheus.Registry
	mux       *http.ServeMux
	url       string
}

// now is the time of all tests: the start of 2026-03-01.
func now() time.Time { return time.Unix(1772323200, 0) }

func open(t *testing.T) *fixture {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	d, err := location.Open(location.Config{
		Dir: filepath.Join(t.TempDir(), "location"), Logger: logger,
		Caches: location.Caches{Names: 8, AbsentNames: 8, IDs: 8, AbsentIDs: 8},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	f := &fixture{t: t, directory: d, feed: &directFeed{directory: d, now: now}, registry: prometheus.NewRegistry(), mux: http.NewServeMux()}
	New(Config{
		Directory: d, Feed: f.feed,
		Restore:    func(_ context.Context, dir string) error { return d.Restore(dir) },
		Series:     func() directory.CacheStats { return directory.CacheStats{Positive: cuckoo.Stats{Hits: 5}} },
		Now:        now,
		Logger:     logger,
		Registerer: f.registry,
	}).Register(f.mux)
	server := httptest.NewServer(f.mux)
	t.Cleanup(server.Close)
	f.url = server.URL + Root
	return f
}

// openFilled has the servers s1 and s2 and the entries root.cell (7, 8) and home.
func openFilled(t *testing.T) *fixture {
	t.Helper()
	f := open(t)
	f.do("PUT", "/servers/s1", "", http.StatusCreated)
	f.do("PUT", "/servers/s2", "", http.StatusCreated)
	f.do("POST", "/entries", `{"name":"root.cell","ids":{"rw":7,"ro":8},"flags":5,"sites":[{"server":"s1","partition":2},{"server":"s2","partition":3,"flags":1}]}`, http.StatusCreated)
	f.do("POST", "/entries", `{"name":"home"}`, http.StatusCreated)
	return f
}

// reply is an answer as a client reads it.
type reply struct {
	Status    string          `json:"status"`
	Data      json.RawMessage `json:"data"`
	ErrorType string          `json:"errorType"`
	Error     string          `json:"error"`
	Warnings  []string        `json:"warnings"`
	header    http.Header
}

// do sends a request, with headers as "Name: value", and demands the HTTP status.
func (f *fixture) do(method, path, body string, want int, headers ...string) reply {
	f.t.Helper()
	request, err := http.NewRequestWithContext(f.t.Context(), method, f.url+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		f.t.Fatal(err)
	}
	defer response.Body.Close()
	return f.check(method+" "+path, response, want)
}

func (f *fixture) check(what string, response *http.Response, want int) reply {
	f.t.Helper()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	a := reply{header: response.Header}
	if err := json.Unmarshal(text, &a); err != nil {
		f.t.Fatalf("%s: %v: %s", what, err, text)
	}
	if response.StatusCode != want || (want < 300) != (a.Status == "success") || (want >= 300) != (a.Error != "" && a.ErrorType != "") {
		f.t.Fatalf("%s: status %d, want %d: %s", what, response.StatusCode, want, text)
	}
	return a
}

// refused sends a request and demands its error.
func (f *fixture) refused(method, path, body string, status int, kind, text string, headers ...string) {
	f.t.Helper()
	a := f.do(method, path, body, status, headers...)
	if a.ErrorType != kind || !strings.Contains(a.Error, text) {
		f.t.Errorf("%s %s: %s: %s, want %s with %q", method, path, a.ErrorType, a.Error, kind, text)
	}
}

func into[T any](t *testing.T, a reply) (v T) {
	t.Helper()
	if err := json.Unmarshal(a.Data, &v); err != nil {
		t.Fatalf("%v: %s", err, a.Data)
	}
	return v
}
