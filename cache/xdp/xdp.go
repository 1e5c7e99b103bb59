// Package xdp answers a cache's GETs in the receive path of a network driver. It
// takes the region of memory that package cache keeps its items in, a list of
// addresses and a list of sources; what comes out are replies that were never seen
// by a socket, and counters of what was answered and of what was passed on to user
// space, by reason. The cache's server attaches it where there is a Linux that can.
//
// The program itself is in the folder kernel, in C; docs/format/cache.md says what
// it reads, and its rule for reading while user space writes.
package xdp

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
)

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -go-package xdp kernel kernel/cache.c -- -O2 -g -Wall -Wextra -Werror -mcpu=v3 -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu

// Bounds of a Config.
const (
	MaxAddresses = 32
	MaxPrefixes  = 1024
)

// PageBytes is the unit of a Region: what the program can look up at once.
const PageBytes = 1 << 20

var (
	// ErrUnsupported is wrapped where a machine cannot do this at all: another
	// system than Linux, or a kernel before 5.18.
	ErrUnsupported = errors.New("xdp: not supported here")
	// ErrConfig is wrapped by the errors about a Config.
	ErrConfig = errors.New("xdp: bad configuration")
)

// Mode is where in the receive path the program runs.
type Mode int

const (
	Detect  Mode = iota // Native if the driver can, else Generic
	Native              // in the driver, before the kernel makes a packet of the frame
	Generic             // behind the driver, with any driver; about a third of the speed
)

func (m Mode) String() string {
	switch m {
	case Native:
		return "native"
	case Generic:
		return "generic"
	default:
		return "detect"
	}
}

// ParseMode is the Mode of a name as String gives it.
func ParseMode(name string) (Mode, error) {
	for _, m := range []Mode{Detect, Native, Generic} {
		if name == m.String() {
			return m, nil
		}
	}
	return 0, fmt.Errorf("%w: mode %q is none of detect, native, generic", ErrConfig, name)
}

// Config says which datagrams are answered.
type Config struct {
	Interface string         // name of the network interface
	Mode      Mode           // where to attach
	Addresses []netip.Addr   // of this host that are answered; no wildcards
	Port      uint16         // UDP port that is answered
	Allow     []netip.Prefix // sources that are answered; without any, nobody is
	Sample    uint32         // one GET in so many is told to Samples, a power of two; 0 for none
	Logger    *slog.Logger
}

func (c *Config) check() error {
	for _, a := range c.Addresses {
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() {
			return fmt.Errorf("%w: %q is not an address of a host", ErrConfig, a)
		}
	}
	if len(c.Addresses) > MaxAddresses {
		return fmt.Errorf("%w: %d addresses, more than %d", ErrConfig, len(c.Addresses), MaxAddresses)
	}
	if len(c.Addresses) == 0 {
		return fmt.Errorf("%w: no address to answer on", ErrConfig)
	}
	if c.Port == 0 {
		return fmt.Errorf("%w: no port", ErrConfig)
	}
	for _, p := range c.Allow {
		if !p.IsValid() {
			return fmt.Errorf("%w: %q is not a prefix", ErrConfig, p)
		}
	}
	if len(c.Allow) > MaxPrefixes {
		return fmt.Errorf("%w: %d prefixes, more than %d", ErrConfig, len(c.Allow), MaxPrefixes)
	}
	if c.Sample&(c.Sample-1) != 0 {
		return fmt.Errorf("%w: sample is %d, not a power of two", ErrConfig, c.Sample)
	}
	return nil
}

// Outcome is what became of a datagram that was sent to the cache.
type Outcome int

// The order is that of enum outcome in kernel/packet.h.
const (
	Hit           Outcome = iota // answered with the value
	Miss                         // answered with END
	PassSource                   // from outside Config.Allow
	PassAsleep                   // user space has not shown for a second that it lives
	PassFragment                 // an IP fragment
	PassOptions                  // IPv4 options or IPv6 extension headers
	PassMalformed                // too short, lengths that contradict each other, or a source nobody can be
	PassChecksum                 // of IP or UDP, and wrong
	PassCommand                  // anything but one get or gets of one key
	PassKey                      // a key of 0 or more than 250 bytes
	PassAbsent                   // a miss that only user space can be sure of
	PassLarge                    // a reply that does not fit one datagram
	PassRoom                     // no room for the reply in the driver's frame
	PassBusy                     // the index changed again and again while it was read
	Outcomes                     // how many there are
)

var outcomeNames = [Outcomes]string{
	"hit", "miss", "pass_source", "pass_asleep", "pass_fragment", "pass_options", "pass_malformed", "pass_checksum",
	"pass_command", "pass_key", "pass_absent", "pass_large", "pass_room", "pass_busy",
}

func (o Outcome) String() string { return outcomeNames[o] }

// Counters are the datagrams sent to the cache, by what became of them, since Load.
// Whatever is not a Hit or a Miss went on to user space untouched.
type Counters [Outcomes]uint64

// Answered is how many were answered in the kernel.
func (c *Counters) Answered() uint64 { return c[Hit] + c[Miss] }

// Passed is how many went on to user space.
func (c *Counters) Passed() uint64 {
	var n uint64
	for o := Miss + 1; o < Outcomes; o++ {
		n += c[o]
	}
	return n
}
