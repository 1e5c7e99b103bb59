//go:build !linux

package memcached

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// listenDatagrams opens a socket.
func listenDatagrams(ctx context.Context, address string) ([]*net.UDPConn, error) {
	var config net.ListenConfig
	socket, err := config.ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	return []*net.UDPConn{socket.(*net.UDPConn)}, nil
}

// serveDatagrams receives and answers datagrams one by one.
func (s *Server) serveDatagrams(ctx context.Context, socket *net.UDPConn) error {
	session := newSession(s, nil)
	session.out = make([]byte, 0, repliesBytes)
	buffer := make([]byte, datagramBytes)
	var pieces []piece
	for {
		n, from, err := socket.ReadFromUDPAddrPort(buffer)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("receiving datagrams: %w", err)
		case err != nil:
			continue
		case !s.allowed(from.Addr()):
			session.counts[datagramsRefused]++
			session.leave()
			continue
		}
		began := session.begin()
		pieces = session.answer(buffer[:n], pieces[:0])
		session.stopReading()
		for _, p := range pieces {
			if _, err := socket.WriteToUDPAddrPort(session.out[p.from:p.to], from); err != nil {
				session.counts[datagramsDropped]++
			}
			session.counts[bytesWritten] += uint64(p.to - p.from)
		}
		session.emptied()
		session.leave()
		session.end(began)
	}
}
