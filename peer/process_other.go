//go:build !linux

package peer

import "syscall"

// dieWithUs is nothing where no signal comes at the end of a parent.
func dieWithUs() *syscall.SysProcAttr { return nil }
