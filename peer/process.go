package peer

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

const (
	watchEvery = 100 * time.Millisecond
	idleShare  = 0.05                   // of a core; less is idle
	idleFor    = 300 * time.Millisecond // at least, of a server that has settled
)

// Process is a peer that was started.
type Process struct {
	*Child
	Peer  *Peer
	Data  string // its folder
	Ports Ports

	ReadyAfter time.Duration // from its start until it answered
}

// Start runs a server on a data directory and free ports, and waits until it answers. It
// is in the network namespace of the calling thread.
func (p *Peer) Start(ctx context.Context, dir string) (*Process, error) {
	ports, err := p.freePorts()
	if err != nil {
		return nil, err
	}
	s := &Process{Peer: p, Data: filepath.Join(dir, p.Name), Ports: ports}
	if err := os.MkdirAll(s.Data, 0o700); err != nil {
		return nil, err
	}
	command, err := p.command(s.Data, ports)
	if err != nil {
		return nil, err
	}
	answers := s.answers
	if !p.http {
		answers = Listens(p.line(ports))
	}
	began := time.Now()
	if s.Child, err = Spawn(ctx, p.Name, command, answers); err != nil {
		return nil, err
	}
	s.ReadyAfter = time.Since(began)
	return s, nil
}

func (s *Process) answers(ctx context.Context) bool {
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

// Ports are addresses that were free a moment ago.
type Ports struct{ HTTP, Graphite, Istatd, Cache string }

func (p *Peer) freePorts() (Ports, error) {
	host := Loopback
	if p.host.IsValid() {
		host = p.host.String()
	}
	free, err := FreeAddresses(host, 4)
	if err != nil {
		return Ports{}, err
	}
	return Ports{HTTP: free[0], Graphite: free[1], Istatd: free[2], Cache: free[3]}, nil
}

// Scratch is an own folder in a run's, removed by done.
func Scratch(parent string) (dir string, done func() error, err error) {
	dir, err = os.MkdirTemp(parent, "server-")
	return dir, func() error { return os.RemoveAll(dir) }, err
}
