//go:build linux && (amd64 || arm64 || riscv64)

package xdp_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"carillon/cache/xdp"
)

// TestCommands: what is no get or gets of one key in one datagram goes on untouched.
func TestCommands(t *testing.T) {
	s := newServer(t, 2<<20, config())
	s.set(t, "k", "v", 0, 0)
	for command, want := range map[string]xdp.Outcome{
		"get k\r\n":  xdp.Hit,
		"gets k\r\n": xdp.Hit,
		"get x\r\n":  xdp.Miss,
		"get " + strings.Repeat("x", 250) + "\r\n":  xdp.Miss,
		"gets " + strings.Repeat("x", 250) + "\r\n": xdp.Miss,
		"get " + strings.Repeat("x", 251) + "\r\n":  xdp.PassKey,
		"gets " + strings.Repeat("x", 251) + "\r\n": xdp.PassKey,
		"get " + strings.Repeat("x", 900) + "\r\n":  xdp.PassKey,
		"get k x\r\n":          xdp.PassCommand,
		"get  k\r\n":           xdp.PassCommand,
		"get k \r\n":           xdp.PassCommand,
		"get k\n":              xdp.PassCommand,
		"get k\r\nget k\r\n":   xdp.PassCommand,
		"get k\x00\r\n":        xdp.PassCommand,
		"get 12345678\t\r\n":   xdp.PassCommand,
		"get \r\n":             xdp.PassCommand,
		"gets \r\n":            xdp.PassKey,
		"getsk\r\n":            xdp.PassCommand,
		"GET k\r\n":            xdp.PassCommand,
		"set k 0 0 1\r\nv\r\n": xdp.PassCommand,
		"gat 0 k\r\n":          xdp.PassCommand,
		"mg k v\r\n":           xdp.PassCommand,
		"get k":                xdp.PassMalformed,
		"":                     xdp.PassMalformed,
	} {
		for _, over := range ways {
			if _, as := s.ask(t, over, request(9, command)); as != want {
				t.Errorf("%s: %.20q: %v, not %v", over.name, command, as, want)
			}
		}
	}
	for header, want := range map[string]xdp.Outcome{
		"\xff\xff\x00\x00\x00\x01\x00\x00": xdp.Hit,
		"\x00\x01\x00\x01\x00\x01\x00\x00": xdp.PassCommand, // not the first datagram
		"\x00\x01\x00\x00\x00\x02\x00\x00": xdp.PassCommand, // one of two
		"\x00\x01\x00\x00\x00\x00\x00\x00": xdp.PassCommand,
		"\x00\x01\x00\x00\x00\x01\x00\x01": xdp.PassCommand,
	} {
		if _, as := s.ask(t, ways[0], []byte(header+"get k\r\n")); as != want {
			t.Errorf("frame header %x: %v, not %v", header, as, want)
		}
	}
	for n := range 8 {
		if _, as := s.ask(t, ways[0], make([]byte, n)); as != xdp.PassMalformed {
			t.Errorf("a payload of %d bytes: %v", n, as)
		}
	}
}

// damaged is a good request with something done to its frame, of which the IP header
// is at 14.
type damaged struct {
	name string
	do   func(frame []byte) []byte
	want xdp.Outcome // Outcomes: nothing that is counted
}

func put16(at int, value uint16) func([]byte) []byte {
	return func(b []byte) []byte {
		binary.BigEndian.PutUint16(b[at:], value)
		return b
	}
}

// fix4 makes the checksum of an IPv4 header right again.
func fix4(do func([]byte) []byte) func([]byte) []byte {
	return func(b []byte) []byte {
		b = do(b)
		header := b[14 : 14+int(b[14]&15)*4]
		binary.BigEndian.PutUint16(header[10:], 0)
		binary.BigEndian.PutUint16(header[10:], ^sum(0, header))
		return b
	}
}

// option puts n bytes in front of the UDP header, as IPv4 options.
func option(n int) func([]byte) []byte {
	return func(b []byte) []byte {
		b = append(b[:34:34], append(bytes.Repeat([]byte{1}, n), b[34:]...)...)
		b[14] += byte(n / 4)
		binary.BigEndian.PutUint16(b[16:], binary.BigEndian.Uint16(b[16:])+uint16(n))
		return b
	}
}

var damages4 = []damaged{
	{"untouched", func(b []byte) []byte { return b }, xdp.Hit},
	{"padded", func(b []byte) []byte { return append(b, 1, 2, 3, 4, 5, 6, 7, 8) }, xdp.Hit},
	{"no UDP checksum", put16(40, 0), xdp.Hit},
	{"UDP checksum", func(b []byte) []byte { b[40] ^= 0x40; return b }, xdp.PassChecksum},
	{"a flipped bit in the key", func(b []byte) []byte { b[54] ^= 1; return b }, xdp.PassChecksum},
	{"IP checksum", func(b []byte) []byte { b[24] ^= 1; return b }, xdp.PassChecksum},
	{"IP options", fix4(option(4)), xdp.PassOptions},
	{"many IP options", fix4(option(40)), xdp.PassOptions},
	{"first fragment", fix4(put16(20, 0x2000)), xdp.PassFragment},
	{"later fragment", fix4(put16(20, 0x2010)), xdp.Outcomes},
	{"last fragment", fix4(put16(20, 0x0010)), xdp.Outcomes},
	{"header length 16", fix4(func(b []byte) []byte { b[14] = 0x44; return b }), xdp.Outcomes},
	{"IP version 6", fix4(func(b []byte) []byte { b[14] = 0x65; return b }), xdp.Outcomes},
	{"TCP", fix4(func(b []byte) []byte { b[23] = 6; return b }), xdp.Outcomes},
	{"ICMP", fix4(func(b []byte) []byte { b[23] = 1; return b }), xdp.Outcomes},
	{"another port", put16(36, 11212), xdp.Outcomes},
	{"another address", fix4(func(b []byte) []byte { b[33]++; return b }), xdp.Outcomes},
	{"ARP", put16(12, 0x0806), xdp.Outcomes},
	{"two VLAN tags", func(b []byte) []byte {
		return append(b[:12:12], append([]byte{0x88, 0xa8, 0, 1, 0x81, 0, 0, 2}, b[12:]...)...)
	}, xdp.Outcomes},
	{"UDP longer than IP", put16(38, 200), xdp.PassMalformed},
	{"UDP shorter than IP", put16(38, 12), xdp.PassMalformed},
	{"UDP length 0", put16(38, 0), xdp.PassMalformed},
	{"both longer than the frame", func(b []byte) []byte { return put16(38, 500)(fix4(put16(16, 520))(b)) }, xdp.PassMalformed},
	{"both 65535", func(b []byte) []byte { return put16(38, 65515)(fix4(put16(16, 65535))(b)) }, xdp.PassMalformed},
	{"IP length 19", fix4(put16(16, 19)), xdp.PassMalformed},
	{"from port 0", put16(34, 0), xdp.PassMalformed},
	{"from 10.77.1.1", fix4(func(b []byte) []byte { b[28] = 1; return b }), xdp.PassSource},
	{"from outside and a fragment", fix4(func(b []byte) []byte { b[28] = 1; return put16(20, 0x2000)(b) }), xdp.PassSource},
	{"from itself", fix4(func(b []byte) []byte { copy(b[26:30], b[30:34]); return b }), xdp.PassMalformed},
}

var damages6 = []damaged{
	{"untouched", func(b []byte) []byte { return b }, xdp.Hit},
	{"padded", func(b []byte) []byte { return append(b, 0, 0, 0) }, xdp.Hit},
	{"no UDP checksum", put16(60, 0), xdp.PassMalformed},
	{"UDP checksum", func(b []byte) []byte { b[60] ^= 0x40; return b }, xdp.PassChecksum},
	{"from another address", func(b []byte) []byte { b[25] ^= 1; return b }, xdp.PassSource},
	{"from multicast", func(b []byte) []byte { b[22] = 0xff; return b }, xdp.PassSource},
	{"from itself", func(b []byte) []byte { copy(b[22:38], b[38:54]); return b }, xdp.PassMalformed},
	{"to another address", func(b []byte) []byte { b[53]++; return b }, xdp.Outcomes},
	{"another port", put16(56, 11212), xdp.Outcomes},
	{"hop-by-hop options", header6(0, 0), xdp.PassOptions},
	{"routing header", header6(43, 0), xdp.PassOptions},
	{"destination options", header6(60, 0), xdp.PassOptions},
	{"first fragment", header6(44, 1), xdp.PassFragment},
	{"later fragment", header6(44, 8), xdp.Outcomes},
	{"unknown header", header6(99, 0), xdp.Outcomes},
	{"length 65535", func(b []byte) []byte { return put16(58, 65535)(put16(18, 65535)(b)) }, xdp.PassMalformed},
	{"UDP longer than IP", put16(58, 200), xdp.PassMalformed},
}

// header6 puts an extension header of 8 bytes between IPv6 and UDP, with the offset of
// a fragment.
func header6(kind byte, fragment uint16) func([]byte) []byte {
	return func(b []byte) []byte {
		header := []byte{17, 0, byte(fragment >> 8), byte(fragment), 0, 0, 0, 0}
		b = append(b[:54:54], append(header, b[54:]...)...)
		b[20] = kind
		return put16(18, binary.BigEndian.Uint16(b[18:])+8)(b)
	}
}

// TestDamage: frames that are not quite right go on untouched and are counted as what
// they are.
func TestDamage(t *testing.T) {
	s := newServer(t, 2<<20, config())
	s.set(t, "key", "v", 0, 0)
	for over, damages := range map[int][]damaged{0: damages4, 2: damages6} {
		for _, d := range damages {
			frame := ways[over].datagram(request(7, "get key\r\n")).frame()
			if _, _, as := s.run(t, d.do(frame)); as != d.want {
				t.Errorf("%s, %s: %d, not %d", ways[over].name, d.name, as, d.want)
			}
		}
	}
}

// TestNobody: senders that nobody can be are not answered, whatever is allowed.
func TestNobody(t *testing.T) {
	with := config()
	with.Allow = prefixes(t, []string{"0.0.0.0/0", "::/0"})
	s := newServer(t, 2<<20, with)
	for _, from := range []string{"0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "255.255.255.255", "10.77.0.2", "::", "::1", "ff02::1", "::ffff:10.77.0.1", "fd77::2"} {
		over := ways[0]
		if strings.Contains(from, ":") {
			over = ways[2]
		}
		over.from = netip.AddrPortFrom(netip.MustParseAddr(from), 4000)
		if _, as := s.ask(t, over, request(1, "get k\r\n")); as != xdp.PassMalformed {
			t.Errorf("from %s: %v", from, as)
		}
	}
}

// TestTruncated: no prefix of a frame is answered, but those that lack padding only.
func TestTruncated(t *testing.T) {
	s := newServer(t, 2<<20, config())
	s.set(t, "key", "v", 0, 0)
	for _, over := range ways {
		for _, command := range []string{"get key\r\n", "gets none\r\n"} {
			frame := over.datagram(request(7, command)).frame()
			for n := 14; n < len(frame); n++ { // the kernel runs nothing shorter
				if _, answered, as := s.run(t, frame[:n]); answered {
					t.Errorf("%s: %d of %d bytes: %v", over.name, n, len(frame), as)
				}
			}
		}
	}
}

// TestOffloaded: the sender's half of a checksum is not enough, except behind a veth
// pair (TestNetwork).
func TestOffloaded(t *testing.T) {
	s := newServer(t, 2<<20, config())
	for _, over := range []way{ways[0], ways[2]} {
		d := over.datagram(request(7, "get key\r\n"))
		frame := d.frame()
		at := len(frame) - len(d.payload) - 2
		binary.BigEndian.PutUint16(frame[at:], sum(pseudo(d.from.Addr(), d.to.Addr(), 8+len(d.payload)), nil))
		if _, _, as := s.run(t, frame); as != xdp.PassChecksum {
			t.Errorf("%s: on an interface with a wire: %v", over.name, as)
		}
	}
}

// fuzzed is a server with items under the keys that fuzzers find at once.
func fuzzed(f *testing.F) (*server, userSpace) {
	s := newServer(f, 2<<20, config())
	for _, key := range []string{"k", "key", "x", "0", "00000000", strings.Repeat("k", 250)} {
		s.set(f, key, "value of "+key, 7, 0)
	}
	return s, newUserSpace(f, s)
}

// FuzzPayload: whatever a datagram says, the program answers as user space would, or
// passes it on untouched.
func FuzzPayload(f *testing.F) {
	s, user := fuzzed(f)
	for _, command := range []string{"get k\r\n", "gets key\r\n", "get " + strings.Repeat("k", 250) + "\r\n", "get a b\r\n", "get \xff\r\n"} {
		f.Add(request(1, command), uint8(0))
	}
	f.Fuzz(func(t *testing.T, payload []byte, over uint8) {
		if len(payload) > 1400 {
			return
		}
		answer, as := s.ask(t, ways[int(over)%len(ways)], payload)
		if answer == nil {
			return
		}
		if want := user.ask(t, payload); !bytes.Equal(answer, want) {
			t.Errorf("%q: %v %q, user space %q", payload, as, answer, want)
		}
	})
}

// FuzzFrame: whatever a frame is, the program answers none that user space would not
// have got, and changes none that it passes on.
func FuzzFrame(f *testing.F) {
	s, user := fuzzed(f)
	for _, over := range ways {
		f.Add(over.datagram(request(1, "get k\r\n")).frame())
	}
	for _, d := range damages4 {
		f.Add(d.do(ways[0].datagram(request(1, "gets key\r\n")).frame()))
	}
	for _, d := range damages6 {
		f.Add(d.do(ways[2].datagram(request(1, "gets key\r\n")).frame()))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) < 14 || len(frame) > 1500 {
			return
		}
		out, answered, as := s.run(t, bytes.Clone(frame))
		if !answered {
			return
		}
		got, err := received(frame)
		if err != nil {
			t.Fatalf("%x is answered, but: %v", frame, err)
		}
		copy(out[0:], clientMAC[:]) // the fuzzer chose others, which are just swapped
		copy(out[6:], serverMAC[:])
		reply, err := parse(out)
		if err != nil || reply.from != got.to || reply.to != got.from || reply.vlan != got.vlan {
			t.Fatalf("%x: answer %x: %v", frame, out, err)
		}
		if want := user.ask(t, got.payload); !bytes.Equal(reply.payload, want) {
			t.Errorf("%q: %v %q, user space %q", got.payload, as, reply.payload, want)
		}
	})
}

// received is the datagram in a frame that a receiver would take.
func received(b []byte) (datagram, error) {
	var d datagram
	protocol, b := binary.BigEndian.Uint16(b[12:]), b[14:]
	if (protocol == 0x8100 || protocol == 0x88a8) && len(b) >= 4 {
		d.vlan, protocol, b = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), b[4:]
	}
	length := 0
	switch {
	case protocol == 0x0800 && len(b) >= 28 && b[0] == 0x45 && b[9] == 17 && sum(0, b[:20]) == 0xffff && binary.BigEndian.Uint16(b[6:])&0x3fff == 0:
		length = int(binary.BigEndian.Uint16(b[2:])) - 20
		d.from, d.to, b = ends(b[12:16], b[16:20], b[20:])
	case protocol == 0x86dd && len(b) >= 48 && b[0]>>4 == 6 && b[6] == 17:
		length = int(binary.BigEndian.Uint16(b[4:]))
		d.from, d.to, b = ends(b[8:24], b[24:40], b[40:])
	default:
		return d, fmt.Errorf("no UDP in IP")
	}
	if length < 8 || length > len(b) || int(binary.BigEndian.Uint16(b[4:])) != length {
		return d, fmt.Errorf("lengths")
	}
	if check := binary.BigEndian.Uint16(b[6:]); (check != 0 || d.from.Addr().Is6()) && sum(pseudo(d.from.Addr(), d.to.Addr(), length), b[:length]) != 0xffff {
		return d, fmt.Errorf("checksum")
	}
	d.payload = b[8:length]
	if d.to != server4 && d.to != server6 {
		return d, fmt.Errorf("to %v", d.to)
	}
	return d, nil
}

func ends(from, to, udp []byte) (a, b netip.AddrPort, rest []byte) {
	source, _ := netip.AddrFromSlice(from)
	target, _ := netip.AddrFromSlice(to)
	return netip.AddrPortFrom(source, binary.BigEndian.Uint16(udp)), netip.AddrPortFrom(target, binary.BigEndian.Uint16(udp[2:])), udp
}
