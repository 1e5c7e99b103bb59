//go:build linux && (amd64 || arm64 || riscv64)

package lab

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
)

// Where the parts of a frame are that Frame4 makes.
const (
	ip4At     = 14
	udpAt     = ip4At + 20
	CheckAt   = udpAt + 6 // the UDP checksum
	PayloadAt = udpAt + 8
)

// Frame4 is a datagram of IPv4 as a frame from the client of a Pair to its server, with all
// lengths and checksums.
func Frame4(from, to netip.AddrPort, payload []byte) ([]byte, error) {
	client, err1 := net.ParseMAC(ClientMAC)
	server, err2 := net.ParseMAC(ServerMAC)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	b := append(append(make([]byte, 0, PayloadAt+len(payload)), server...), client...)
	b = append(b, 0x08, 0x00)
	b = append(b, 0x45, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(PayloadAt-ip4At+len(payload)))
	b = append(b, 0, 0, 0x40, 0, 64, 17, 0, 0)
	b = append(append(b, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
	binary.BigEndian.PutUint16(b[ip4At+10:], ^sum16(0, b[ip4At:]))
	b = binary.BigEndian.AppendUint16(b, from.Port())
	b = binary.BigEndian.AppendUint16(b, to.Port())
	length := uint16(PayloadAt - udpAt + len(payload))
	b = binary.BigEndian.AppendUint16(b, length)
	b = append(append(b, 0, 0), payload...)
	const addresses, protocol = ip4At + 12, 17
	check := ^sum16(uint32(sum16(protocol+uint32(length), b[addresses:udpAt])), b[udpAt:])
	if check == 0 {
		check = 0xffff
	}
	binary.BigEndian.PutUint16(b[CheckAt:], check)
	return b, nil
}

// sum16 adds b to the one's-complement sum of RFC 1071.
func sum16(s uint32, b []byte) uint16 {
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
