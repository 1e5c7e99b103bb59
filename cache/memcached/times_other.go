//go:build !unix

package memcached

import "time"

// processTimes is not known here.
func processTimes() (user, system time.Duration) { return 0, 0 }
