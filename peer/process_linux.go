package peer

import "syscall"

// dieWithUs has a process ended when we are, even if we are killed. The signal comes at the
// end of the thread that starts it, and Go ends none before the process.
func dieWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
