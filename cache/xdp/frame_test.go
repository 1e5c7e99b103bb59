//go:build linux && (amd64 || arm64 || riscv64)

package xdp_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// datagram is a UDP datagram that is to become a frame, or was one.
type datagram struct {
	from, to netip.AddrPort
	vlan     uint16 // the tag, if it is not 0
	payload  []byte
}

var (
	clientMAC = [6]byte{2, 0, 0, 0, 0, 1}
	serverMAC = [6]byte{2, 0, 0, 0, 0, 2}
)

// frame is the datagram as it comes from the wire, with all lengths and checksums.
func (d datagram) frame() []byte {
	b := append(serverMAC[:len(serverMAC):6], clientMAC[:]...)
	if d.vlan != 0 {
		b = append(b, 0x81, 0x00, byte(d.vlan>>8), byte(d.vlan))
	}
	length := 8 + len(d.payload)
	if d.from.Addr().Is4() {
		b = append(b, 0x08, 0x00)
		b = append(b, ip4Header(d, length)...)
	} else {
		b = append(b, 0x86, 0xdd, 0x60, 0x01, 0x02, 0x03)
		b = binary.BigEndian.AppendUint16(b, uint16(length))
		b = append(b, 17, 61)
		b = append(b, d.from.Addr().AsSlice()...)
		b = append(b, d.to.Addr().AsSlice()...)
	}
	return append(b, udp(d)...)
}

func ip4Header(d datagram, length int) []byte {
	h := []byte{0x45, 0x10, 0, 0, 0x12, 0x34, 0x40, 0, 61, 17, 0, 0}
	binary.BigEndian.PutUint16(h[2:], uint16(20+length))
	h = append(h, d.from.Addr().AsSlice()...)
	h = append(h, d.to.Addr().AsSlice()...)
	binary.BigEndian.PutUint16(h[10:], ^sum(0, h))
	return h
}

func udp(d datagram) []byte {
	var b []byte
	b = binary.BigEndian.AppendUint16(b, d.from.Port())
	b = binary.BigEndian.AppendUint16(b, d.to.Port())
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(d.payload)))
	b = append(b, 0, 0)
	b = append(b, d.payload...)
	check := ^sum(pseudo(d.from.Addr(), d.to.Addr(), len(b)), b)
	if check == 0 {
		check = 0xffff
	}
	binary.BigEndian.PutUint16(b[6:], check)
	return b
}

func pseudo(from, to netip.Addr, length int) uint32 {
	s := uint32(sum(uint32(17+length), from.AsSlice()))
	return uint32(sum(s, to.AsSlice()))
}

// sum is the one's-complement sum of RFC 1071.
func sum(s uint32, b []byte) uint16 {
	for ; len(b) > 1; b = b[2:] {
		s += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	for s>>16 != 0 {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// parse takes a frame apart that the server sent, and checks all of it that a
// receiver could: addresses of the link, lengths, checksums, padding.
func parse(b []byte) (datagram, error) {
	var d datagram
	all := len(b)
	if all < 60 {
		return d, fmt.Errorf("a frame of %d bytes", len(b))
	}
	if [6]byte(b) != clientMAC || [6]byte(b[6:]) != serverMAC {
		return d, fmt.Errorf("from %x to %x", b[6:12], b[:6])
	}
	protocol, b := binary.BigEndian.Uint16(b[12:]), b[14:]
	if protocol == 0x8100 || protocol == 0x88a8 {
		d.vlan, protocol, b = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), b[4:]
	}
	var from, to netip.Addr
	var length int
	switch protocol {
	case 0x0800:
		if b[0] != 0x45 || b[8] != 64 || b[9] != 17 || sum(0, b[:20]) != 0xffff {
			return d, fmt.Errorf("IPv4 header %x", b[:20])
		}
		length = int(binary.BigEndian.Uint16(b[2:])) - 20
		from, to, b = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:])), b[20:]
	case 0x86dd:
		if b[0] != 0x60 || b[6] != 17 || b[7] != 64 {
			return d, fmt.Errorf("IPv6 header %x", b[:8])
		}
		length = int(binary.BigEndian.Uint16(b[4:]))
		from, to, b = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:])), b[40:]
	default:
		return d, fmt.Errorf("protocol %04x", protocol)
	}
	if length < 8 || length > len(b) || int(binary.BigEndian.Uint16(b[4:])) != length {
		return d, fmt.Errorf("UDP length %d of %d in %d", binary.BigEndian.Uint16(b[4:]), length, len(b))
	}
	if len(b) > length && all > 60 {
		return d, fmt.Errorf("%d bytes behind the datagram", len(b)-length)
	}
	for _, padding := range b[length:] {
		if padding != 0 {
			return d, fmt.Errorf("padding %x", b[length:])
		}
	}
	if sum(pseudo(from, to, length), b[:length]) != 0xffff {
		return d, fmt.Errorf("UDP checksum")
	}
	d.from = netip.AddrPortFrom(from, binary.BigEndian.Uint16(b))
	d.to = netip.AddrPortFrom(to, binary.BigEndian.Uint16(b[2:]))
	d.payload = b[8:length]
	return d, nil
}

// request is a memcached command in a datagram's payload.
func request(id uint16, command string) []byte {
	b := binary.BigEndian.AppendUint16(nil, id)
	return append(append(b, 0, 0, 0, 1, 0, 0), command...)
}
