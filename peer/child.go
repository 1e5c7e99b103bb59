package peer

import (
	"context"
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
	startLasts = 5 * time.Minute // at most, of a server that reads what it has
	stopLasts  = 5 * time.Minute // at most, of one that writes what it holds
	pollEvery  = 10 * time.Millisecond
	logBytes   = 4 << 10 // of what a server said last
)

// Child is a process that was started here. It ends with us, and by its id only.
type Child struct {
	name  string
	cmd   *exec.Cmd
	log   *tail
	ended chan struct{} // closed when it has ended
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

// Spawn runs a command, a server, and waits until it answers. It is in the network namespace of the calling thread.
func Spawn(ctx context.Context, name string, command []string, answers func(context.Context) bool) (*Child, error) {
	c := &Child{name: name, cmd: exec.Command(command[0], command[1:]...), log: &tail{}, ended: make(chan struct{})}
	c.cmd.Stdout, c.cmd.Stderr = c.log, c.log
	c.cmd.SysProcAttr = dieWithUs()
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		_ = c.cmd.Wait() // how it ended is in ProcessState
		close(c.ended)
	}()
	if err := c.wait(ctx, answers); err != nil {
		c.Kill()
		return nil, fmt.Errorf("start %s: %w; it said: %s", name, err, c.log)
	}
	return c, nil
}

func (c *Child) wait(ctx context.Context, answers func(context.Context) bool) error {
	ctx, cancel := context.WithTimeout(ctx, startLasts)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !answers(ctx) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.ended:
			return errors.New("it ended: " + c.cmd.ProcessState.String())
		case <-tick.C:
		}
	}
	return nil
}

// Listens is for Spawn: a server answers when it takes connections at an address.
func Listens(address string) func(context.Context) bool {
	return func(ctx context.Context) bool {
		connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			_ = connection.Close()
		}
		return err == nil
	}
}

// PID is the id of the process.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// CPU is what it has used until now.
func (c *Child) CPU() (time.Duration, error) { return usage.CPU(c.PID()) }

// Signal sends it a signal.
func (c *Child) Signal(s syscall.Signal) error {
	if err := c.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("send %s to %s: %w", s, c.name, err)
	}
	return nil
}

// Kill ends it as a power cut would, as far as a process can tell.
func (c *Child) Kill() {
	_ = c.cmd.Process.Kill() // fails if it has ended
	<-c.ended
}

// Stop asks it to write what it holds and end, and returns the CPU time it used in
// its life and the most memory it had.
func (c *Child) Stop() (cpu time.Duration, peak int64, err error) {
	if err := c.Signal(syscall.SIGTERM); err != nil {
		return 0, 0, err
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	late := time.NewTimer(stopLasts)
	defer late.Stop()
	for {
		if now, err := usage.PeakMemory(c.PID()); err == nil {
			peak = max(peak, now)
		}
		select {
		case <-c.ended:
			return c.cmd.ProcessState.UserTime() + c.cmd.ProcessState.SystemTime(), peak, nil
		case <-late.C:
			c.Kill()
			return 0, 0, fmt.Errorf("stop %s: it went on for %s; it said: %s", c.name, stopLasts, c.log)
		case <-tick.C:
		}
	}
}

// Loopback is the host that servers listen on if nothing else is said.
const Loopback = "127.0.0.1"

// FreeAddresses are so many addresses of a host that were free a moment ago.
func FreeAddresses(host string, n int) (addresses []string, err error) {
	for range n {
		l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			return nil, err
		}
		defer l.Close() // at the end, so that they differ
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}
