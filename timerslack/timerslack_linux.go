package timerslack

import (
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Widen makes the process begin again with Wide slack, unless it has that much: a thread has the slack of the one that started it,
// and those of the Go runtime run already. Whatever was done before is lost but what passes through exec: arguments, environment,
// process id, standard files. Where it cannot be done the process goes on as it is.
func Widen() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if has, err := ofThread(); err != nil || has >= Wide.Nanoseconds() {
		return
	}
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(Wide.Nanoseconds()), 0, 0, 0); err != nil {
		return
	}
	if has, err := ofThread(); err != nil || has < Wide.Nanoseconds() { // real-time threads have none
		return
	}
	_ = syscall.Exec("/proc/self/exe", os.Args, os.Environ()) // returns only if it fails
}

// ofThread is the slack of the calling thread, in nanoseconds.
func ofThread() (int64, error) {
	ns, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	return int64(ns), err
}
