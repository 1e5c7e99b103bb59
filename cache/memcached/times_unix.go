//go:build unix

package memcached

import (
	"time"

	"golang.org/x/sys/unix"
)

// processTimes is the CPU time of this process so far.
func processTimes() (user, system time.Duration) {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return 0, 0
	}
	return time.Duration(usage.Utime.Nano()), time.Duration(usage.Stime.Nano())
}
