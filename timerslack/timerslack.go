// Package timerslack has the kernel wake this process for timers a little late, so that it wakes it less often. The verbs that
// run servers call it first of all. docs/adr/0011-timers-may-be-late.md says what that buys.
package timerslack

import "time"

// Wide is how late a timer may be. It is less than any that a server sets.
const Wide = 2 * time.Millisecond
