package node

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// batchDialer makes the connections that batches go by.
type batchDialer struct {
	dial   Dial
	url    *url.URL
	header string // of each request, up to the value of its length
}

func newBatchDialer(u *url.URL, d Dial) batchDialer {
	header := http.MethodPost + " " + Root + "?puts HTTP/1.1\r\nHost: " + u.Host + "\r\n" + headerLocal + ": true\r\n"
	if d.Token != "" {
		header += "Authorization: " + bearer + d.Token + "\r\n"
	}
	return batchDialer{dial: d, url: u, header: header + "Content-Length: "}
}

// connect makes a connection within a time.
func (d *batchDialer) connect(until time.Time) (*batchConn, error) {
	ctx, cancel := context.WithDeadline(context.Background(), until)
	defer cancel()
	secure := d.url.Scheme == "https"
	port := d.url.Port()
	if port == "" && secure {
		port = "443"
	} else if port == "" {
		port = "80"
	}
	conn, err := d.dial.Connect(ctx, "tcp", net.JoinHostPort(d.url.Hostname(), port))
	if err != nil || !secure {
		return d.over(conn), err
	}
	config := d.dial.TLS.Clone()
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if config.ServerName == "" {
		config.ServerName = d.url.Hostname()
	}
	config.NextProtos = []string{"http/1.1"}
	over := tls.Client(conn, config)
	if err := over.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return d.over(over), nil
}

func (d *batchDialer) over(conn net.Conn) *batchConn {
	return &batchConn{conn: conn, answers: bufio.NewReader(conn), header: d.header}
}

// batchConn is an HTTP/1.1 connection on which one goroutine sends batches and reads their answers, in turns. With net/http two
// more goroutines would have a hand in each, and copy what here goes from the callers' contents into the kernel.
type batchConn struct {
	conn    net.Conn
	answers *bufio.Reader
	header  string
	used    bool // for a batch before
}

// request is the header and the frames of a batch, contents where they are.
func (c *batchConn) request(batch []*queuedPut) net.Buffers {
	size := 0
	for _, put := range batch {
		size += putHeadBytes(put.Name)
	}
	heads := make([]byte, 0, size)
	request := make(net.Buffers, 1, 1+2*len(batch))
	for _, put := range batch {
		begin := len(heads)
		heads = appendPutHead(heads, put.ContentPut)
		request = append(request, heads[begin:], put.Content)
		size += len(put.Content)
	}
	request[0] = append(strconv.AppendInt([]byte(c.header), int64(size), 10), "\r\n\r\n"...)
	return request
}

// send returns the answer's body. After an error the connection is of no use any more; the answer may be an error, and
// the connection good.
func (c *batchConn) send(batch []*queuedPut, until time.Time) (text []byte, good bool, err error) {
	request := c.request(batch)
	if err := c.conn.SetDeadline(until); err != nil {
		return nil, false, err
	}
	_, failed := request.WriteTo(c.conn)
	// Who refuses says why before the whole has come.
	response, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		return nil, false, errors.Join(failed, err)
	}
	defer response.Body.Close() // has no error: it reads what is left
	good = failed == nil && !response.Close
	if response.StatusCode != http.StatusOK {
		return nil, good, errorOf("", response)
	}
	if most := int64(len(batch)) * maxAnswerFrame; response.ContentLength < 0 || response.ContentLength > most {
		return nil, false, fmt.Errorf("an answer of %d bytes, want at most %d", response.ContentLength, most)
	}
	text = make([]byte, response.ContentLength)
	_, err = io.ReadFull(response.Body, text)
	return text, good && err == nil, err
}
