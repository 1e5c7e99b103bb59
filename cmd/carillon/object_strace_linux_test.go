package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"carillon/require"
)

// strace watches the system calls of a process, and hurts it at one if it is told to.
type strace struct {
	cmd    *exec.Cmd
	prefix string // of its files, one a thread: so no call is torn in two lines by another one's
	said   *lockedBuffer
}

func needsStrace(t testing.TB) {
	t.Helper()
	_, err := exec.LookPath("strace")
	require.Feature(t, "strace", err == nil, "it is not installed")
}

// attachStrace returns when strace has all threads of the process.
func attachStrace(t testing.TB, pid int, args ...string) *strace {
	t.Helper()
	s := &strace{prefix: filepath.Join(t.TempDir(), "calls"), said: &lockedBuffer{}}
	s.cmd = exec.Command("strace", append([]string{"-ff", "-yy", "-s", "0", "-o", s.prefix, "-p", strconv.Itoa(pid)}, args...)...)
	out, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill() // it has ended if all went well
		_ = s.cmd.Wait()
	})
	attached := make(chan bool, 1)
	go func() {
		defer close(attached)
		said := false
		for lines := bufio.NewScanner(io.TeeReader(out, s.said)); lines.Scan(); {
			if !said && strings.Contains(lines.Text(), "attached") { // it says so again of each new thread
				said = true
				attached <- true
			}
		}
	}()
	if !<-attached {
		require.Feature(t, "strace", false, "it cannot attach: "+s.said.String())
	}
	return s
}

// detach lets the process go on without strace, and returns what it has called.
func (s *strace) detach(t testing.TB) []string {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = s.cmd.Wait() // its status is that of a signal
	files, err := filepath.Glob(s.prefix + "*")
	if err != nil {
		t.Fatal(err)
	}
	var calls []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		calls = append(calls, strings.Split(strings.TrimSpace(string(text)), "\n")...)
	}
	return calls
}

var callPattern = regexp.MustCompile(`^(\w+)\((.*)\) += (\d+)$`)

// moved adds up what calls that match have returned: bytes, if they read or write.
func moved(calls []string, what *regexp.Regexp) (bytes int64) {
	for _, call := range calls {
		if m := callPattern.FindStringSubmatch(call); m != nil && what.MatchString(call) {
			n, _ := strconv.ParseInt(m[3], 10, 64) // the pattern wants digits
			bytes += n
		}
	}
	return bytes
}

// sockets are the TCP connections of a process, as strace calls their files, whose ends are at one of these ports.
func sockets(t testing.TB, pid int, local bool, ports ...int) (names []string) {
	t.Helper()
	const established = "01"
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", pid))
	if err != nil {
		t.Fatal(err)
	}
	own := filesOf(t, pid)
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line) // sl local_address rem_address st queues timer retransmits uid timeout inode
		if len(f) < 10 || f[3] != established {
			continue
		}
		end := f[2]
		if local {
			end = f[1]
		}
		name := "socket:[" + f[9] + "]"
		for _, port := range ports {
			if strings.HasSuffix(end, fmt.Sprintf(":%04X", port)) && own[name] {
				names = append(names, name)
			}
		}
	}
	return names
}

// filesOf is what a process has open.
func filesOf(t testing.TB, pid int) map[string]bool {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	open := make(map[string]bool)
	for _, e := range entries {
		if name, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil { // it may be closed meanwhile
			open[name] = true
		}
	}
	return open
}
