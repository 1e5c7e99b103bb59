package measure

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"carillon/usage"
)

const (
	answerWithin = 30 * time.Second // of a server that was started
	askEvery     = 5 * time.Millisecond
	maxSaid      = 4 << 10 // bytes of what a server said that are kept
)

// process is a server under measurement. It ends with this process, and by its id only.
type process struct {
	name    string
	command []string
	address string // it answers when connections to it are taken
	cmd     *exec.Cmd
	said    *said
	ended   chan struct{}
}

// said keeps the beginning of what a server says.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(b[:min(len(b), max(0, maxSaid-s.text.Len()))])
	return len(b), nil
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// start begins the process, the first time or again, and waits until it answers.
func (p *process) start(ctx context.Context) error {
	p.said, p.ended = &said{}, make(chan struct{})
	p.cmd = exec.Command(p.command[0], p.command[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = p.said, p.said
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait() // how it ended does not matter
		close(ended)
	}(p.cmd, p.ended)
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		if c, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.address); err == nil {
			return c.Close()
		}
		select {
		case <-p.ended:
			return fmt.Errorf("start %s: it ended and said: %s", p.name, p.said)
		case <-ctx.Done():
			p.kill()
			return fmt.Errorf("start %s: %w; it said: %s", p.name, ctx.Err(), p.said)
		case <-tick.C:
		}
	}
}

func (p *process) signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // fails if it has ended
	<-p.ended
}

func (p *process) cpu() (time.Duration, error) { return usage.CPU(p.cmd.Process.Pid) }

// freeAddresses are addresses of loopback that were free a moment ago.
func freeAddresses(n int) (addresses []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // at the end, so that they differ
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}

// NodeVerb is what the command of a run is to be given before the text for ServeNode.
func NodeVerb() []string { return []string{"bench", "object-node"} }

// node is a process of a cluster.
func (r *run) node(c nodeConfig) (*process, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	command := append(append(append([]string(nil), r.Command...), NodeVerb()...), string(text))
	return &process{name: c.Name, command: command, address: c.Listen}, nil
}

// cluster is processes that are started and ended together.
type cluster []*process

func (c cluster) start(ctx context.Context) (err error) {
	for i, p := range c {
		if err := p.start(ctx); err != nil {
			return errors.Join(err, c[:i].end())
		}
	}
	return nil
}

func (c cluster) end() error {
	for _, p := range c {
		p.kill()
	}
	return nil
}
