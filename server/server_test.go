package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"

	"carillon/directory"
	"carillon/server"
	"carillon/store"
)

const patience = 30 * time.Second

// run starts a server in this process and returns its address and a function
// that ends it.
func run(t *testing.T, change func(*server.Config)) (bound server.Bound, stop func() error) {
	t.Helper()
	ready := make(chan server.Bound, 1)
	ended := make(chan error, 1)
	c := testConfig(t)
	c.Ready = func(b server.Bound) { ready <- b }
	change(&c)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { ended <- server.Run(ctx, c) }()
	asked := false // then the test has the error
	stop = func() error {
		asked = true
		cancel()
		err := <-ended
		ended <- err
		return err
	}
	t.Cleanup(func() {
		if asked {
			return
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	select {
	case bound = <-ready:
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	case <-time.After(patience):
		t.Fatal("the server does not start")
	}
	return bound, stop
}

// testConfig is a server on free ports and in a data directory of its own.
func testConfig(t *testing.T) server.Config {
	t.Helper()
	tiers, err := store.ParseTiers(store.DefaultTiers)
	if err != nil {
		t.Fatal(err)
	}
	return server.Config{
		Data: filepath.Join(t.TempDir(), "data"), HTTP: server.Address{Addr: "127.0.0.1:0"},
		Graphite: server.Address{Addr: "127.0.0.1:0"}, Istatd: server.Address{Addr: "127.0.0.1:0"},
		Tiers: tiers, Partitions: 2, SealEvery: time.Hour, FutureTolerance: time.Minute, AgentInterval: time.Second,
		SeriesCaches: directory.DefaultCaches(),
		Version:      "test", Logger: slog.New(slog.DiscardHandler), Progress: func(string, uint64, uint64) {},
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

type status struct {
	Version  string
	Series   int
	Points   uint64
	Rejected uint64
	Notices  []string
	Cache    bool
	Aligned  map[string]uint64
	Received []struct {
		Protocol string
		Points   uint64
	}
	Tiers      []struct{ Resolution, Retention string }
	Partitions []struct{ Acknowledged, Applied, Sealed uint64 }
}

func statusOf(t *testing.T, url string) (s status) {
	t.Helper()
	_, body := get(t, url+"/api/v1/status")
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return s
}

// sendLines sends lines and waits until they are acknowledged.
func sendLines(t *testing.T, address, lines string) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, lines); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(c); err != nil {
		t.Fatalf("lines were not acknowledged: %v", err)
	}
}

func TestEveryPathAnswers(t *testing.T) {
	bound, _ := run(t, func(*server.Config) {})
	for path, want := range map[string]string{
		"/":                        "<title>Carillon",
		"/metrics":                 "carillon_series{",
		"/-/ready":                 "ready",
		"/-/healthy":               "ready",
		"/api/v1/status":           `"version":"test"`,
		"/api/v1/status/rejects":   `"status":"success"`,
		"/api/v1/status/buildinfo": `"status":"success"`,
		"/api/v1/labels":           `"status":"success"`,
		"/api/v1/query?query=1":    `"scalar"`,
	} {
		if code, body := get(t, bound.URL+path); code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d, want %q in %.300s", path, code, want, body)
		}
	}
	if code, _ := get(t, bound.URL+"/nonsense"); code != http.StatusNotFound {
		t.Errorf("/nonsense: %d", code)
	}
}

// TestBadInputCostsOnlyItself sends what is wrong next to what is right.
func TestBadInputCostsOnlyItself(t *testing.T) {
	bound, _ := run(t, func(*server.Config) {})
	now := time.Now().Unix()
	sendLines(t, bound.Graphite, fmt.Sprintf("good.one 1 %d\nbad line\ngood.two nonsense %d\n%s\ngood.three 3 %d\nfar.future 1 7258118400\nlong.ago 1 10\n",
		now, now, strings.Repeat("x", 1<<20), now))
	sendLines(t, bound.Istatd, fmt.Sprintf("istatd.good %d 5\nistatd bad %d x\n!reserved\n#hostname web1\n*istatd.event 2\n", now, now))
	for name, body := range map[string][]byte{
		"not snappy":   []byte("nonsense"),
		"cut off":      snappy.Encode(nil, make([]byte, 1000))[:20],
		"not protobuf": snappy.Encode(nil, []byte{0xff, 0xff, 0xff}),
	} {
		response, err := http.Post(bound.URL+"/api/v1/write", "application/x-protobuf", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != http.StatusBadRequest || len(text) < 10 {
			t.Errorf("%s: %s %s", name, response.Status, text)
		}
	}
	for query, want := range map[string]string{
		`{"good.one"}`: `"1"`, `{"good.three"}`: `"3"`, `{"istatd.good"}`: `"5"`, `{"istatd.event"}`: `"0.2"`,
		`{__name__=~"far.future|long.ago|good.two"}`: `"result":[]`,
	} {
		if _, body := get(t, bound.URL+"/api/v1/query?query="+strings.NewReplacer("{", "%7B", "}", "%7D", `"`, "%22", "|", "%7C").Replace(query)); !strings.Contains(body, want) {
			t.Errorf("%s: want %s in %s", query, want, body)
		}
	}
	deadline := time.Now().Add(patience)
	for s := statusOf(t, bound.URL); s.Aligned["future"] != 1 || s.Aligned["too_old"] != 1; s = statusOf(t, bound.URL) {
		if time.Now().After(deadline) { // the counts are a second old at most
			t.Fatalf("status: %+v", s)
		}
	}
	_, body := get(t, bound.URL+"/api/v1/status/rejects")
	for _, want := range []string{"malformed", "bad_value", "line_too_long", "future", "too_old", "far.future", "remote_write"} {
		if !strings.Contains(body, want) {
			t.Errorf("rejects do not show %q: %s", want, body)
		}
	}
}

// TestTakenDefaultPortIsANotice: an address nobody asked for may be taken.
func TestTakenDefaultPortIsANotice(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := server.Address{Addr: taken.Addr().String()}
	bound, _ := run(t, func(c *server.Config) { c.HTTP, c.Graphite = address, address })
	if bound.Graphite != "" || bound.Istatd == "" || bound.URL == "http://"+address.Addr {
		t.Errorf("bound %+v", bound)
	}
	notices := strings.Join(statusOf(t, bound.URL).Notices, "\n")
	if !strings.Contains(notices, "--listen") || !strings.Contains(notices, "--graphite") {
		t.Errorf("notices %q name no flag", notices)
	}
}

// TestOwnAgentArrives runs with the agent and looks for this host's numbers; an
// orderly end leaves all of them sealed.
func TestOwnAgentArrives(t *testing.T) {
	var data string
	bound, stop := run(t, func(c *server.Config) { c.Agent, c.Host, data = true, "test", c.Data })
	deadline := time.Now().Add(patience)
	for {
		_, body := get(t, bound.URL+"/api/v1/query?query=host_load1")
		if strings.Contains(body, `"host":"test"`) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no load of this host: %s", body)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	report, err := server.Verify(t.Context(), data, func(string, uint64, uint64) {})
	if err != nil || len(report.Problems) > 0 || report.Pages == 0 || report.Series == 0 || report.Messages == 0 {
		t.Errorf("report %+v, %v", report, err)
	}
}
