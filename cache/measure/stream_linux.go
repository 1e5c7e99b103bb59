//go:build linux && (amd64 || arm64 || riscv64)

package measure

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	patience    = 20 // seconds to wait for a reply
	streamBytes = 1 << 16
)

// stream is a connection that sends commands in pipelines and knows what each must be answered with. It
// blocks its thread, so that the thread's time is all that it costs here. One
// goroutine uses it, on a thread of the client's namespace.
type stream struct {
	items items
	fd    int
	out   []byte // commands not yet sent
	want  []byte // replies to them
	in    []byte
}

func dial(to netip.AddrPort, i items) (*stream, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	wait := unix.Timeval{Sec: patience}
	for _, err := range []error{
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &wait),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}),
	} {
		if err != nil {
			unix.Close(fd)
			return nil, fmt.Errorf("connect to %s: %w", to, err)
		}
	}
	return &stream{items: i, fd: fd, in: make([]byte, streamBytes)}, nil
}

func (s *stream) close() { unix.Close(s.fd) }

// get asks for an item that must be there.
func (s *stream) get(n uint32, version byte) {
	s.ask(n)
	s.want = s.items.reply(s.want, n, version)
}

// ask asks for an item whose reply is read by found.
func (s *stream) ask(n uint32) {
	s.out = append(s.items.key(append(s.out, "get "...), n), "\r\n"...)
}

// set stores an item, without a reply if it is quiet.
func (s *stream) set(n uint32, version byte, quiet bool) {
	s.out = s.items.key(append(s.out, "set "...), n)
	s.out = strconv.AppendInt(append(s.out, " 0 0 "...), int64(s.items.length(n)), 10)
	if quiet {
		s.out = append(s.out, " noreply"...)
	} else {
		s.want = append(s.want, "STORED\r\n"...)
	}
	s.out = append(s.items.value(append(s.out, "\r\n"...), n, version), "\r\n"...)
}

// remove deletes an item that is there, or is not.
func (s *stream) remove(n uint32, there bool) {
	s.out = append(s.items.key(append(s.out, "delete "...), n), "\r\n"...)
	if there {
		s.want = append(s.want, "DELETED\r\n"...)
	} else {
		s.want = append(s.want, "NOT_FOUND\r\n"...)
	}
}

// send sends the commands.
func (s *stream) send() error {
	for sent := 0; sent < len(s.out); {
		n, err := unix.Write(s.fd, s.out[sent:])
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("send: %w", err)
		}
		sent += max(n, 0)
	}
	s.out = s.out[:0]
	return nil
}

// receive reads the replies that are wanted, and compares.
func (s *stream) receive() error {
	for len(s.want) > 0 {
		part, err := s.read(len(s.want))
		if err != nil {
			return err
		}
		if !bytes.HasPrefix(s.want, part) {
			return fmt.Errorf("%w: %.200q instead of %.200q", ErrWrongAnswer, part, s.want)
		}
		s.want = s.want[:copy(s.want, s.want[len(part):])]
	}
	return nil
}

// exchange is send and receive.
func (s *stream) exchange() error {
	if err := s.send(); err != nil {
		return err
	}
	return s.receive()
}

// read is some bytes, at least one, at most so many.
func (s *stream) read(most int) ([]byte, error) {
	for {
		n, err := unix.Read(s.fd, s.in[:min(most, len(s.in))])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil, fmt.Errorf("receive: %w", err)
		case n == 0:
			return nil, fmt.Errorf("receive: the server closed the connection")
		default:
			return s.in[:n], nil
		}
	}
}

// fill stores items from a number to another one.
func (s *stream) fill(from, to uint32) error {
	for n := from; n < to; n++ {
		s.set(n, 0, true)
		if len(s.out) > streamBytes/2 {
			if err := s.send(); err != nil {
				return err
			}
		}
	}
	s.out = append(s.out, "mn\r\n"...)
	s.want = append(s.want, "MN\r\n"...)
	return s.exchange()
}

// stats is what the server counts.
func (s *stream) stats() (map[string]uint64, error) {
	s.out = append(s.out, "stats\r\n"...)
	if err := s.send(); err != nil {
		return nil, err
	}
	var text []byte
	for !bytes.HasSuffix(text, []byte("END\r\n")) {
		part, err := s.read(len(s.in))
		if err != nil {
			return nil, err
		}
		text = append(text, part...)
	}
	counts := make(map[string]uint64)
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 3 {
			if n, err := strconv.ParseUint(fields[2], 10, 64); err == nil {
				counts[fields[1]] = n
			}
		}
	}
	return counts, nil
}
