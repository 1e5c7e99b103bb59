package httpapi

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"carillon/directory/location"
)

// local sends a request to the handler as a connection from this machine would.
func (f *fixture) local(method, path, body string, status int, kind, text string, alter ...func(*http.Request)) {
	f.t.Helper()
	request := httptest.NewRequestWithContext(
		context.WithValue(f.t.Context(), http.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9480})),
		method, "http://localhost:9480"+Root+path, strings.NewReader(body))
	request.RemoteAddr = "127.0.0.1:40000"
	for _, change := range alter {
		change(request)
	}
	recorder := httptest.NewRecorder()
	f.mux.ServeHTTP(recorder, request)
	a := f.check(method+" "+path, recorder.Result(), status)
	if a.ErrorType != kind || !strings.Contains(a.Error, text) {
		f.t.Errorf("%s %s: %s: %s, want %s with %q", method, path, a.ErrorType, a.Error, kind, text)
	}
}

func quoted(dir string) string { return `{"dir":` + strconv.Quote(dir) + `}` }

func TestBackupAndRestore(t *testing.T) {
	f := openFilled(t)
	dir := filepath.Join(t.TempDir(), "backup")
	if got := into[Copied](t, f.do("POST", "/backup", quoted(dir), http.StatusOK)); got != (Copied{Dir: dir, Revision: 4}) {
		t.Errorf("backup: %+v", got)
	}
	f.refused("POST", "/backup", quoted(dir), http.StatusConflict, "exists", dir)
	f.do("DELETE", "/entries/home", "", http.StatusOK)
	f.refused("GET", "/entries/home", "", http.StatusNotFound, "not_found", "home")
	if got := into[Copied](t, f.do("POST", "/restore", quoted(dir), http.StatusOK)); got.Revision != 4 {
		t.Errorf("restore: %+v", got)
	}
	f.do("GET", "/entries/home", "", http.StatusOK)

	f.refused("POST", "/restore", quoted(dir+"s"), http.StatusUnprocessableEntity, "execution", "no such")
	f.refused("POST", "/restore", quoted(t.TempDir()), http.StatusUnprocessableEntity, "execution", "restore")
	f.do("GET", "/entries/home", "", http.StatusOK)
	for _, path := range []string{"/backup", "/restore"} {
		f.refused("POST", path, quoted("here"), http.StatusBadRequest, "bad_data", "absolute path")
		f.refused("POST", path, `{}`, http.StatusBadRequest, "bad_data", "absolute path")
		f.refused("POST", path, quoted(dir), http.StatusForbidden, "forbidden", "cross-origin", "Sec-Fetch-Site: cross-site")
	}
}

func TestFilesAreForThisMachine(t *testing.T) {
	f := openFilled(t)
	dir := filepath.Join(t.TempDir(), "backup")
	for what, c := range map[string]struct {
		alter func(*http.Request)
		text  string
	}{
		"another listener": {func(r *http.Request) {
			*r = *r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 9480})))
		}, "the listener's address is not loopback"},
		"another client":     {func(r *http.Request) { r.RemoteAddr = "192.0.2.7:40000" }, "192.0.2.7:40000 is not loopback"},
		"a proxy":            {func(r *http.Request) { r.Header.Set("X-Forwarded-For", "192.0.2.7") }, "forwarded"},
		"a name that points": {func(r *http.Request) { r.Host = "elsewhere.example:9480" }, "elsewhere.example:9480"},
		"no host":            {func(r *http.Request) { r.Host = "" }, "is not loopback"},
	} {
		for _, path := range []string{"/backup", "/restore"} {
			t.Run(what+path, func(t *testing.T) {
				f := *f
				f.t = t
				f.local("POST", path, quoted(dir), http.StatusForbidden, "forbidden", c.text, c.alter)
			})
		}
	}
	f.local("POST", "/backup", quoted(dir), http.StatusOK, "", "", func(r *http.Request) { r.Host = "[::1]" })
}

// TestRestoreOfAStoppedNode, and of a server that was not given a way to restore.
func TestRestoreRefused(t *testing.T) {
	f := open(t)
	for want, restore := range map[string]func(context.Context, string) error{
		"does not restore": nil,
		"failed commit":    func(context.Context, string) error { return errors.Join(location.ErrStopped, errors.New("disk")) },
	} {
		f.mux = http.NewServeMux()
		New(Config{
			Directory: f.directory, Feed: f.feed, Restore: restore, Now: now,
			Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Registerer: prometheus.NewRegistry(),
		}).Register(f.mux)
		f.local("POST", "/restore", quoted("/backup"), http.StatusServiceUnavailable, "unavailable", want)
	}
}
