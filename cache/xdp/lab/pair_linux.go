//go:build linux && (amd64 || arm64 || riscv64)

package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// Names and addresses in a Pair.
const (
	ServerInterface = "cache0"
	ClientInterface = "cache1"
	ServerMAC       = "02:00:00:00:00:02"
	ClientMAC       = "02:00:00:00:00:01"
)

var (
	Server4 = netip.MustParseAddr("10.77.0.2")
	Client4 = netip.MustParseAddr("10.77.0.1")
	Server6 = netip.MustParseAddr("fd77::2")
	Client6 = netip.MustParseAddr("fd77::1")
)

// Pair is two namespaces, each with one end of a veth pair, as many queues as there
// are processors, and fixed addresses. They have no names, and vanish with the
// process however it ends.
type Pair struct {
	Server, Client *Namespace
}

// NewPair makes a pair. It needs root and the program ip of iproute2.
func NewPair() (*Pair, error) {
	server, err := newNamespace()
	if err != nil {
		return nil, err
	}
	client, err := newNamespace()
	if err != nil {
		server.Close()
		return nil, err
	}
	p := &Pair{server, client}
	if err := p.connect(); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *Pair) connect() error {
	queues := strconv.Itoa(runtime.NumCPU())
	err := p.Server.Do(func() error {
		return ip("link", "add", ServerInterface, "address", ServerMAC, "numrxqueues", queues, "numtxqueues", queues, "type", "veth",
			"peer", "name", ClientInterface, "address", ClientMAC, "numrxqueues", queues, "numtxqueues", queues, "netns", strconv.Itoa(p.Client.thread))
	})
	if err != nil {
		return err
	}
	return errors.Join(
		p.Server.Do(func() error {
			return setUp(ServerInterface, Server4, Server6, Client4, Client6, ClientMAC)
		}),
		p.Client.Do(func() error {
			return setUp(ClientInterface, Client4, Client6, Server4, Server6, ServerMAC)
		}))
}

// setUp gives an interface its addresses and those of the other end, so that nobody
// has to ask for them.
func setUp(device string, own4, own6, peer4, peer6 netip.Addr, peerMAC string) error {
	for _, command := range [][]string{
		{"link", "set", "lo", "up"},
		{"address", "add", own4.String() + "/24", "dev", device},
		{"address", "add", own6.String() + "/64", "dev", device, "nodad"},
		{"link", "set", device, "up"},
		{"neighbour", "replace", peer4.String(), "lladdr", peerMAC, "dev", device, "nud", "permanent"},
		{"neighbour", "replace", peer6.String(), "lladdr", peerMAC, "dev", device, "nud", "permanent"},
	} {
		if err := ip(command...); err != nil {
			return err
		}
	}
	return nil
}

func ip(arguments ...string) error {
	if out, err := exec.Command("ip", arguments...).CombinedOutput(); err != nil {
		return fmt.Errorf("lab: ip %q: %w: %s", arguments, err, out)
	}
	return nil
}

// Cut has the server's end cut what a socket sends as one message for many datagrams (UDP_SEGMENT)
// into a packet a datagram, as there must be on a wire. Otherwise they cross the pair as one.
func (p *Pair) Cut() error {
	return p.Server.Do(func() error { return ip("link", "set", ServerInterface, "gso_max_segs", "1") })
}

// Close lets the namespaces go, once nobody has a socket in them.
func (p *Pair) Close() {
	p.Client.Close()
	p.Server.Close()
}

// Namespace is a network namespace and the one thread that is in it.
type Namespace struct {
	thread int // its number
	calls  chan func()
}

func newNamespace() (*Namespace, error) {
	n, err := start(func() error { return unix.Unshare(unix.CLONE_NEWNET) })
	if err != nil {
		return nil, fmt.Errorf("lab: new network namespace: %w", err)
	}
	return n, nil
}

// Again is the same namespace with another thread, to do two things there at a time.
func (n *Namespace) Again() (*Namespace, error) {
	var fd int
	err := n.Do(func() (err error) {
		fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("lab: network namespace: %w", err)
	}
	defer unix.Close(fd)
	other, err := start(func() error { return unix.Setns(fd, unix.CLONE_NEWNET) })
	if err != nil {
		return nil, fmt.Errorf("lab: enter network namespace: %w", err)
	}
	return other, nil
}

// start makes a thread that has entered a namespace.
func start(enter func() error) (*Namespace, error) {
	n := &Namespace{calls: make(chan func())}
	ready := make(chan error)
	go n.live(enter, ready)
	if err := <-ready; err != nil {
		return nil, err
	}
	return n, nil
}

// live is the thread's life. It is never unlocked, so that it ends with the function
// and no other goroutine gets into the namespace.
func (n *Namespace) live(enter func() error, ready chan<- error) {
	runtime.LockOSThread()
	n.thread = unix.Gettid()
	err := enter()
	ready <- err
	if err != nil {
		return
	}
	for call := range n.calls {
		call()
	}
}

// Do calls f inside: sockets it opens and programs it starts are there, goroutines
// it starts are not.
func (n *Namespace) Do(f func() error) error {
	done := make(chan error)
	n.calls <- func() { done <- f() }
	return <-done
}

// Close ends the thread.
func (n *Namespace) Close() { close(n.calls) }
