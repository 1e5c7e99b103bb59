package memcached

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// batch is how many datagrams are received by one system call, and sent by one.
	batch = 64
	// strideBytes is from one buffer to the next. Were it a power of two, all would fight for
	// the same few lines of the processor's cache.
	strideBytes = datagramBytes + 7*64
	// socketBytes is what the kernel is asked to queue a socket, for bursts.
	socketBytes = 4 << 20
)

// listenDatagrams opens a socket a processor, between which the kernel shares out the
// clients.
func listenDatagrams(ctx context.Context, address string) (sockets []*net.UDPConn, err error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		controlErr := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		})
		return errors.Join(err, controlErr)
	}}
	for range runtime.GOMAXPROCS(0) {
		socket, err := config.ListenPacket(ctx, "udp", address)
		if err != nil {
			for _, s := range sockets {
				_ = s.Close()
			}
			return nil, err
		}
		sockets = append(sockets, socket.(*net.UDPConn))
		address = socket.LocalAddr().String() // if the port was for the kernel to choose
		_ = sockets[0].SetReadBuffer(socketBytes)
	}
	return sockets, nil
}

// message is the kernel's struct mmsghdr: what to receive or send, and how many bytes it was.
type message struct {
	header unix.Msghdr
	bytes  uint32
}

// datagramServer receives and answers datagrams of one socket. One goroutine uses it.
//
// The kernel reads and writes the messages, which point at the vectors, the names and the
// buffers; all of them live as long as the datagramServer, and Go does not move what is in
// the heap.
type datagramServer struct {
	server  *Server
	session *session

	received [batch]message
	froms    [batch]unix.RawSockaddrInet6 // large enough for IPv4
	ins      [batch]unix.Iovec
	buffers  [batch][strideBytes]byte

	sent   [batch]message
	outs   [batch]unix.Iovec
	pieces []piece
	owners []int32 // of pieces: the index of the request

	last netip.Addr // the last source that was allowed
}

func (s *Server) serveDatagrams(ctx context.Context, socket *net.UDPConn) error {
	raw, err := socket.SyscallConn()
	if err != nil {
		return fmt.Errorf("receiving datagrams: %w", err)
	}
	d := &datagramServer{server: s, session: newSession(s, nil)}
	d.session.out = make([]byte, 0, repliesBytes)
	for i := range batch {
		d.ins[i].Base = &d.buffers[i][0]
		d.ins[i].SetLen(datagramBytes)
		d.received[i].header.Iov = &d.ins[i]
		d.received[i].header.SetIovlen(1)
		d.received[i].header.Name = (*byte)(unsafe.Pointer(&d.froms[i]))
		d.sent[i].header.Iov = &d.outs[i]
		d.sent[i].header.SetIovlen(1)
	}
	for {
		n, err := d.receive(raw)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("receiving datagrams: %w", err)
		case err != nil: // such as a refusal by a client that is gone
			continue
		}
		d.answer(raw, n)
	}
}

// receive waits for datagrams, and is how many there are.
func (d *datagramServer) receive(raw syscall.RawConn) (n int, err error) {
	for i := range d.received {
		d.received[i].header.Namelen = unix.SizeofSockaddrInet6
	}
	var number syscall.Errno
	err = raw.Read(func(fd uintptr) bool {
		n, number = transfer(unix.SYS_RECVMMSG, fd, d.received[:])
		return number != unix.EAGAIN
	})
	if err == nil && number != 0 {
		err = number
	}
	return n, err
}

// transfer receives or sends messages, and is how many of them were: x/sys/unix has no
// function for that, and the net package one system call a datagram, which halves what a
// core can answer. The kernel keeps the pointer no longer than the call.
func transfer(call, fd uintptr, messages []message) (n int, number syscall.Errno) {
	for {
		r, _, number := unix.Syscall6(call, fd, uintptr(unsafe.Pointer(&messages[0])), uintptr(len(messages)), unix.MSG_DONTWAIT, 0, 0)
		switch number {
		case unix.EINTR:
		case 0:
			return int(r), 0
		default:
			return 0, number
		}
	}
}

// answer works off n datagrams and sends the replies.
func (d *datagramServer) answer(raw syscall.RawConn, n int) {
	s := d.session
	began := s.begin()
	for i := range n {
		if !d.allowed(i) {
			s.counts[datagramsRefused]++
			continue
		}
		d.pieces = s.answer(d.buffers[i][:d.received[i].bytes], d.pieces)
		for len(d.owners) < len(d.pieces) {
			d.owners = append(d.owners, int32(i))
		}
		if len(s.out) >= sendBytes {
			d.send(raw)
		}
	}
	d.send(raw)
	s.leave()
	s.end(began)
}

// allowed tells whether the source of a datagram is.
func (d *datagramServer) allowed(i int) bool {
	source, ok := addressOf(&d.froms[i])
	if !ok || source != d.last && !d.server.allowed(source) {
		return false
	}
	d.last = source
	return true
}

// addressOf is the address of a socket address of either family. The kernel fills in the
// structure that its first field says; both fit, and have no pointers.
func addressOf(from *unix.RawSockaddrInet6) (netip.Addr, bool) {
	switch from.Family {
	case unix.AF_INET:
		return netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(from)).Addr), true
	case unix.AF_INET6:
		return netip.AddrFrom16(from.Addr).Unmap(), true
	}
	return netip.Addr{}, false
}

// send sends all pieces. What the kernel does not take is lost, as datagrams may be.
func (d *datagramServer) send(raw syscall.RawConn) {
	s := d.session
	s.stopReading()
	for from := 0; from < len(d.pieces); from += batch {
		pieces := d.pieces[from:min(from+batch, len(d.pieces))]
		for i, p := range pieces {
			request := d.owners[from+i]
			d.outs[i].Base = &s.out[p.from]
			d.outs[i].SetLen(p.to - p.from)
			d.sent[i].header.Name = d.received[request].header.Name
			d.sent[i].header.Namelen = d.received[request].header.Namelen
			s.counts[bytesWritten] += uint64(p.to - p.from)
		}
		d.transmit(raw, d.sent[:len(pieces)])
	}
	d.pieces, d.owners = d.pieces[:0], d.owners[:0]
	s.emptied()
}

func (d *datagramServer) transmit(raw syscall.RawConn, messages []message) {
	for len(messages) > 0 {
		var n int
		var number syscall.Errno
		err := raw.Write(func(fd uintptr) bool {
			n, number = transfer(unix.SYS_SENDMMSG, fd, messages)
			return true
		})
		if err != nil || number != 0 { // of the first message
			d.session.counts[datagramsDropped]++
			n = 1
		}
		messages = messages[n:]
	}
}
