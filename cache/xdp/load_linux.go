//go:build linux && (amd64 || arm64 || riscv64)

package xdp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
)

// Program is the program in the kernel: loaded by Load, at work from Attach to Close.
// One goroutine calls Attach and Close; Counters, Samples and Run may be called beside it.
type Program struct {
	config  Config
	beat    *uint64 // the heartbeat in the region; live's from Load to Close
	objects kernelObjects
	samples *ringbuf.Reader

	attached link.Link     // nil before Attach
	stop     chan struct{} // closed to end live
	stopped  chan struct{} // closed when it has ended
}

// Load has the kernel check the program against the region, which holds a cache
// already, and fills in what to answer. It attaches nothing.
//
// The region's memory stays in use by the program until Close. The error wraps
// ErrConfig, or says what this machine is missing.
func Load(region *Region, config Config) (*Program, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	spec, err := loadKernel()
	if err != nil {
		return nil, fmt.Errorf("xdp: read the program: %w", err)
	}
	if err := setConstants(spec, region, config); err != nil {
		return nil, err
	}
	p := &Program{
		config: config, beat: &region.Words()[wordBeat],
		stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	err = spec.LoadAndAssign(&p.objects, &ebpf.CollectionOptions{
		MapReplacements: map[string]*ebpf.Map{"pages": region.pages},
	})
	if err != nil {
		return nil, fmt.Errorf("xdp: load the program: %w", explain(err))
	}
	p.pulse()
	go p.live()
	if err := p.fill(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// Kernel is the loaded program itself, to measure it.
func (p *Program) Kernel() *ebpf.Program { return p.objects.Answer }

// Run puts a frame through the program without any network. It is the frame as it
// leaves, and whether it leaves as a reply and not on its way to user space. What
// Samples and Counters tell includes it.
func (p *Program) Run(frame []byte) (out []byte, answered bool, err error) {
	options := ebpf.RunOptions{Data: frame, DataOut: make([]byte, 2*maxFrame)}
	action, err := p.objects.Answer.Run(&options)
	if err != nil {
		return nil, false, fmt.Errorf("xdp: %w", err)
	}
	return options.DataOut, action == actionTransmit, nil
}

const (
	maxFrame       = 2048 // bytes, more than a reply has
	actionTransmit = 3    // XDP_TX
)

func (p *Program) fill() (err error) {
	for _, prefix := range p.config.Allow {
		if err := p.allow(prefix.Masked()); err != nil {
			return fmt.Errorf("xdp: allow %s: %w", prefix, err)
		}
	}
	if p.samples, err = ringbuf.NewReader(p.objects.Samples); err != nil {
		return fmt.Errorf("xdp: samples: %w", err)
	}
	return nil
}

func (p *Program) allow(of netip.Prefix) error {
	key := prefix{32 + uint32(of.Bits()), 6, of.Addr().As16()}
	if of.Addr().Is4() {
		key.Bits, key.Family = key.Bits+96, 4
	}
	return p.objects.Allow.Put(key, uint8(1))
}

// prefix is a key of the allow-list, as in kernel/cache.c.
type prefix struct {
	Bits, Family uint32
	Address      [16]byte
}

// setConstants writes what the program takes for constant.
func setConstants(spec *ebpf.CollectionSpec, region *Region, config Config) error {
	device, err := net.InterfaceByName(config.Interface)
	if err != nil {
		return fmt.Errorf("%w: interface %q: %w", ErrConfig, config.Interface, err)
	}
	spec.Maps["pages"].MaxEntries = region.pages.MaxEntries()
	constants := map[string]any{
		"port":      wire16(config.Port),
		"largest":   uint32(device.MTU),
		"offloaded": driverOf(device.Name) == "veth", // no wire between sender and receiver, no device that finishes a checksum
		"inOrder":   runtime.GOARCH == "amd64",
	}
	constants["sampling"], constants["sampleMask"] = config.Sample > 0, uint64(config.Sample)-1
	var own [MaxAddresses][16]byte // those of IPv4 mapped
	for i, a := range config.Addresses {
		own[i] = a.As16()
	}
	constants["own"], constants["ownCount"] = own, uint32(len(config.Addresses))
	if err := layout(region.Words(), constants); err != nil {
		return err
	}
	for name, value := range constants {
		v := spec.Variables[name]
		if v == nil {
			return fmt.Errorf("xdp: the program has no variable %q", name)
		}
		if err := v.Set(value); err != nil {
			return fmt.Errorf("xdp: set %s: %w", name, err)
		}
	}
	return nil
}

// Words of the region, by docs/format/cache.md.
const (
	magic     = 0x3161436c69726143 // "CarilCa1"
	wordMagic = 0
	wordIndex = 2
	wordShift = 3
	wordBeat  = 9
	wordHash  = 16
	hashWords = 33
)

// layout is where the program finds what it reads in a cache's region.
func layout(words []uint64, constants map[string]any) error {
	if words[wordMagic] != magic {
		return fmt.Errorf("%w: the region holds no cache yet, or one of another version", ErrConfig)
	}
	constants["directory"], constants["shift"] = words[wordIndex], uint32(words[wordShift])
	constants["hashKey"] = words[wordHash : wordHash+hashWords]
	return nil
}

// wire16 is a number whose bytes in memory are in the network's order.
func wire16(n uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], n)
	return binary.NativeEndian.Uint16(b[:])
}

// Counters sums up over the processors what became of the datagrams so far.
func (p *Program) Counters() (Counters, error) {
	var sums Counters
	var each []kernelLocal
	if err := p.objects.Locals.Lookup(uint32(0), &each); err != nil {
		return sums, fmt.Errorf("xdp: read counters: %w", err)
	}
	for _, of := range each {
		for o, n := range of.Count {
			sums[o] += n
		}
	}
	return sums, nil
}

// Samples calls visit with the key of each sampled GET since the last call, hit or
// miss. What more than 1 MiB of samples would hold is lost. One caller at a time; the key is only
// valid during visit.
func (p *Program) Samples(visit func(key []byte)) error {
	p.samples.SetDeadline(time.Unix(1, 0)) // long past: read what is there
	var record ringbuf.Record
	for {
		switch err := p.samples.ReadInto(&record); {
		case errors.Is(err, ringbuf.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case err != nil:
			return fmt.Errorf("xdp: read samples: %w", err)
		}
		if n := int(record.RawSample[0]); n < len(record.RawSample) {
			visit(record.RawSample[1 : 1+n])
		}
	}
}
