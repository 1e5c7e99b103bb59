package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

const (
	frameBytes = 8
	// maxDatagrams is the longest reply that is put together.
	maxDatagrams = 2048
	// socketBytes is how much of a reply may wait to be read.
	socketBytes = 4 << 20
	// largestDatagram is the largest that can come.
	largestDatagram = 64 << 10
)

// datagrams is a socket for requests, one at a time.
type datagrams struct {
	conn net.Conn
	id   uint16 // of the last request
	room []byte
}

func (d *datagrams) close() { _ = d.conn.Close() }

// getByDatagram asks for a key, again if no reply comes, and takes no reply for a miss.
func (c *Client) getByDatagram(ctx context.Context, s *server, key string) ([]Item, error) {
	d, err := c.socket(ctx, s)
	if err != nil {
		return nil, err
	}
	for try := 0; ; try++ {
		reply, err := d.ask("get "+key+"\r\n", c.replyBy(ctx))
		switch {
		case err == nil:
			c.udp.answered.Add(1)
			s.keep(d)
			return readValues(s.address, bufio.NewReaderSize(bytes.NewReader(reply), maxLine))
		case ctx.Err() != nil:
			d.close()
			return nil, ctx.Err()
		case !errors.Is(err, os.ErrDeadlineExceeded) && !refused(err):
			d.close()
			return nil, fmt.Errorf("%s: %w", s.address, err)
		case try >= c.config.Retries:
			c.udp.lost.Add(1)
			s.keep(d)
			return nil, nil
		}
		c.udp.retried.Add(1)
	}
}

// refused tells that the system heard that nobody listens, as after a restart.
func refused(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && !op.Timeout()
}

func (c *Client) replyBy(ctx context.Context) time.Time {
	by := time.Now().Add(c.config.ReplyWithin)
	if d, ok := ctx.Deadline(); ok && d.Before(by) {
		return d
	}
	return by
}

// socket is one that nobody uses.
func (c *Client) socket(ctx context.Context, s *server) (*datagrams, error) {
	select {
	case d := <-s.datagrams:
		return d, nil
	default:
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "udp", s.address)
	if err != nil {
		return nil, fmt.Errorf("cache server: %w", err)
	}
	_ = conn.(*net.UDPConn).SetReadBuffer(socketBytes) // as much of it as the system allows
	return &datagrams{conn: conn, room: make([]byte, largestDatagram)}, nil
}

func (s *server) keep(d *datagrams) {
	select {
	case s.datagrams <- d:
	default:
		d.close()
	}
}

// ask sends a request and puts together the reply. Replies to earlier requests, which come
// late, are passed over.
func (d *datagrams) ask(request string, by time.Time) ([]byte, error) {
	d.id++
	if err := d.conn.SetDeadline(by); err != nil {
		return nil, err
	}
	frame := binary.BigEndian.AppendUint16(nil, d.id)
	if _, err := d.conn.Write(append(append(frame, 0, 0, 0, 1, 0, 0), request...)); err != nil {
		return nil, err
	}
	var whole message
	for {
		n, err := d.conn.Read(d.room)
		if err != nil {
			return nil, err
		}
		if whole.add(d.id, d.room[:n]) {
			return whole.bytes(), nil
		}
	}
}

// message is a reply of several datagrams that come in any order.
type message struct {
	parts   [][]byte
	missing int
}

// add takes a datagram and tells whether the message is whole. It leaves out what does not
// belong to it.
func (m *message) add(id uint16, datagram []byte) (whole bool) {
	if len(datagram) < frameBytes || binary.BigEndian.Uint16(datagram) != id {
		return false
	}
	place, total := int(binary.BigEndian.Uint16(datagram[2:])), int(binary.BigEndian.Uint16(datagram[4:]))
	if total == 0 || total > maxDatagrams || place >= total {
		return false
	}
	if m.parts == nil {
		m.parts, m.missing = make([][]byte, total), total
	}
	if total != len(m.parts) || m.parts[place] != nil {
		return false
	}
	m.parts[place] = append([]byte{}, datagram[frameBytes:]...)
	m.missing--
	return m.missing == 0
}

func (m *message) bytes() []byte { return bytes.Join(m.parts, nil) }
