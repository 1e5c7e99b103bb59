//go:build linux && (amd64 || arm64 || riscv64)

package xdp

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// beat is how often user space shows that it lives. The program stops answering when
// it has not for asleepAfter (kernel/cache.c), which is below a second.
const beat = 150 * time.Millisecond

// Attach puts the program into the receive path of its interface, from where it goes
// at Close, or when this process ends in whatever way. It says which mode it is.
func (p *Program) Attach() (Mode, error) {
	if p.attached != nil {
		return 0, errors.New("xdp: attached already")
	}
	device, err := net.InterfaceByName(p.config.Interface)
	if err != nil {
		return 0, fmt.Errorf("xdp: interface %q: %w", p.config.Interface, err)
	}
	mode, err := p.attach(device)
	if err != nil {
		return 0, fmt.Errorf("xdp: attach to %s: %w", device.Name, err)
	}
	return mode, nil
}

func (p *Program) attach(device *net.Interface) (Mode, error) {
	flags := map[Mode]link.XDPAttachFlags{Native: link.XDPDriverMode, Generic: link.XDPGenericMode}
	modes := []Mode{p.config.Mode}
	if p.config.Mode == Detect {
		modes = []Mode{Native, Generic}
	}
	var failed error
	for _, mode := range modes {
		l, err := link.AttachXDP(link.XDPOptions{
			Program: p.objects.Answer, Interface: device.Index, Flags: flags[mode],
		})
		if err == nil {
			p.attached = l
			if failed != nil {
				p.config.Logger.Warn("no native XDP, using generic", "interface", device.Name, "reason", failed)
			}
			return mode, nil
		}
		failed = errors.Join(failed, fmt.Errorf("%s mode: %w", mode, refused(err, mode, device)))
	}
	return 0, failed
}

// live beats until Close. The loop owns nothing but the heartbeat.
func (p *Program) live() {
	defer close(p.stopped)
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-ticker.C:
			p.pulse()
		}
	}
}

// pulse is one heartbeat, by the clock that the program reads. Without the clock,
// which Linux never refuses, the program falls asleep.
func (p *Program) pulse() {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) == nil {
		atomic.StoreUint64(p.beat, uint64(now.Nano()))
	}
}

// Close takes the program out of the receive path and gives back all that it used. The
// region is its caller's. It may be called once.
func (p *Program) Close() error {
	close(p.stop)
	<-p.stopped
	var errs []error
	if p.attached != nil {
		errs = append(errs, p.attached.Close())
		p.attached = nil
	}
	if p.samples != nil {
		errs = append(errs, p.samples.Close())
		p.samples = nil
	}
	errs = append(errs, p.objects.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("xdp: close: %w", err)
	}
	return nil
}

// explain adds to an error of the kernel what this machine is missing.
func explain(err error) error {
	version, old := kernelBefore(5, 18)
	var verifier *ebpf.VerifierError
	switch {
	case old:
		return fmt.Errorf("%w: needs Linux 5.18 or later, this is %s: %w", ErrUnsupported, version, err)
	case errors.As(err, &verifier) && !errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: Linux %s finds fault with the program: %w", ErrUnsupported, version, err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("not permitted: run as root, or give the binary CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON: %w", err)
	case errors.Is(err, unix.ENOMEM), errors.Is(err, unix.E2BIG):
		return fmt.Errorf("not enough memory, or RLIMIT_MEMLOCK or the control group is too narrow: %w", err)
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("%w: needs Linux 5.18 or later with CONFIG_BPF_SYSCALL: %w", ErrUnsupported, err)
	}
	return err
}

// refused says why an interface did not take the program.
func refused(err error, mode Mode, device *net.Interface) error {
	driver := driverOf(device.Name)
	switch {
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
		return fmt.Errorf("another XDP program is attached (see: ip link show %s): %w", device.Name, err)
	case errors.Is(err, unix.EOPNOTSUPP) && mode == Native:
		return fmt.Errorf("driver %s has no XDP: %w", driver, err)
	case (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ERANGE) || errors.Is(err, unix.ENOSPC)) && mode == Native:
		return fmt.Errorf("driver %s refuses: mostly its MTU (now %d) leaves no room in a frame, or large receive offload is on, or it has too few queues: %w", driver, device.MTU, err)
	default:
		return explain(err)
	}
}

// driverOf is the name of an interface's driver, as ethtool has it.
func driverOf(name string) string {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "unknown"
	}
	defer unix.Close(socket)
	info, err := unix.IoctlGetEthtoolDrvinfo(socket, name)
	if err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(info.Driver[:])
}

// kernelBefore is this kernel's release if it is known to be before one.
func kernelBefore(major, minor int) (release string, before bool) {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return "", false
	}
	release = unix.ByteSliceToString(name.Release[:])
	var a, b int
	if n, _ := fmt.Sscanf(release, "%d.%d", &a, &b); n != 2 {
		return release, false
	}
	return release, a < major || a == major && b < minor
}
