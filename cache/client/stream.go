package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// maxValue is the largest value that is taken from a server, in bytes.
	maxValue = 1 << 30
	// maxLine is the longest line.
	maxLine = 64 << 10
)

// stream is a connection. One goroutine uses it at a time.
type stream struct {
	server string
	conn   net.Conn
	r      *bufio.Reader
	w      *bufio.Writer
}

func (st *stream) close() { _ = st.conn.Close() }

// with calls f with a connection to a server, and keeps the connection if f had no trouble
// with it. A connection that was kept may be dead: then f, which must be something that can be
// done twice, is called again with a new one.
func (c *Client) with(ctx context.Context, s *server, f func(*stream) error) error {
	select {
	case st := <-s.streams:
		err := c.use(ctx, s, st, f)
		if !errors.Is(err, errNothing) {
			return err
		}
	default:
	}
	return c.once(ctx, s, f)
}

// once is with for what cannot be done twice. It takes no connection that may be dead.
func (c *Client) once(ctx context.Context, s *server, f func(*stream) error) error {
	st, err := c.connect(ctx, s)
	if err != nil {
		return err
	}
	return c.use(ctx, s, st, f)
}

// errNothing is that a connection ended without a byte of reply.
var errNothing = errors.New("the connection ended without a reply")

func (c *Client) use(ctx context.Context, s *server, st *stream, f func(*stream) error) error {
	if err := st.conn.SetDeadline(c.deadline(ctx)); err != nil {
		st.close()
		return fmt.Errorf("%w: %w", errNothing, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = st.conn.SetDeadline(time.Unix(1, 0)) })
	err := f(st)
	stop()
	var refused *ServerError
	if ctx.Err() != nil || err != nil && !errors.As(err, &refused) && !errors.Is(err, ErrMiss) && !errors.Is(err, ErrNotStored) && !errors.Is(err, ErrChanged) {
		st.close()
		if err == nil {
			return nil
		}
		return fmt.Errorf("%s: %w", s.address, errors.Join(ctx.Err(), err))
	}
	select {
	case s.streams <- st:
	default:
		st.close()
	}
	return err
}

func (c *Client) deadline(ctx context.Context) time.Time {
	deadline := time.Now().Add(c.config.Timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		return d
	}
	return deadline
}

func (c *Client) connect(ctx context.Context, s *server) (*stream, error) {
	dialer := net.Dialer{Timeout: c.config.Timeout}
	conn, err := dialer.DialContext(ctx, s.network, s.address)
	if err != nil {
		return nil, fmt.Errorf("cache server: %w", err)
	}
	st := &stream{server: s.address, conn: conn, r: bufio.NewReaderSize(conn, maxLine), w: bufio.NewWriter(conn)}
	if c.config.User == "" {
		return st, nil
	}
	if err := conn.SetDeadline(c.deadline(ctx)); err != nil {
		return nil, err
	}
	who := c.config.User + " " + c.config.Password
	reply, err := st.ask(fmt.Sprintf("set auth 0 0 %d\r\n%s", len(who), who))
	if err == nil && reply != "STORED" {
		err = &ServerError{s.address, reply}
	}
	if err != nil {
		st.close()
		return nil, fmt.Errorf("%s: authentication: %w", s.address, err)
	}
	return st, nil
}

// send sends a request, without its last line end.
func (st *stream) send(request string) error {
	if _, err := st.w.WriteString(request); err != nil {
		return fmt.Errorf("%w: %w", errNothing, err)
	}
	if _, err := st.w.WriteString("\r\n"); err != nil {
		return fmt.Errorf("%w: %w", errNothing, err)
	}
	if err := st.w.Flush(); err != nil {
		return fmt.Errorf("%w: %w", errNothing, err)
	}
	_, err := st.r.Peek(1)
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%w: %w", errNothing, err) // closed or reset
}

// line reads a line.
func (st *stream) line() (string, error) {
	line, err := st.r.ReadSlice('\n')
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}

// ask sends a request, to which the reply is a line.
func (st *stream) ask(request string) (reply string, err error) {
	if err := st.send(request); err != nil {
		return "", err
	}
	return st.line()
}

// values reads the items of a get or gets.
func (st *stream) values(request string) (items []Item, err error) {
	if err := st.send(request); err != nil {
		return nil, err
	}
	return readValues(st.server, st.r)
}

// readValues reads VALUE lines with their values until END.
func readValues(server string, r *bufio.Reader) (items []Item, err error) {
	for {
		raw, err := r.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		line := strings.TrimRight(string(raw), "\r\n")
		if line == "END" {
			return items, nil
		}
		item, size, err := parseValue(line)
		if err != nil && strings.HasPrefix(line, "VALUE") {
			return nil, fmt.Errorf("%q: %w", line, err)
		} else if err != nil {
			return nil, &ServerError{server, line}
		}
		var value bytes.Buffer // which grows with what comes, not with what is announced
		if _, err := io.CopyN(&value, r, int64(size)+2); err != nil {
			return nil, err
		}
		if !bytes.HasSuffix(value.Bytes(), []byte("\r\n")) {
			return nil, fmt.Errorf("the value of %q does not end where it should", item.Key)
		}
		item.Value = value.Bytes()[:size]
		items = append(items, item)
	}
}

// parseValue reads: VALUE <key> <flags> <bytes> [<cas unique>].
func parseValue(line string) (item Item, size int, err error) {
	words := strings.Split(line, " ")
	if len(words) < 4 || len(words) > 5 || words[0] != "VALUE" {
		return Item{}, 0, errors.New("no VALUE")
	}
	flags, err := strconv.ParseUint(words[2], 10, 32)
	if err != nil {
		return Item{}, 0, err
	}
	n, err := strconv.ParseUint(words[3], 10, 32)
	if err != nil || n > maxValue {
		return Item{}, 0, errors.New("a bad length")
	}
	item = Item{Key: words[1], Flags: uint32(flags)}
	if len(words) == 5 {
		item.Unique, err = strconv.ParseUint(words[4], 10, 64)
	}
	return item, int(n), err
}
