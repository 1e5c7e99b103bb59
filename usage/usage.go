// Package usage tells what a thread, a process or a folder has used: CPU time, memory, disk.
// It is asked with an id or a path and reads the kernel's own accounts,
// /proc of Linux. Everything that measures calls it.
package usage

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Thread is the CPU time that the calling thread has used; lock the goroutine to
// it first.
func Thread() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		panic("usage: no clock of the thread's CPU time: " + err.Error())
	}
	return time.Duration(t.Nano())
}

// CPU is the user and system time that a process has used, of all its threads. /proc would tell it in hundredths of a second only.
func CPU(pid int) (time.Duration, error) {
	if pid <= 0 {
		return 0, fmt.Errorf("no process %d", pid)
	}
	const scheduled = 2 // what of a process a clock counts, see clock_getcpuclockid(3)
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &t); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// Memory is the bytes of a process that are resident.
func Memory(pid int) (int64, error) { return status(pid, "VmRSS:") }

// PeakMemory is the most bytes of a process that were resident at once, since it began
// or since ResetPeak.
func PeakMemory(pid int) (int64, error) { return status(pid, "VmHWM:") }

// ResetPeak makes PeakMemory count from what is resident now.
func ResetPeak(pid int) error {
	const peak = "5" // see proc(5)
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte(peak), 0)
}

// status is a line of /proc/PID/status that counts bytes.
func status(pid int, name string) (int64, error) {
	path := fmt.Sprintf("/proc/%d/status", pid)
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		value, ok := bytes.CutPrefix(line, []byte(name))
		if !ok {
			continue
		}
		kib, err := strconv.ParseInt(string(bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(value), []byte("kB")))), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		return kib << 10, nil
	}
	return 0, fmt.Errorf("%s: no %s the process has ended", path, name)
}

// Disk is the bytes that the files of a folder take on their disk, which holes make
// fewer than their lengths. A file that goes away meanwhile counts nothing.
func Disk(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				total += info.Sys().(*syscall.Stat_t).Blocks * 512
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return total, err
}
