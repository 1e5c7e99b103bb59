package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"carillon/object"
)

const (
	plainRequestBytes = 4 << 10  // of a request that is answered here
	plainBytes        = 64 << 10 // of a content that is
)

// plainConn answers plain GETs of small objects on a connection of its own. That takes a third of the CPU time
// which net/http needs: one read and one write, no map of headers, and no second goroutine that watches the connection
// while an answer is made.
//
// Connections begin with net/http. When it has answered such a GET on one, it gives the connection away (Hijack), and
// plainConn goes on with what comes next. With the first request that is anything else, not
// whole in one or two pieces, or not to be answered with a small content that is here, it gives the connection back together with
// every byte of that request. So what a request means is decided in one place, and this one may give up anywhere
// until the first byte of an answer is written. One goroutine at a time has the connection: it reads a
// request, asks for nothing but this node's own store, and then writes.
type plainConn struct {
	*Server
	conn   net.Conn
	web    *http.Server // where the connection came from
	came   []byte       // read and not answered
	buffer [plainRequestBytes]byte
}

// continuePlain goes on with the connection of a request that was answered with a small content and asked for nothing special.
func (q *request) continuePlain() {
	web, ok := q.r.Context().Value(http.ServerContextKey).(*http.Server)
	if !ok || q.pace.rc.Flush() != nil {
		return
	}
	conn, ahead, err := q.pace.rc.Hijack()
	if err != nil {
		return // net/http goes on
	}
	c := &plainConn{Server: q.Server, conn: conn, web: web}
	c.came, _ = ahead.Reader.Peek(ahead.Reader.Buffered()) // never fails
	if again, ok := conn.(*resumedConn); ok {
		c.conn, c.came = again.Conn, append(c.came, again.came...)
	}
	if !c.plain.enter(c) {
		_ = c.conn.Close() // the server ends
		return
	}
	defer c.plain.leave(c)
	c.run(q.r.Context())
}

// run answers until something else comes.
func (c *plainConn) run(ctx context.Context) {
	for {
		if len(c.came) == 0 && !c.read(c.web.IdleTimeout) || c.halfway() && !c.read(c.web.ReadHeaderTimeout) {
			_ = c.conn.Close() // there is nobody to tell
			return
		}
		get, size := parsePlainGet(c.came)
		if size == 0 {
			break
		}
		answered, err := c.answer(ctx, get)
		if err != nil {
			_ = c.conn.Close()
			return
		}
		if !answered {
			break
		}
		c.came = c.came[size:]
	}
	_ = c.conn.SetDeadline(time.Time{}) // fails if it is closed, which net/http will see
	// This starts a goroutine for the connection that the listener has, and ends with the listener.
	err := c.web.Serve(&resumedListener{&resumedConn{c.conn, c.came}})
	if !errors.Is(err, io.EOF) {
		_ = c.conn.Close() // the server ends, and has not taken it
	}
}

// halfway tells whether what came is the beginning of a plain GET, as far as one can see. When net/http has seen the first byte of a
// request while it answered the one before, that is all that came.
func (c *plainConn) halfway() bool {
	n := min(len(c.came), len(plainBegin))
	return len(c.came) < len(c.buffer) && string(c.came[:n]) == plainBegin[:n] && !bytes.Contains(c.came, []byte("\r\n\r\n"))
}

// read reads more, and waits for it as long as net/http would.
func (c *plainConn) read(wait time.Duration) bool {
	var until time.Time
	if wait > 0 {
		until = time.Now().Add(wait)
	}
	if c.conn.SetReadDeadline(until) != nil || c.plain.ends() {
		return false
	}
	held := copy(c.buffer[:], c.came)
	n, err := c.conn.Read(c.buffer[held:])
	c.came = c.buffer[:held+n]
	return n > 0 && err == nil
}

// answer answers a request, if it can be here. After an error the connection is of no use any more.
func (c *plainConn) answer(ctx context.Context, get plainGet) (answered bool, err error) {
	name, ok := get.decoded()
	if !ok || !c.admits(string(get.bearer)) || !c.reading.tryEnter() {
		return false, nil
	}
	defer c.reading.leave()
	body, err := c.config.Local.Get(ctx, name, object.Get{})
	if err != nil {
		return false, nil
	}
	buffer := c.buffers.Get().(*[]byte)
	defer c.buffers.Put(buffer)
	now := time.Now()
	text, err := appendPlain((*buffer)[:0], body, now)
	*buffer = text[:0]
	if err = errors.Join(err, body.Close()); err != nil {
		return false, nil
	}
	if err := c.conn.SetWriteDeadline(now.Add(c.config.Stall)); err != nil {
		return false, err
	}
	_, err = c.conn.Write(text)
	return true, err
}

var errNotPlain = errors.New("content is not small")

// appendPlain appends header and content.
func appendPlain(b []byte, body object.Body, now time.Time) ([]byte, error) {
	info := body.Info()
	if info.Size > plainBytes {
		return b, errNotPlain
	}
	b = appendPlainHead(b, info, now)
	begin := len(b)
	end := begin + int(info.Size)
	if cap(b) <= end {
		b = append(make([]byte, 0, end+1), b...) // one more, to meet the end
	}
	// The end of the whole comes only after a right checksum.
	n, err := io.ReadFull(body, b[begin:end+1])
	switch {
	case n != int(info.Size):
		return b, errors.Join(err, object.ErrSize)
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return b[:end], nil
	}
	return b, err
}

// resumedConn is a connection on its way back to net/http.
type resumedConn struct {
	net.Conn
	came []byte // to be read first
}

func (c *resumedConn) Read(p []byte) (int, error) {
	if len(c.came) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.came)
	c.came = c.came[n:]
	return n, nil
}

// ReadFrom keeps sendfile possible.
func (c *resumedConn) ReadFrom(r io.Reader) (int64, error) {
	if to, ok := c.Conn.(io.ReaderFrom); ok {
		return to.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{c.Conn}, r)
}

// resumedListener has one connection and then ends.
type resumedListener struct{ conn *resumedConn }

func (l *resumedListener) Accept() (net.Conn, error) {
	if l.conn == nil {
		return nil, io.EOF
	}
	c := l.conn
	l.conn = nil
	return c, nil
}

func (l *resumedListener) Close() error   { return nil }
func (l *resumedListener) Addr() net.Addr { return &net.TCPAddr{} }

// plainConns are those of a server.
type plainConns struct {
	mu     sync.Mutex
	conns  map[*plainConn]struct{} // guarded by mu
	ending bool                    // guarded by mu
	group  sync.WaitGroup
}

func (p *plainConns) enter(c *plainConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ending {
		return false
	}
	if p.conns == nil {
		p.conns = make(map[*plainConn]struct{})
	}
	p.conns[c] = struct{}{}
	p.group.Add(1)
	return true
}

func (p *plainConns) leave(c *plainConn) {
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
	p.group.Done()
}

func (p *plainConns) ends() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ending
}

// end closes those that wait for a request, and lets the others answer theirs.
func (p *plainConns) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ending = true
	for c := range p.conns {
		_ = c.conn.SetReadDeadline(time.Unix(1, 0)) // fails if it is closed already
	}
}

// wait returns when there are none any more.
func (p *plainConns) wait(ctx context.Context) error {
	gone := make(chan struct{})
	go func() {
		p.group.Wait()
		close(gone)
	}()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
