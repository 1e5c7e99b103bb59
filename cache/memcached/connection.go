package memcached

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"carillon/pause"
)

const (
	// requestBytes is the buffer for requests; a data block may borrow a larger one.
	requestBytes = 16 << 10
	// sendTimeout is how long a client may leave replies unread before it is cut off, to the second.
	sendTimeout = time.Minute
	// acceptAgain is the pause after a connection could not be accepted.
	acceptAgain = 100 * time.Millisecond
	// growFactor is how many times what has come of a data block its buffer may have: a client
	// that announces much and sends little costs little.
	growFactor = 4
)

// connections are those that are open.
type connections struct {
	sync.Mutex
	open     map[*connection]struct{}
	most     int
	closed   bool
	last     uint64 // id given out
	rejected uint64
	idle     atomic.Uint64 // closed for having been idle
}

// connectionCounters are what stats tells of connections.
type connectionCounters struct {
	open                     int
	accepted, rejected, idle uint64
}

func (c *connections) init(most int) {
	c.open, c.most = make(map[*connection]struct{}), most
}

func (c *connections) counters() connectionCounters {
	c.Lock()
	defer c.Unlock()
	return connectionCounters{len(c.open), c.last, c.rejected, c.idle.Load()}
}

// add takes a connection in, unless there are too many.
func (c *connections) add(conn *connection) bool {
	c.Lock()
	defer c.Unlock()
	if c.closed || len(c.open) >= c.most {
		c.rejected++
		return false
	}
	c.last++
	conn.id = c.last
	c.open[conn] = struct{}{}
	return true
}

func (c *connections) remove(conn *connection) {
	c.Lock()
	defer c.Unlock()
	delete(c.open, conn)
}

func (c *connections) closeAll() {
	c.Lock()
	defer c.Unlock()
	c.closed = true
	for conn := range c.open {
		_ = conn.net.Close()
	}
}

// each calls f with what stats conns shows.
func (c *connections) each(f func(id uint64, name string, value any)) {
	c.Lock()
	defer c.Unlock()
	for conn := range c.open {
		remote := conn.net.RemoteAddr()
		f(conn.id, "addr", remote.Network()+":"+remote.String())
		f(conn.id, "listen_addr", remote.Network()+":"+conn.net.LocalAddr().String())
		f(conn.id, "state", "conn_read")
		f(conn.id, "secs_since_last_cmd", conn.server.cache.Now()-conn.used.Load())
	}
}

// connection is a client by TCP or a Unix socket. Its goroutine owns all fields but used.
type connection struct {
	server  *Server
	net     net.Conn
	session *session
	id      uint64
	used    atomic.Uint32 // Unix second of the last request

	in       []byte // bytes from begin on, to its length, have not been used
	begin    int
	borrowed int // bytes of in that are taken from the server's budget

	deadlines deadlines
}

// deadlines are the Unix seconds at which they were set: once a second is enough, for that
// costs about as much as a get. They are a second late, so that nobody's is early.
type deadlines struct{ read, write uint32 }

// accept runs a goroutine a connection, and returns when all have ended.
func (s *Server) accept(ctx context.Context, listener net.Listener) error {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		conn, err := listener.Accept()
		switch {
		case err == nil:
			s.admit(conn, &all)
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accepting memcached clients: %w", err)
		default: // such as too many open files: others may close theirs
			s.config.Logger.Warn("accepting a memcached client failed", "error", err)
			_ = pause.For(ctx, acceptAgain) // the next Accept finds whether ctx has ended
		}
	}
}

func (s *Server) admit(conn net.Conn, all *sync.WaitGroup) {
	c := &connection{server: s, net: conn}
	if !s.connections.add(c) {
		_ = conn.SetWriteDeadline(time.Now().Add(acceptAgain))
		_, _ = conn.Write([]byte("ERROR Too many open connections\r\n"))
		_ = conn.Close()
		return
	}
	c.session = newSession(s, c.send)
	c.used.Store(s.cache.Now())
	all.Go(func() {
		c.serve()
		s.connections.remove(c)
		_ = conn.Close()
	})
}

// serve works off requests until the client goes, or must go.
func (c *connection) serve() {
	c.in = make([]byte, 0, requestBytes)
	defer c.release()
	for !c.session.closing {
		n, err := c.receive()
		if n > 0 {
			c.session.counts[bytesRead] += uint64(n)
			c.work()
		}
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				c.server.connections.idle.Add(1)
			}
			return
		}
	}
}

// work feeds what has come, and sends the replies.
func (c *connection) work() {
	replies := c.server.replies.Get().(*[]byte)
	s := c.session
	began := s.begin()
	s.out = (*replies)[:0]
	c.begin += s.feed(c.in[c.begin:])
	if !c.makeRoom() {
		s.refuse()
		c.begin += s.feed(c.in[c.begin:])
		c.makeRoom()
	}
	if len(s.out) > 0 {
		s.flush()
	}
	s.leave()
	s.end(began)
	s.out = nil
	c.server.replies.Put(replies)
	c.used.Store(c.server.cache.Now())
}

// makeRoom moves what has not been used to the front, and gets a larger buffer if it takes
// one to go on. It is false if there is no memory for that.
func (c *connection) makeRoom() bool {
	rest := c.in[c.begin:]
	if len(rest) == 0 && c.borrowed > 0 && c.session.wants() == 0 {
		c.release()
		c.in = make([]byte, 0, requestBytes)
	}
	c.in, c.begin = c.in[:copy(c.in[:cap(c.in)], rest)], 0
	if len(c.in) < cap(c.in) {
		return true
	}
	size := growFactor * cap(c.in)
	if wants := c.session.wants(); wants > 0 {
		size = min(size, wants+requestBytes)
	}
	if !c.server.budget.take(size - cap(c.in)) {
		return false
	}
	c.borrowed += size - cap(c.in)
	grown := make([]byte, len(c.in), size)
	copy(grown, c.in)
	c.in = grown
	return true
}

func (c *connection) release() {
	c.server.budget.give(c.borrowed)
	c.borrowed, c.in, c.begin = 0, nil, 0
}

// receive reads behind what has not been used.
func (c *connection) receive() (n int, err error) {
	if timeout := c.server.config.IdleTimeout; timeout > 0 {
		if now := c.server.cache.Now(); now != c.deadlines.read {
			c.deadlines.read = now
			if err := c.net.SetReadDeadline(time.Now().Add(timeout + time.Second)); err != nil {
				return 0, err
			}
		}
	}
	n, err = c.net.Read(c.in[len(c.in):cap(c.in)])
	c.in = c.in[:len(c.in)+n]
	return n, err
}

// send writes the session's replies in one piece.
func (c *connection) send() error {
	if now := c.server.cache.Now(); now != c.deadlines.write {
		c.deadlines.write = now
		if err := c.net.SetWriteDeadline(time.Now().Add(sendTimeout + time.Second)); err != nil {
			return err
		}
	}
	n, err := c.net.Write(c.session.out)
	c.session.counts[bytesWritten] += uint64(n)
	c.session.emptied()
	return err
}
