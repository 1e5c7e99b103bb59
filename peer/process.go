package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"carillon/usage"
)

const (
	startLasts = 5 * time.Minute // at most, of a server that reads what it has
	stopLasts  = 5 * time.Minute // at most, of one that writes what it holds
	pollEvery  = 10 * time.Millisecond
	watchEvery = 100 * time.Millisecond
	idleShare  = 0.05                   // of a core; less is idle
	idleFor    = 300 * time.Millisecond // at least, of a server that has settled
	logBytes   = 4 << 10                // of what a server said last
)

// Process is a server that was started, and ends by its process id only.
type Process struct {
	Peer  *Peer
	Data  string // its folder
	Ports Ports
	cmd   *exec.Cmd
	log   *tail
	ended chan struct{} // closed when it has ended

	ReadyAfter time.Duration // from its start until it answered
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte // guarded by mu
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	t.text = t.text[max(0, len(t.text)-logBytes):]
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}

// Start runs a server on a data directory and free ports, and waits until it answers. It
// is in the network namespace of the calling thread.
func (p *Peer) Start(ctx context.Context, dir string) (*Process, error) {
	ports, err := freePorts(p.host)
	if err != nil {
		return nil, err
	}
	s := &Process{Peer: p, Data: filepath.Join(dir, p.Name), Ports: ports, log: &tail{}, ended: make(chan struct{})}
	if err := os.MkdirAll(s.Data, 0o700); err != nil {
		return nil, err
	}
	command, err := p.command(s.Data, ports)
	if err != nil {
		return nil, err
	}
	s.cmd = exec.Command(command[0], command[1:]...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.SysProcAttr = dieWithUs()
	began := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name, err)
	}
	go func() {
		_ = s.cmd.Wait() // how it ended is in ProcessState
		close(s.ended)
	}()
	if err := s.wait(ctx); err != nil {
		s.Kill()
		return nil, fmt.Errorf("start %s: %w; it said: %s", p.Name, err, s.log)
	}
	s.ReadyAfter = time.Since(began)
	return s, nil
}

// wait returns when the server answers.
func (s *Process) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLasts)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !s.answers(ctx) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.ended:
			return errors.New("it ended: " + s.cmd.ProcessState.String())
		case <-tick.C:
		}
	}
	return nil
}

func (s *Process) answers(ctx context.Context) bool {
	if !s.Peer.http {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.Peer.line(s.Ports))
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL("/api/v1/query?query=1"), nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func (s *Process) URL(path string) string { return "http://" + s.Ports.HTTP + path }

// PID is the id of the process.
func (s *Process) PID() int { return s.cmd.Process.Pid }

// CPU is what the server has used until now.
func (s *Process) CPU() (time.Duration, error) { return usage.CPU(s.cmd.Process.Pid) }

// Settle waits until the server's background work is done, but no longer than the time
// given, unless it is known to hold something.
func (s *Process) Settle(ctx context.Context, most time.Duration) error {
	idle := max(min(idleFor, most), s.Peer.holds)
	most = max(most, 2*idle)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	before, err := s.CPU()
	if err != nil {
		return err
	}
	began := time.Now()
	for busy := began; time.Since(busy) < idle && time.Since(began) < most; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		now, err := s.CPU()
		if err != nil {
			return err
		}
		if now-before > time.Duration(idleShare*float64(watchEvery)) {
			busy = time.Now()
		}
		before = now
	}
	return nil
}

// Kill ends the server as a power cut would, as far as a process can tell.
func (s *Process) Kill() {
	_ = s.cmd.Process.Kill() // fails if it has ended
	<-s.ended
}

// Stop asks the server to write what it holds and end, and returns the CPU time it used in
// its life and the most memory it had.
func (s *Process) Stop() (cpu time.Duration, peak int64, err error) {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, 0, fmt.Errorf("stop %s: %w", s.Peer.Name, err)
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	late := time.NewTimer(stopLasts)
	defer late.Stop()
	for {
		if now, err := usage.PeakMemory(s.cmd.Process.Pid); err == nil {
			peak = max(peak, now)
		}
		select {
		case <-s.ended:
			return s.cmd.ProcessState.UserTime() + s.cmd.ProcessState.SystemTime(), peak, nil
		case <-late.C:
			s.Kill()
			return 0, 0, fmt.Errorf("stop %s: it went on for %s; it said: %s", s.Peer.Name, stopLasts, s.log)
		case <-tick.C:
		}
	}
}

// Ports are addresses that were free a moment ago.
type Ports struct{ HTTP, Graphite, Istatd, Cache string }

func freePorts(host netip.Addr) (p Ports, err error) {
	if !host.IsValid() {
		host = netip.MustParseAddr("127.0.0.1")
	}
	for _, address := range []*string{&p.HTTP, &p.Graphite, &p.Istatd, &p.Cache} {
		l, err := net.Listen("tcp", netip.AddrPortFrom(host, 0).String())
		if err != nil {
			return Ports{}, err
		}
		defer l.Close() // at the end, so that they differ
		*address = l.Addr().String()
	}
	return p, nil
}

// Scratch is an own folder in a run's, removed by done.
func Scratch(parent string) (dir string, done func() error, err error) {
	dir, err = os.MkdirTemp(parent, "server-")
	return dir, func() error { return os.RemoveAll(dir) }, err
}
