package peer

import (
	"net"
	"net/netip"
	"strconv"
)

// Memcached is the name of the cache that there is an adapter for.
const Memcached = "memcached"

// Cache is how a cache is started: this build's or memcached. It listens by TCP and by UDP, on
// one port.
type Cache struct {
	Host      netip.Addr   // that it listens on
	Allow     netip.Prefix // of sources of datagrams; memcached answers all
	MemoryMiB int          // for items; of this build also for the index
	Interface string       // on which the kernel is to answer for this build; empty for none
}

// Own is this build's cache, started by a command to which a verb and its flags are added.
func (c Cache) Own(command []string) *Peer {
	return &Peer{Name: Ours, host: c.Host, line: cacheLine, command: func(_ string, p Ports) ([]string, error) {
		own := append(append([]string(nil), command...), "cache", "--listen", p.Cache, "--udp", p.Cache,
			"--memory", strconv.Itoa(c.MemoryMiB)+"MiB", "--allow", c.Allow.String(), "--log-level", "warn")
		if c.Interface != "" {
			own = append(own, "--xdp", c.Interface)
		}
		return own, nil
	}}
}

// Memcached is memcached with its defaults, but for two things: it gets the memory that ours gets, and the
// user that it wants to be where it is started by root.
func (c Cache) Memcached(more ...string) *Peer {
	return &Peer{Name: Memcached, host: c.Host, line: cacheLine, command: func(_ string, p Ports) ([]string, error) {
		host, port, err := net.SplitHostPort(p.Cache)
		return append([]string{Memcached, "-u", "nobody", "-l", host, "-p", port, "-U", port, "-m", strconv.Itoa(c.MemoryMiB)}, more...), err
	}}
}

func cacheLine(p Ports) string { return p.Cache }
