//go:build linux && (amd64 || arm64 || riscv64)

package measure

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"carillon/cache/xdp/lab"
	"carillon/peer"
)

// queueBytes is what a socket for datagrams may queue. Ours asks for as much; memcached does not, and
// would lose a burst that ours takes.
const queueBytes = 4 << 20

// site is two network namespaces and the servers in one of them. It is gone with the process,
// however that ends.
type site struct {
	pair    *lab.Pair
	machine *machine
	servers []*peer.Process
	dir     string
}

func (r *run) newSite() (*site, error) {
	m, err := newMachine()
	if err != nil {
		return nil, err
	}
	pair, err := lab.NewPair()
	if err != nil {
		return nil, fmt.Errorf("%w (network namespaces need root and iproute2)", err)
	}
	return &site{pair: pair, machine: m, dir: r.Dir}, nil
}

func (s *site) close() {
	for _, server := range s.servers {
		server.Kill()
	}
	s.pair.Close()
}

// contestant is a server that takes part.
type contestant struct {
	name    string
	process *peer.Process
	at      netip.AddrPort
}

// How a server of this build is started: with a kernel program that answers, or without.
const (
	inKernel  = "in the kernel"
	userSpace = "user space"
)

// start starts a server by its name.
func (s *site) start(ctx context.Context, r *run, name string, memoryMiB int) (contestant, error) {
	config := peer.Cache{Host: lab.Server4, Allow: netip.PrefixFrom(lab.Client4, 24).Masked(), MemoryMiB: memoryMiB}
	var p *peer.Peer
	switch name {
	case inKernel:
		config.Interface = lab.ServerInterface
		p = config.Own(r.Command)
	case userSpace:
		p = config.Own(r.Command)
	default:
		p = config.Memcached()
	}
	c := contestant{name: name}
	err := s.pair.Server.Do(func() (err error) {
		c.process, err = p.Start(ctx, s.dir)
		return err
	})
	if err != nil {
		return c, err
	}
	s.servers = append(s.servers, c.process)
	s.machine.join(c.process.PID())
	if c.at, err = netip.ParseAddrPort(c.process.Ports.Cache); err != nil {
		return c, err
	}
	return c, widen(c.process.PID())
}

// startAll starts those of some names that can be.
func (s *site) startAll(ctx context.Context, r *run, memoryMiB int, names ...string) (all []contestant, err error) {
	for _, name := range names {
		if name == peer.Memcached && !r.memcached {
			continue
		}
		c, err := s.start(ctx, r, name, memoryMiB)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// widen gives the sockets for datagrams of a process queueBytes.
func widen(pid int) error {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("open process %d: %w", pid, err)
	}
	defer unix.Close(process)
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return err
	}
	for _, file := range files {
		number, err := strconv.Atoi(file.Name())
		if err != nil {
			return err
		}
		if err := widenSocket(process, number); err != nil {
			return fmt.Errorf("queue of file %d of process %d: %w", number, pid, err)
		}
	}
	return nil
}

func widenSocket(process, number int) error {
	fd, err := unix.PidfdGetfd(process, number, 0)
	if errors.Is(err, unix.EBADF) {
		return nil // closed meanwhile
	} else if err != nil {
		return err
	}
	defer unix.Close(fd)
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_DGRAM {
		return nil // another sort of file
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, queueBytes)
}
