package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"carillon/object"
	"carillon/object/conformance"
	"carillon/object/replica"
)

const smallBuffer = 4 << 10 // bytes of a socket's buffer, either way

// small gives a connection small buffers.
func small(c net.Conn) (net.Conn, error) {
	tcp := c.(*net.TCPConn)
	return c, errors.Join(tcp.SetReadBuffer(smallBuffer), tcp.SetWriteBuffer(smallBuffer))
}

type smallListener struct{ net.Listener }

func (l smallListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return small(c)
}

func dialSmall(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return small(c)
}

// TestFlood: two nodes flood each other by small buffers with contents that each has the other copy, and with
// reads of them, far more at once than there are places. Everything gets done.
func TestFlood(t *testing.T) {
	places := startPlaces(t, options{
		server: true, connect: dialSmall,
		listen: func(l net.Listener) net.Listener { return smallListener{l} },
	}, "a", "b")
	content := conformance.Content(40<<10, 1)
	sum := object.SumOf(content)
	source := replica.Source{Size: int64(len(content)), Sum: &sum, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	}}
	var group sync.WaitGroup
	for i := range 2 * (relays + gets) {
		p := places[i%2]
		group.Go(func() {
			name := fmt.Sprintf("flood/%d", i)
			if _, err := p.cluster.Put(t.Context(), name, source); err != nil {
				t.Error(err)
				return
			}
			body, err := p.cluster.Get(t.Context(), name, replica.Newest, object.Get{})
			if err != nil {
				t.Error(err)
				return
			}
			got, err := io.ReadAll(body)
			if err = errors.Join(err, body.Close()); err != nil || !bytes.Equal(got, content) {
				t.Errorf("%q: %d bytes, %v", name, len(got), err)
			}
		})
	}
	group.Wait()
}

// TestNaiveFlood shows what TestFlood is for: where the goroutine that reads a connection also writes the answers to it,
// two ends that flood each other come to stand still for good, both writing, neither reading.
func TestNaiveFlood(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	dialled, err := dialSmall(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := smallListener{listener}.Accept()
	if err != nil {
		t.Fatal(err)
	}
	ends := make(chan error, 2)
	for _, end := range []net.Conn{dialled, accepted} {
		// They never go on; the deadline is for the test to end.
		if err := end.SetDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		go func() { ends <- naive(end) }()
	}
	for range 2 {
		if err := <-ends; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a naive end: %v, want it to stand still", err)
		}
	}
	_, _ = dialled.Close(), accepted.Close()
}

// naive floods with requests of a byte, each of which the other end answers with many, and reads and answers in
// one goroutine.
func naive(end net.Conn) error {
	const requests, answerBytes = 256, 64 << 10
	if _, err := end.Write(bytes.Repeat([]byte{'?'}, requests)); err != nil {
		return err
	}
	answer := bytes.Repeat([]byte{'!'}, answerBytes)
	buffer := make([]byte, smallBuffer)
	for left := requests * (answerBytes + 1); left > 0; {
		n, err := end.Read(buffer)
		if err != nil {
			return err
		}
		left -= n
		for range bytes.Count(buffer[:n], []byte{'?'}) {
			if _, err := end.Write(answer); err != nil {
				return err
			}
		}
	}
	return nil
}
