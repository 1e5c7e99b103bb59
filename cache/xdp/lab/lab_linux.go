//go:build linux && (amd64 || arm64 || riscv64)

package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// Bounds of a Request.
const (
	MaxRequest = 384     // bytes of its frame
	MaxKeys    = 1 << 16 // numbers in Keys
	Digits     = 8       // of a key's number
)

// Request is what a Lab sends.
type Request struct {
	Frame  []byte   // as on the wire, IPv4 or IPv6, all checksums right
	Number int      // where in Frame the key's number of Digits digits is, all of them 0; 0 if it has none
	Check  int      // where in Frame the UDP checksum is
	Keys   []uint32 // numbers in the order of the requests, which start over; a power of two of them
}

// Replies are what came back.
type Replies struct {
	Values, Ends, Others uint64
	Bytes                uint64 // of frames
}

// All is the number of replies.
func (r Replies) All() uint64 { return r.Values + r.Ends + r.Others }

// Lab is the programs of this package, loaded for one request.
type Lab struct {
	request Request
	objects kernelObjects
	samples *ringbuf.Reader
	links   []link.Link
}

// Load has the kernel check the programs.
func Load(r Request) (*Lab, error) {
	if len(r.Frame) < 14 || len(r.Frame) > MaxRequest || len(r.Keys) > MaxKeys || len(r.Keys)&(len(r.Keys)-1) != 0 {
		return nil, fmt.Errorf("lab: a request of %d bytes and %d keys", len(r.Frame), len(r.Keys))
	}
	spec, err := loadKernel()
	if err != nil {
		return nil, fmt.Errorf("lab: read the programs: %w", err)
	}
	var frame [MaxRequest]byte
	copy(frame[:], r.Frame)
	for name, value := range map[string]any{
		"request": frame, "length": uint32(len(r.Frame)), "number": uint32(r.Number), "check": uint32(r.Check),
		"sum": r.sum(), "spread": uint32(max(len(r.Keys), 1) - 1),
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("lab: set %s: %w", name, err)
		}
	}
	l := &Lab{request: r}
	if err := spec.LoadAndAssign(&l.objects, nil); err != nil {
		return nil, fmt.Errorf("lab: load the programs: %w", err)
	}
	if err := l.fill(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Lab) fill() (err error) {
	numbers := make([]uint32, len(l.request.Keys))
	for i := range numbers {
		numbers[i] = uint32(i)
	}
	if len(numbers) > 0 {
		if _, err := l.objects.Keys.BatchUpdate(numbers, l.request.Keys, nil); err != nil {
			return fmt.Errorf("lab: keys: %w", err)
		}
	}
	if l.samples, err = ringbuf.NewReader(l.objects.Samples); err != nil {
		return fmt.Errorf("lab: samples: %w", err)
	}
	return nil
}

// sum is the one's-complement sum that the checksum in the frame is the complement
// of, as a number whose bytes are in memory as they are on the wire.
func (r *Request) sum() uint32 {
	if r.Check == 0 {
		return 0
	}
	return uint32(^(uint16(r.Frame[r.Check]) | uint16(r.Frame[r.Check+1])<<8))
}

// Sink attaches the program that counts replies and drops them. It is to be called in the
// namespace of the interface, as is Open.
//
// It puts the generator onto loopback as well, which nobody uses in a Pair's client. That keeps
// it in the kernel's list of programs for fast calls. Off the list, every Generate would wait
// for two grace periods, 28 ms, to get on it and off again.
func (l *Lab) Sink(device string) error {
	return errors.Join(l.attach(device, l.objects.Sink, link.XDPDriverMode), l.attach("lo", l.objects.Generate, link.XDPGenericMode))
}

// SinkPackets is Sink where replies come from sockets, and not from a program: behind the
// driver, which has to copy a packet for XDP. It needs Linux 6.6.
func (l *Lab) SinkPackets(device string) error {
	d, err := net.InterfaceByName(device)
	if err != nil {
		return fmt.Errorf("lab: interface %q: %w", device, err)
	}
	attached, err := link.AttachTCX(link.TCXOptions{Program: l.objects.SinkPackets, Attach: ebpf.AttachTCXIngress, Interface: d.Index})
	if err != nil {
		return fmt.Errorf("lab: attach behind the driver of %s: %w", device, err)
	}
	l.links = append(l.links, attached)
	return l.attach("lo", l.objects.Generate, link.XDPGenericMode)
}

// Open attaches a program that does nothing, but without which the driver takes no
// frames from a Generate at the other end.
func (l *Lab) Open(device string) error { return l.attach(device, l.objects.Open, link.XDPDriverMode) }

func (l *Lab) attach(device string, program *ebpf.Program, mode link.XDPAttachFlags) error {
	d, err := net.InterfaceByName(device)
	if err != nil {
		return fmt.Errorf("lab: interface %q: %w", device, err)
	}
	attached, err := link.AttachXDP(link.XDPOptions{Program: program, Interface: d.Index, Flags: mode})
	if err != nil {
		return fmt.Errorf("lab: attach to %s: %w", device, err)
	}
	l.links = append(l.links, attached)
	return nil
}

// Detach takes what Sink and Open attached off again, so that another Lab can take its place.
func (l *Lab) Detach() error {
	var errs []error
	for _, attached := range l.links {
		errs = append(errs, attached.Close())
	}
	l.links = nil
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("lab: detach: %w", err)
	}
	return nil
}

// liveFrames has a test run send what it makes (BPF_F_TEST_XDP_LIVE_FRAMES).
const liveFrames = 1 << 1

// surplus is bytes that frames of a live test run have too many, so that the generator changes the
// length of each. Otherwise the kernel would take the length from the frame's last use (frame_was_changed
// in net/bpf/test_run.c sees only the start of a frame): a reply, which may be shorter than a request.
const surplus = 8

// Generate sends a number of requests out of an interface, as fast as one processor
// can, and returns when they are sent. Several may run at once, each on the thread
// it is called on, in the interface's namespace.
func (l *Lab) Generate(device string, requests uint32) error {
	d, err := net.InterfaceByName(device)
	if err != nil {
		return fmt.Errorf("lab: interface %q: %w", device, err)
	}
	frame := append(l.request.Frame[:len(l.request.Frame):len(l.request.Frame)], make([]byte, surplus)...)
	_, err = l.objects.Generate.Run(&ebpf.RunOptions{
		Data: frame, Repeat: requests, Flags: liveFrames, BatchSize: 64,
		Context: context{DataEnd: uint32(len(frame)), Interface: uint32(d.Index)},
	})
	if err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("lab: generate on %s: %w", device, err)
	}
	return nil
}

// Flood is what became of requests sent as fast as all processors can.
type Flood struct {
	Requests uint64
	Replies  Replies
	Took     time.Duration
}

// Flood sends a number of requests out of an interface of a namespace, from as many
// threads as there are processors, to where Sink counts the replies.
func (l *Lab) Flood(from *Namespace, device string, requests uint32) (Flood, error) {
	made, received, err := l.counted()
	if err != nil {
		return Flood{}, err
	}
	threads := make([]*Namespace, runtime.NumCPU())
	for i := range threads {
		if threads[i], err = from.Again(); err != nil {
			return Flood{}, err
		}
		defer threads[i].Close()
	}
	failed := make([]error, len(threads))
	var done sync.WaitGroup
	start := time.Now()
	for i, thread := range threads {
		done.Go(func() {
			failed[i] = thread.Do(func() error { return l.Generate(device, requests/uint32(len(threads))) })
		})
	}
	done.Wait()
	f := Flood{Took: time.Since(start)}
	madeThen, receivedThen, err := l.counted()
	f.Requests = madeThen - made
	f.Replies = receivedThen.Less(received)
	return f, errors.Join(append(failed, err)...)
}

func (l *Lab) counted() (made uint64, received Replies, err error) {
	if made, err = l.Made(); err == nil {
		received, err = l.Received()
	}
	return made, received, err
}

// Less is what came since before.
func (r Replies) Less(before Replies) Replies {
	return Replies{r.Values - before.Values, r.Ends - before.Ends, r.Others - before.Others, r.Bytes - before.Bytes}
}

// context is struct xdp_md.
type context struct {
	Data, DataEnd, DataMeta, Interface, Queue, Egress uint32
}

// Made is how many requests were made so far.
func (l *Lab) Made() (n uint64, err error) {
	var each []uint64
	if err := l.objects.Made.Lookup(uint32(0), &each); err != nil {
		return 0, fmt.Errorf("lab: count requests: %w", err)
	}
	for _, of := range each {
		n += of
	}
	return n, nil
}

// Received is what came back so far.
func (l *Lab) Received() (Replies, error) {
	var each []kernelReplies
	var all Replies
	if err := l.objects.Received.Lookup(uint32(0), &each); err != nil {
		return all, fmt.Errorf("lab: count replies: %w", err)
	}
	for _, of := range each {
		all.Values += of.Values
		all.Ends += of.Ends
		all.Others += of.Others
		all.Bytes += of.Bytes
	}
	return all, nil
}

// Samples calls visit with the frame of one reply in 256 since the last call, as Sink saw
// them. What more than 2 MiB of samples would hold is lost; a frame is only valid during visit.
func (l *Lab) Samples(visit func(frame []byte) error) error {
	l.samples.SetDeadline(time.Unix(1, 0)) // long past: read what is there
	var record ringbuf.Record
	for {
		switch err := l.samples.ReadInto(&record); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case err != nil:
			return fmt.Errorf("lab: read samples: %w", err)
		}
		length := binary.NativeEndian.Uint32(record.RawSample)
		if err := visit(record.RawSample[4:][:length]); err != nil {
			return err
		}
	}
}

// Measure is the time that a program takes for the request: of so many runs in a
// row, less what it takes to make the frame the request again before each. The frame's
// checksum and number are as given.
func (l *Lab) Measure(program *ebpf.Program, runs int) (time.Duration, error) {
	if err := l.objects.Measured.Put(uint32(0), uint32(program.FD())); err != nil {
		return 0, fmt.Errorf("lab: measure: %w", err)
	}
	var times [2]time.Duration
	for i, p := range []*ebpf.Program{l.objects.Idle, l.objects.Repeat} {
		action, took, err := p.Benchmark(l.request.Frame, runs, nil)
		if err != nil {
			return 0, fmt.Errorf("lab: measure: %w", err)
		}
		if action == 0 {
			return 0, errors.New("lab: measure: the program aborted")
		}
		times[i] = took
	}
	return times[1] - times[0], nil
}

// Close detaches and unloads everything.
func (l *Lab) Close() error {
	errs := []error{l.Detach()}
	if l.samples != nil {
		errs = append(errs, l.samples.Close())
	}
	if err := errors.Join(append(errs, l.objects.Close())...); err != nil {
		return fmt.Errorf("lab: close: %w", err)
	}
	return nil
}
