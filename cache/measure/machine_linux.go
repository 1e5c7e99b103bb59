//go:build linux && (amd64 || arm64 || riscv64)

package measure

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tick is what /proc counts processor time in: USER_HZ, 100 on every Linux that Go runs on.
const tick = time.Second / 100

// kernelThreads is the process that all threads of the kernel are children of.
const kernelThreads = 2

// spent is what those who take part have used until some time, by two accounts. On an idle machine
// they agree; the more others work, the more the second one is in error, of ticks and of moments.
type spent struct {
	parts   time.Duration // their processes and the kernel's threads for interrupts, exact
	machine time.Duration // all that was not idle by /proc/stat, less all other processes
}

func (s spent) less(before spent) spent {
	return spent{s.parts - before.parts, s.machine - before.machine}
}

// machine tells what work a run is, wherever it is done: in this process, where requests are made,
// and with them all that interrupts do when they have been sent; in servers; in the
// kernel's threads.
type machine struct {
	processes []int // ids of this process and of servers
	threads   []int // ids of the kernel's threads for interrupts
}

func newMachine() (*machine, error) {
	m := &machine{processes: []int{os.Getpid()}}
	names, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err == nil && strings.HasPrefix(string(text), "ksoftirqd/") {
			m.threads = append(m.threads, pidOf(name))
		}
	}
	return m, nil
}

// pidOf is the process of a file in /proc.
func pidOf(path string) int {
	pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
	return pid
}

func (m *machine) join(pid int) { m.processes = append(m.processes, pid) }

// spent reads both accounts. That of /proc/stat is read before and after the other processes,
// of which each takes its time.
func (m *machine) spent() (s spent, err error) {
	for _, pid := range m.processes {
		used, err := cpu(pid)
		if err != nil {
			return s, err
		}
		s.parts += used
	}
	for _, thread := range m.threads {
		used, err := scheduled(thread)
		if err != nil {
			return s, err
		}
		s.parts += used
	}
	before, err1 := busy()
	others, err2 := m.others()
	after, err3 := busy()
	s.machine = (before+after)/2 - others
	return s, errors.Join(err1, err2, err3)
}

// cpu is what a process has used, to the nanosecond: see clock_getcpuclockid(3).
func cpu(pid int) (time.Duration, error) {
	const scheduled = 2 // CPUCLOCK_SCHED
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &t); err != nil {
		return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// scheduled is how long a thread of the kernel ran.
func scheduled(thread int) (time.Duration, error) {
	path := fmt.Sprintf("/proc/%d/schedstat", thread)
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), " ")
	ns, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return time.Duration(ns), nil
}

// busy is the time that all processors together were not idle.
func busy() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	fields := bytes.Fields(line)
	// See proc(5): cpu user nice system idle iowait irq softirq steal.
	const idle, iowait, softirq = 4, 5, 7
	if len(fields) <= softirq {
		return 0, fmt.Errorf("/proc/stat: %q", line)
	}
	sum, err := sumOf(slices.Concat(fields[1:idle], fields[iowait+1:softirq+1]))
	if err != nil {
		return 0, fmt.Errorf("/proc/stat: %w", err)
	}
	return time.Duration(sum) * tick, nil
}

func sumOf(fields [][]byte) (sum int64, err error) {
	for _, field := range fields {
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// others is what processes have used that do not take part, with the children they waited for.
func (m *machine) others() (time.Duration, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, path := range paths {
		if slices.Contains(m.processes, pidOf(path)) {
			continue
		}
		ticks, err := ticksOf(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
		sum += ticks
	}
	return time.Duration(sum) * tick, nil
}

// ticksOf is the time of a process, 0 of a thread of the kernel.
func ticksOf(path string) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, fs.ErrNotExist // it has ended, before it was opened or after
	}
	// The second field is the program's name, in parentheses, and may hold spaces.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	const parent, utime, cstime = 1, 11, 14 // from the third field on, see proc(5)
	if len(fields) <= cstime {
		return 0, fmt.Errorf("%s: %d fields", path, len(fields))
	}
	if string(fields[parent]) == strconv.Itoa(kernelThreads) {
		return 0, nil
	}
	sum, err := sumOf(fields[utime : cstime+1])
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return sum, nil
}
