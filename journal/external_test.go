package journal

import (
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// natsServer is a nats-server in a process of its own, built from the version
// that go.mod names.
type natsServer struct {
	t       *testing.T
	binary  string
	dir     string
	port    string // of 127.0.0.1; "-1" until the first start chose one
	command *exec.Cmd
}

func buildServer(t *testing.T) *natsServer {
	t.Helper()
	if testing.Short() {
		t.Skip("builds nats-server")
	}
	dir := t.TempDir()
	s := &natsServer{t: t, binary: filepath.Join(dir, "nats-server"), dir: dir, port: "-1"}
	if out, err := exec.Command("go", "build", "-o", s.binary, "github.com/nats-io/nats-server/v2").CombinedOutput(); err != nil {
		t.Fatalf("building nats-server: %v\n%s", err, out)
	}
	t.Cleanup(s.kill)
	return s
}

// start starts the server and waits until it has said where it listens.
func (s *natsServer) start() {
	s.t.Helper()
	settings := filepath.Join(s.dir, "nats.conf")
	content := "listen: 127.0.0.1:" + s.port + "\nports_file_dir: " + s.dir +
		"\njetstream { store_dir: " + filepath.Join(s.dir, "js") + ", sync_interval: always }\n"
	if err := os.WriteFile(settings, []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.command = exec.Command(s.binary, "-c", settings)
	s.command.Stderr = s.t.Output()
	if err := s.command.Start(); err != nil {
		s.t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); s.port == "-1"; {
		if time.Now().After(deadline) {
			s.t.Fatal("nats-server did not say its port")
		}
		s.readPort()
		time.Sleep(10 * time.Millisecond) // polls a file of another process
	}
}

func (s *natsServer) readPort() {
	files, _ := filepath.Glob(filepath.Join(s.dir, "*.ports"))
	for _, f := range files {
		content, _ := os.ReadFile(f)
		var ports struct{ Nats []string }
		if json.Unmarshal(content, &ports) == nil && len(ports.Nats) > 0 {
			address, err := url.Parse(ports.Nats[0])
			if err != nil {
				s.t.Fatal(err)
			}
			s.port = address.Port()
		}
	}
}

func (s *natsServer) url() string { return "nats://127.0.0.1:" + s.port }

func (s *natsServer) kill() {
	if s.command != nil {
		s.command.Process.Kill()
		s.command.Wait()
		s.command = nil
	}
}

// The same journal on a server of its own: it survives the server's death, a
// message that is sent meanwhile arrives, and a reader goes on.
func TestExternalServer(t *testing.T) {
	server := buildServer(t)
	c := config(t, "")
	server.start()
	c.URL = server.url()
	j := open(t, c)
	store(t, j, example(), gauges(2))

	arrived := make(chan Message, 100)
	go j.Read(t.Context(), 0, 1, func(m Message) error { arrived <- m; return nil })
	next := uint64(1)
	expect := func(points int) {
		t.Helper()
		select {
		case m := <-arrived:
			if m.Sequence != next || m.Err != nil || parts(t, m)[0].Points() != points {
				t.Fatalf("message %d came, error %v; want %d", m.Sequence, m.Err, next)
			}
			next++
		case <-time.After(patience):
			t.Fatalf("message %d did not come", next)
		}
	}
	expect(example().Points())

	server.kill()
	stored := make(chan error, 1)
	go func() { stored <- j.Append(t.Context(), []*Part{gauges(3), nil}) }()
	server.start()
	if err := <-stored; err != nil {
		t.Fatalf("append while the server was away: %v", err)
	}
	expect(3)

	if j.stream.connection.Status() != nats.CONNECTED {
		t.Error("not connected")
	}
	store(t, j, gauges(4), nil)
	expect(4)
	trim(t, j, 2)
	j.Close()
	j = open(t, c)
	if got := bounds(t, j); got != [2]uint64{3, 3} {
		t.Errorf("bounds are %v", got)
	}

	c.Partitions = 5
	if _, err := Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), "partitions") {
		t.Errorf("opened with another number of partitions: %v", err)
	}

	// The server's limit is the usual 1 MiB a message; larger requests are cut.
	const points = 200_000
	store(t, j, random(points), nil)
	got := 0
	for _, m := range read(t, j, 0, 4, int(j.Acknowledged())-3) {
		for _, p := range parts(t, m) {
			got += p.Points()
		}
	}
	if got != points {
		t.Errorf("%d points came back, want %d", got, points)
	}
}

func TestNoServer(t *testing.T) {
	c := config(t, "")
	c.URL = "nats://127.0.0.1:1"
	if _, err := Open(t.Context(), c); !errors.Is(err, nats.ErrNoServers) {
		t.Fatalf("opened without a server: %v", err)
	}
}
