package fault

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	startLasts = 30 * time.Second
	retryAfter = 100 * time.Millisecond
)

// process is a node. One goroutine uses it.
type process struct {
	command    func(args ...string) *exec.Cmd
	name, data string
	address    string // the same over restarts
	args       []string
	cmd        *exec.Cmd // nil while it does not run
	log        bytes.Buffer
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// start runs the node until it answers.
func (p *process) start(ctx context.Context) (err error) {
	if p.address == "" {
		if p.address, err = freeAddress(); err != nil {
			return err
		}
	}
	args := append([]string{"object", "serve", "--name", p.name, "--data", p.data, "--listen", p.address, "--timeout", timeout.String()}, p.args...)
	cmd := p.command(args...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	p.log.Reset()
	cmd.Stderr = &p.log
	if err := cmd.Start(); err != nil {
		return err
	}
	p.cmd = cmd
	ready := make(chan bool, 1)
	go func() {
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if strings.HasPrefix(lines.Text(), "  data ") {
				ready <- true
			}
		}
		ready <- false
	}()
	select {
	case is := <-ready:
		if is {
			return nil
		}
		p.kill()
		return fmt.Errorf("node %s ended: %s", p.name, p.log.Bytes())
	case <-time.After(startLasts):
		p.kill()
		return fmt.Errorf("node %s did not start within %s: %s", p.name, startLasts, p.log.Bytes())
	case <-ctx.Done():
		return ctx.Err()
	}
}

// kill is power loss, as far as a process can tell. What the kernel has is still written.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait() // it was killed
	p.cmd = nil
}

func (p *process) pause()  { _ = p.cmd.Process.Signal(syscall.SIGSTOP) }
func (p *process) resume() { _ = p.cmd.Process.Signal(syscall.SIGCONT) }

// flip flips bits in the objects of a node, in the files of its store.
func flip(data string, random *rand.Rand) error {
	files, err := filepath.Glob(filepath.Join(data, "objects", "pack", "*", "*"))
	if err != nil || len(files) == 0 {
		return errors.Join(err, fmt.Errorf("no files of objects in %s", data))
	}
	for range bitsFlipped {
		if err := flipBit(files[random.IntN(len(files))], random); err != nil {
			return err
		}
	}
	return nil
}

func flipBit(path string, random *rand.Rand) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) { // compacted meanwhile
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	stat, err := file.Stat()
	if err != nil || stat.Size() == 0 {
		return err
	}
	var b [1]byte
	at := random.Int64N(stat.Size())
	if _, err := file.ReadAt(b[:], at); err != nil {
		return err
	}
	b[0] ^= 1 << random.IntN(8)
	_, err = file.WriteAt(b[:], at)
	return err
}
