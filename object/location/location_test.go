package location

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"testing"

	"carillon/object"
	"carillon/object/conformance"

	"github.com/nats-io/nats-server/v2/server"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func serveNATS(t *testing.T) string {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s.Addr().String()
}

// TestOpen puts an object into each kind of store and finds it when the store is opened again.
func TestOpen(t *testing.T) {
	for _, url := range []string{
		"file://" + t.TempDir() + "?sync=none",
		"pack://" + t.TempDir() + "?sync=1s&keep=2",
		"pebble://" + t.TempDir() + "?sync=always",
		"jetstream://" + t.TempDir() + "?shards=1",
		"jetstream://" + serveNATS(t) + "/archive?shards=2",
	} {
		scheme, _, _ := strings.Cut(url, ":")
		content := conformance.Content(1000, 1)
		for round := range 2 {
			s, err := Open(t.Context(), url, quiet())
			if err != nil {
				t.Fatal(err)
			}
			if round == 0 {
				if _, err := s.Put(t.Context(), "a", bytes.NewReader(content), object.Put{Version: conformance.V(1), Size: 1000}); err != nil {
					t.Fatalf("%s: %v", scheme, err)
				}
			}
			if info, err := s.Stat(t.Context(), "a"); err != nil || info.Sum != object.SumOf(content) {
				t.Errorf("%s: got %+v, %v", scheme, info, err)
			}
			if err := s.Close(); err != nil {
				t.Errorf("%s: %v", scheme, err)
			}
		}
	}
}

func TestBadURL(t *testing.T) {
	for url, want := range map[string]string{
		"":                               "want file, pack",
		"/a/folder":                      "want file, pack",
		"http://host/a":                  "want file, pack",
		"pack://folder/a":                "three slashes",
		"pack:":                          "three slashes",
		"pack:///a?sync=sometimes":       "sometimes",
		"pack:///a?sync=-1s":             "-1s",
		"pack:///a?keep=0":               "want 1 or more",
		"pack:///a?keep=1&keep=2":        "twice",
		"pack:///a?shards=4":             "unknown option",
		"pack:///%zz":                    "%zz",
		"s3:///prefix":                   "s3://bucket",
		"s3://key:secret@bucket":         "no keys",
		"s3://bucket?sync=always":        "the service's",
		"jetstream://host:1?sync=always": "the service's",
		"jetstream:":                     "jetstream:///folder",
		"jetstream:///a?creds=/b":        "unknown option",
	} {
		if err := Check(url); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want an error with %q", url, err, want)
		}
	}
	if err := Check("s3://key:secret@bucket"); strings.Contains(err.Error(), "secret") {
		t.Errorf("the error tells a secret: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("pack:///folder?sync=100ms&keep=3")
	f.Add("s3://bucket/prefix?endpoint=host:9000&plain=true")
	f.Fuzz(func(t *testing.T, text string) {
		if l, err := parse(text); err == nil && l.dir == "" && l.url.Host == "" {
			t.Fatalf("%q is taken, and says neither folder nor host", text)
		}
	})
}
