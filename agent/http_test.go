package agent

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestServerAwayThenBack sends through a real queue and real sockets: first nobody
// listens, then the server is busy in two ways, refuses one body and takes the rest.
func TestServerAwayThenBack(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close() // away

	sender, err := NewHTTP("http://" + address)
	if err != nil {
		t.Fatal(err)
	}
	a := testAgent(t, Config{Interval: time.Hour, Sender: sender, Buffer: openQueue(t, t.TempDir(), 0)})
	mustPut(t, a.buffer, "1", "2", "bad", "3")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- a.Run(ctx) }()
	await(t, "an attempt while away", func() bool { return testutil.ToFloat64(a.metrics.failedSends) > 0 })
	mustPut(t, a.buffer, "4")

	var mu sync.Mutex
	var taken []string
	answers := []int{http.StatusServiceUnavailable, http.StatusTooManyRequests}
	back := &httptest.Server{Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		body, _ := io.ReadAll(r.Body)
		switch {
		case len(answers) > 0:
			w.WriteHeader(answers[0])
			answers = answers[1:]
		case string(body) == "bad":
			http.Error(w, "not protobuf", http.StatusBadRequest)
		default:
			taken = append(taken, string(body))
		}
	})}}
	back.Listener, err = net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	back.Start()
	defer back.Close()

	await(t, "an empty queue", func() bool { bodies, _ := a.buffer.Size(); return bodies == 0 })
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if want := []string{"1", "2", "3", "4"}; !slices.Equal(taken, want) {
		t.Errorf("arrived %q, want %q", taken, want)
	}
	if n := testutil.ToFloat64(a.metrics.rejectedBodies); n != 1 {
		t.Errorf("rejected %v", n)
	}
}

func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestRequestIsRemoteWrite(t *testing.T) {
	var got *http.Request
	var body []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer server.Close()
	base := strings.TrimPrefix(server.URL, "http://")
	for address, want := range map[string]struct{ path, authorization string }{
		"http://" + base:                          {"/api/v1/write", ""},
		"http://" + base + "/":                    {"/api/v1/write", ""},
		"http://" + base + "/push?tenant=a":       {"/push?tenant=a", ""},
		"http://me:s%40crt@" + base:               {"/api/v1/write", "Basic bWU6c0BjcnQ="},
		"http://t0ken@" + base + "/api/v1/write/": {"/api/v1/write/", "Bearer t0ken"},
	} {
		sender, err := NewHTTP(address)
		if err != nil {
			t.Fatal(err)
		}
		if err := sender.Send(t.Context(), []byte("bytes")); err != nil {
			t.Fatal(err)
		}
		if got.Method != "POST" || got.RequestURI != want.path || got.Header.Get("Authorization") != want.authorization {
			t.Errorf("%s: %s %s, authorization %q", address, got.Method, got.RequestURI, got.Header.Get("Authorization"))
		}
		if string(body) != "bytes" || got.Header.Get("Content-Encoding") != "snappy" ||
			got.Header.Get("Content-Type") != "application/x-protobuf" || got.Header.Get("X-Prometheus-Remote-Write-Version") != "0.1.0" {
			t.Errorf("%s: body %q, header %v", address, body, got.Header)
		}
	}
}

func TestAnswersAreJudged(t *testing.T) {
	for _, c := range []struct {
		status     int
		retryAfter string
		rejected   bool
		pause      time.Duration
	}{
		{http.StatusBadRequest, "", true, 0},
		{http.StatusUnprocessableEntity, "9", true, 0},
		{http.StatusUnauthorized, "", false, 0},
		{http.StatusNotFound, "9", false, 9 * time.Second},
		{http.StatusRequestEntityTooLarge, "", true, 0},
		{http.StatusTooManyRequests, "7", false, 7 * time.Second},
		{http.StatusTooManyRequests, "Mon, 01 Jan 2024 00:01:40 GMT", false, 100 * time.Second},
		{http.StatusServiceUnavailable, "Sun, 31 Dec 2023 00:00:00 GMT", false, 0},
		{http.StatusServiceUnavailable, "-3", false, 0},
		{http.StatusServiceUnavailable, "soon", false, 0},
		{http.StatusInternalServerError, "", false, 0},
		{http.StatusFound, "", false, 0},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", "Mon, 01 Jan 2024 00:00:00 GMT")
			w.Header().Set("Location", "/elsewhere")
			if c.retryAfter != "" {
				w.Header().Set("Retry-After", c.retryAfter)
			}
			w.WriteHeader(c.status)
			io.WriteString(w, "the reason"+strings.Repeat(".", 1<<16))
		}))
		sender, err := NewHTTP(strings.Replace(server.URL, "//", "//me:secret@", 1))
		if err != nil {
			t.Fatal(err)
		}
		err = sender.Send(t.Context(), []byte("x"))
		server.Close()
		if err == nil || !strings.Contains(err.Error(), "the reason") || strings.Contains(err.Error(), "secret") || len(err.Error()) > 2*answerBytes {
			t.Errorf("%d: error %v", c.status, err)
		}
		if errors.Is(err, ErrRejected) != c.rejected {
			t.Errorf("%d: rejected is %v", c.status, !c.rejected)
		}
		var pause time.Duration
		if later, ok := errors.AsType[*RetryLater](err); ok {
			pause = later.After
		}
		if pause != c.pause {
			t.Errorf("%d, Retry-After %q: pause %s, want %s", c.status, c.retryAfter, pause, c.pause)
		}
	}
}

func TestBadAddresses(t *testing.T) {
	for _, address := range []string{"", "localhost:9480", "ftp://me:secret@host/", "http://", "http://me:secret@host:port", "http://me:secret@[::1"} {
		if _, err := NewHTTP(address); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: error %v", address, err)
		}
	}
}
