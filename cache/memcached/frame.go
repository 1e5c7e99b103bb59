package memcached

import (
	"encoding/binary"
	"net/netip"
)

// A datagram begins with a frame of four big-endian numbers of 16 bits: the request's id,
// the datagram's place in the message, how many datagrams the message has, and 0.
const (
	frameBytes = 8
	// replyBytes is the largest datagram that is sent, payloadBytes what it has behind the frame.
	replyBytes   = 1400
	payloadBytes = replyBytes - frameBytes
	// datagramBytes is the largest datagram that can come.
	datagramBytes = 64 << 10
)

// appendFrame appends the frame of a datagram of a reply.
func appendFrame(dst []byte, id uint16, place, total int) []byte {
	dst = binary.BigEndian.AppendUint16(dst, id)
	dst = binary.BigEndian.AppendUint16(dst, uint16(place))
	dst = binary.BigEndian.AppendUint16(dst, uint16(total))
	return append(dst, 0, 0)
}

// requestOf takes the frame from a datagram. Requests of several datagrams are not known.
func requestOf(datagram []byte) (id uint16, request []byte, ok bool) {
	if len(datagram) < frameBytes || binary.BigEndian.Uint16(datagram[4:]) != 1 {
		return 0, nil, false
	}
	return binary.BigEndian.Uint16(datagram), datagram[frameBytes:], true
}

// piece is a datagram to be sent: a part of the session's replies.
type piece struct{ from, to int }

// answer works off a datagram, and appends the ones with the reply to pieces.
func (s *session) answer(datagram []byte, pieces []piece) []piece {
	s.counts[datagrams]++
	s.counts[bytesRead] += uint64(len(datagram))
	id, request, ok := requestOf(datagram)
	if !ok {
		s.counts[datagramsBad]++
		return pieces
	}
	begin := len(s.out)
	s.out = appendFrame(s.out, id, 0, 1)
	s.base = begin
	if s.feed(request) < len(request) || s.need > 0 || s.swallow > 0 {
		s.counts[datagramsCut]++
	}
	s.need, s.swallow, s.fed, s.closing = 0, 0, false, false
	reply := begin + frameBytes
	switch n := len(s.out) - reply; {
	case n == 0:
		s.out = s.out[:begin]
		return pieces
	case n <= payloadBytes:
		return append(pieces, piece{begin, len(s.out)})
	default:
		return s.cut(id, reply, len(s.out), pieces)
	}
}

// cut makes several datagrams, with copies, of a long reply.
func (s *session) cut(id uint16, from, to int, pieces []piece) []piece {
	total := (to - from + payloadBytes - 1) / payloadBytes
	for place := range total {
		begin := len(s.out)
		end := min(from+payloadBytes, to)
		s.out = append(appendFrame(s.out, id, place, total), s.out[from:end]...)
		pieces = append(pieces, piece{begin, len(s.out)})
		from = end
	}
	return pieces
}

// allowed tells whether a source may ask by datagrams.
func (s *Server) allowed(source netip.Addr) bool {
	source = source.Unmap()
	for _, prefix := range s.config.Allow {
		if prefix.Contains(source) {
			return true
		}
	}
	return false
}
