package receive

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"carillon/pause"
	"carillon/rejects"
)

const (
	maxConnections = 1024             // at a time, a listener
	idleTimeout    = 10 * time.Minute // a connection without a byte for so long is closed
	drainFor       = 10 * time.Second // for journalling what was read, when the server stops
	acceptAgain    = 100 * time.Millisecond
)

// Listener takes lines of one protocol by TCP, UDP or both.
//
// Back-pressure: a connection's goroutine reads what is there, at most
// maxBufferBytes of it, journals all complete lines as one request, and only
// then reads again. While the journal is slow or full it does not read, so the
// sender's TCP fills up and the sender waits. The slower the journal, the larger
// the requests get, up to that bound. UDP has no way to make a sender wait: its
// datagrams wait in a bounded queue, and what does not fit is dropped and counted.
//
// The end of a connection tells the sender what became of its lines. A sender
// that shuts down its sending side and then reads gets the end of the stream
// (FIN) once everything it sent is acknowledged by the journal. In every other
// case the connection is reset (RST): because the journal failed, the server
// stops, or the connection was idle. So an orderly end after one's own means kept.
type Listener struct {
	writer   *Writer
	protocol Protocol
	tcp      *net.TCPListener // nil without TCP
	udp      *net.UDPConn     // nil without UDP

	slots          chan struct{} // one element a connection
	idleTimeout    time.Duration
	drainFor       time.Duration
	queuedBytes    int // bound of the UDP queue
	queuedMessages int
}

// Listen opens the sockets of a line protocol, ProtocolGraphite or
// ProtocolIstatd. An empty address leaves TCP or UDP out. Nothing is taken before
// Serve.
func Listen(ctx context.Context, w *Writer, protocol Protocol, tcpAddress, udpAddress string) (*Listener, error) {
	l := &Listener{
		writer:         w,
		protocol:       protocol,
		slots:          make(chan struct{}, maxConnections),
		idleTimeout:    idleTimeout,
		drainFor:       drainFor,
		queuedBytes:    maxQueuedBytes,
		queuedMessages: maxQueuedDatagrams,
	}
	var config net.ListenConfig
	if tcpAddress != "" {
		listener, err := config.Listen(ctx, "tcp", tcpAddress)
		if err != nil {
			return nil, fmt.Errorf("listening for %s by TCP: %w", protocol, err)
		}
		l.tcp = listener.(*net.TCPListener)
	}
	if udpAddress != "" {
		conn, err := config.ListenPacket(ctx, "udp", udpAddress)
		if err != nil {
			l.Close()
			return nil, fmt.Errorf("listening for %s by UDP: %w", protocol, err)
		}
		l.udp = conn.(*net.UDPConn)
	}
	return l, nil
}

// TCPAddr is the address bound for TCP, nil without.
func (l *Listener) TCPAddr() net.Addr {
	if l.tcp == nil {
		return nil
	}
	return l.tcp.Addr()
}

// UDPAddr is the address bound for UDP, nil without.
func (l *Listener) UDPAddr() net.Addr {
	if l.udp == nil {
		return nil
	}
	return l.udp.LocalAddr()
}

// Close closes the sockets of a listener that is not going to serve. Serve
// closes them itself.
func (l *Listener) Close() {
	if l.tcp != nil {
		l.tcp.Close()
	}
	if l.udp != nil {
		l.udp.Close()
	}
}

// Serve takes lines until ctx ends; then it journals what it has read, within
// drainFor, and returns nil. An error means that a socket failed.
func (l *Listener) Serve(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx) // a socket that fails stops the other
	journalling, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() {
		l.Close()
		time.AfterFunc(l.drainFor, stop)
	})()
	defer l.Close()
	if l.tcp != nil {
		group.Go(func() error { return l.accept(ctx, journalling) })
	}
	if l.udp != nil {
		group.Go(func() error { return l.serveDatagrams(ctx, journalling) })
	}
	return group.Wait()
}

// accept runs one goroutine a connection, and returns when all have ended.
func (l *Listener) accept(ctx, journalling context.Context) error {
	var connections sync.WaitGroup
	defer connections.Wait()
	for {
		conn, err := l.tcp.AcceptTCP()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				reset(conn)
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accepting %s connections: %w", l.protocol, err)
		case err != nil: // such as too many open files: others may close theirs
			l.writer.logger.Warn("accepting a connection failed", "protocol", l.protocol, "error", err)
			_ = pause.For(ctx, acceptAgain) // the next Accept finds whether ctx has ended
			continue
		}
		select {
		case l.slots <- struct{}{}:
			connections.Go(func() {
				defer func() { <-l.slots }()
				l.serveConnection(ctx, journalling, conn)
			})
		default:
			l.writer.rejects.Add(string(l.protocol), "too_many_connections", 1, rejects.Sample{
				From: conn.RemoteAddr().String(), Input: "connection",
				Detail: fmt.Sprintf("there are %d already", cap(l.slots)),
			})
			reset(conn)
		}
	}
}

// reset closes a connection so that the sender cannot take it for an orderly end.
func reset(conn *net.TCPConn) {
	conn.SetLinger(0) // if it fails the connection is gone anyway
	conn.Close()
}
