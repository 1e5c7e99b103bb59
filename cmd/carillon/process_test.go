package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/model"
)

// TestMain lets the test binary stand in for the real one: started with
// beCarillon set it runs the command line as main does, in a process of its own
// that can be killed.
func TestMain(m *testing.M) {
	if os.Getenv(beCarillon) != "" {
		os.Exit(run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

const beCarillon = "CARILLON_TEST_BE_CARILLON"

func carillon(args ...string) *exec.Cmd { return carillonContext(context.Background(), args...) }

func carillonContext(ctx context.Context, args ...string) *exec.Cmd {
	executable, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.CommandContext(ctx, executable, args...)
	cmd.Env = append(os.Environ(), beCarillon+"=1")
	return cmd
}

const startLasts = 60 * time.Second

// serverProcess is a real `carillon serve`.
type serverProcess struct {
	cmd                   *exec.Cmd
	URL, Graphite, Istatd string
	Cache, CacheUDP       string // empty without a cache
	log                   *lockedBuffer
	exited                chan error
}

type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder // guarded by mu
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var announced = map[string]*regexp.Regexp{
	"url":      regexp.MustCompile(`page and API +(\S+)`),
	"graphite": regexp.MustCompile(`Graphite plaintext +(\S+)`),
	"istatd":   regexp.MustCompile(`istatd lines +(\S+)`),
	"cache":    regexp.MustCompile(`memcached +(\d\S+)`),
	"cacheUDP": regexp.MustCompile(`memcached by UDP +(\S+)`),
}

// startServer runs a server on free ports and waits until it answers.
func startServer(t testing.TB, data string, args ...string) *serverProcess {
	t.Helper()
	args = append([]string{"serve", "--data", data, "--listen", "127.0.0.1:0", "--graphite", "127.0.0.1:0", "--istatd", "127.0.0.1:0"}, args...)
	s := &serverProcess{cmd: carillon(args...), log: &lockedBuffer{}, exited: make(chan error, 1)}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stderr = s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	go func() {
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			for name, pattern := range announced {
				if m := pattern.FindStringSubmatch(lines.Text()); m != nil {
					switch name {
					case "url":
						s.URL = m[1]
					case "graphite":
						s.Graphite = m[1]
					case "istatd":
						s.Istatd = m[1]
					case "cache":
						s.Cache = m[1]
					case "cacheUDP":
						s.CacheUDP = m[1]
					}
				}
			}
			if strings.Contains(lines.Text(), "  data ") {
				close(ready)
			}
		}
		s.exited <- s.cmd.Wait()
	}()
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("log of the server:\n%s", s.log)
		}
	})
	select {
	case <-ready:
	case err := <-s.exited:
		s.exited <- err
		t.Fatalf("the server ended: %v\n%s", err, s.log)
	case <-time.After(startLasts):
		t.Fatalf("the server did not start in %s\n%s", startLasts, s.log)
	}
	return s
}

// kill ends the process as power loss would, as far as a process can tell.
func (s *serverProcess) kill() {
	_ = s.cmd.Process.Kill()
	err := <-s.exited
	s.exited <- err
}

// stop asks the process to end and returns how it did.
func (s *serverProcess) stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	err := <-s.exited
	s.exited <- err
	return err
}

// get asks the query API and decodes the result into out.
func get(base, path string, q url.Values, out any) error {
	response, err := http.Get(base + path + "?" + q.Encode())
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		return fmt.Errorf("%s: %s: %w", path, body, err)
	}
	if a.Status != "success" {
		return fmt.Errorf("%s: %s", path, a.Error)
	}
	return json.Unmarshal(a.Data.Result, out)
}

// samples is the exact samples of all series that a selector matches, in the day
// before at.
func samples(t *testing.T, base, selector string, at time.Time) map[string][]model.SamplePair {
	t.Helper()
	var matrix model.Matrix
	if err := get(base, "/api/v1/query", url.Values{"query": {selector + "[1d]"}, "time": {seconds(at)}}, &matrix); err != nil {
		t.Fatal(err)
	}
	bySeries := make(map[string][]model.SamplePair)
	for _, s := range matrix {
		bySeries[s.Metric.String()] = s.Values
	}
	return bySeries
}

// eventually asks until it is true, for at most a minute.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-tick.C:
		}
	}
}

func tempData(t testing.TB) string { return filepath.Join(t.TempDir(), "data") }
