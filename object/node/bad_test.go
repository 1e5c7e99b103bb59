package node

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"carillon/object"
	"carillon/object/conformance"
	"carillon/object/replica"
)

// askers is what makes a request one of a program, or of another node.
func askers() map[string][]string {
	return map[string][]string{
		"a program": nil,
		"a node":    {headerLocal, "true", headerEpoch, "1", headerVersion, conformance.V(1).String()},
	}
}

// TestBadBodiesLeaveNothing: a large body that is not what was announced is stored nowhere, not in parts either.
func TestBadBodiesLeaveNothing(t *testing.T) {
	places := startPlaces(t, options{}, "a", "b", "c")
	p := places[0]
	const size = 2 << 20
	content := conformance.Content(size, 1)
	for who, headers := range askers() {
		want(t, 400, "bad_sum", "PUT", p.url+"/objects/x", bytes.NewReader(content), append([]string{headerSum, object.SumOf(nil).String()}, headers...)...)
		fields := ""
		for i := 0; i < len(headers); i += 2 {
			fields += headers[i] + ": " + headers[i+1] + "\r\n"
		}
		begin := "PUT /objects/x HTTP/1.1\r\nHost: x\r\n" + fields
		for what, request := range map[string]string{
			"cut short":              fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", begin, size, content[:size-1]),
			"cut between two chunks": fmt.Sprintf("%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", begin, size, content),
			"cut in a chunk":         fmt.Sprintf("%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s", begin, size, content[:size/2]),
			"of no size":             begin + "Content-Length: -1\r\n\r\n",
			"of two sizes":           begin + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
		} {
			if answer := sendRaw(t, p, request); strings.Contains(answer, " 204 ") {
				t.Errorf("a body of %s that is %s: %s", who, what, answer)
			}
		}
		for what, body := range map[string]string{"short": "1234", "long": "123456"} {
			if status := putByHTTP2(t, p, headers, 5, body); status == "204" {
				t.Errorf("a body of %s by HTTP/2 that is too %s is taken", who, what)
			}
		}
	}
	for _, p := range places {
		wantNothing(t, p)
	}
}

// sendRaw sends bytes, and returns what comes until the node ends the connection.
func sendRaw(t *testing.T, p *place, request string) string {
	t.Helper()
	connection, err := net.Dial("tcp", p.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	// The node may refuse before it has all.
	if _, err := io.WriteString(connection, request); err == nil {
		_ = connection.(*net.TCPConn).CloseWrite()
	}
	answer, _ := io.ReadAll(connection) // a reset is an end, too
	return string(answer)
}

// wantNothing waits until nothing is under way on a node and looks for what was left.
func wantNothing(t *testing.T, p *place) {
	t.Helper()
	settle(t, p.server.clustering)
	settle(t, p.server.writing)
	want(t, 200, `"objects":[]`, "GET", p.url+"/objects?list&deleted", nil, headerLocal, "true")
	for _, pattern := range []string{filepath.Join(p.dir, "blobs", "*"), filepath.Join(p.spool, "*")} {
		if left, err := filepath.Glob(pattern); err != nil || len(left) > 0 {
			t.Errorf("%s has %q, %v", p.name, left, err)
		}
	}
}

// settle waits until nobody is in a lane: then all its places are to be had.
func settle(t *testing.T, l *lane) {
	t.Helper()
	for range cap(l.places) {
		if err := l.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for range cap(l.places) {
		l.leave()
	}
}

// Of HTTP/2, see RFC 9113.
const (
	preface        = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	frameHead      = 9
	dataFrame      = 0
	headersFrame   = 1
	resetFrame     = 3
	settingsFrame  = 4
	endStream      = 0x1
	endHeaders     = 0x4
	literalField   = 0x00 // of HPACK, RFC 7541: not indexed, with a new name
	statusIndexed  = 0x80 // | 8 to 14: well-known values of :status
	status204Index = 9
)

func appendFrame(b []byte, kind, flags byte, stream uint32, payload []byte) []byte {
	b = append(b, byte(len(payload)>>16), byte(len(payload)>>8), byte(len(payload)), kind, flags)
	return append(binary.BigEndian.AppendUint32(b, stream), payload...)
}

// putByHTTP2 puts a body that is not of the size announced, which no client of net/http does. It returns "204" if the node takes it.
func putByHTTP2(t *testing.T, p *place, headers []string, announced int, body string) string {
	t.Helper()
	connection, err := net.Dial("tcp", p.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	fields := append([]string{":method", "PUT", ":scheme", "http", ":path", "/objects/x", ":authority", "x", "content-length", fmt.Sprint(announced)}, headers...)
	var block []byte
	for i := 0; i < len(fields); i += 2 {
		name := strings.ToLower(fields[i])
		block = append(append(block, literalField, byte(len(name))), name...)
		block = append(append(block, byte(len(fields[i+1]))), fields[i+1]...)
	}
	request := appendFrame([]byte(preface), settingsFrame, 0, 0, nil)
	request = appendFrame(request, headersFrame, endHeaders, 1, block)
	request = appendFrame(request, dataFrame, endStream, 1, []byte(body))
	if _, err := connection.Write(request); err != nil {
		t.Fatal(err)
	}
	for {
		var head [frameHead]byte
		if _, err := io.ReadFull(connection, head[:]); err != nil {
			return "" // the node has had enough of it
		}
		payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(connection, payload); err != nil {
			t.Fatal(err)
		}
		switch {
		case head[3] == resetFrame:
			return "reset"
		case head[3] == headersFrame && payload[0] == statusIndexed|status204Index:
			return "204"
		case head[3] == headersFrame:
			return "refused"
		}
	}
}

// TestPutByHTTP2 shows that putByHTTP2 speaks it.
func TestPutByHTTP2(t *testing.T) {
	for who, headers := range askers() {
		p := startPlaces(t, options{}, "a")[0]
		if status := putByHTTP2(t, p, headers, 5, "12345"); status != "204" {
			t.Errorf("a good body of %s: %q", who, status)
		}
	}
}

// TestUnknownNode: a copy for a node that nobody knows fails with its name, and what was asked for besides is done or not as a whole.
func TestUnknownNode(t *testing.T) {
	p := startPlaces(t, options{}, "a", "b")[0]
	copies := append([]string{headerCopiesTo, "b,nowhere", headerNeed, "3"}, askers()["a node"]...)
	response, text := do(t, "PUT", p.url+"/objects/x", strings.NewReader("whole"), copies...)
	if response.StatusCode/100 == 2 || !strings.Contains(text, `unknown node \"nowhere\"`) {
		t.Errorf("%s: %s", response.Status, text)
	}
	want(t, 200, "whole", "GET", p.url+"/objects/x", nil, headerLocal, "true")
	_, err := p.cluster.Put(t.Context(), "../x", replica.Source{})
	if !errors.Is(err, object.ErrName) {
		t.Error(err)
	}
	view := viewOf(t, []string{"a", "nowhere", "gone"})
	view.Epoch = 2
	if err := p.cluster.SetView(view); err != nil {
		t.Fatal(err)
	}
	want(t, 503, `unknown node \"`, "PUT", p.url+"/objects/y", strings.NewReader("y"))
	want(t, 503, `unknown node \"`, "GET", p.url+"/objects/y?read=newest", nil)
}

// TestManyWhoNeverRead: what so many connections hold of which nobody reads more than a byte is far less than what they asked for, and others are served.
func TestManyWhoNeverRead(t *testing.T) {
	p := startPlaces(t, options{}, "a")[0]
	const size, silent, mayHold = 16 << 20, 50, 1 << 20 // bytes each of a content, connections, bytes each held
	want(t, 204, "", "PUT", p.url+"/objects/large", bytes.NewReader(conformance.Content(size, 1)))
	want(t, 204, "", "PUT", p.url+"/objects/small", strings.NewReader("small"))
	before := heap()
	connections := make([]net.Conn, silent)
	for i := range connections {
		connection, err := dialSmall(t.Context(), "tcp", p.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = connection.Close() })
		connections[i] = connection
		if _, err := fmt.Fprintf(connection, "GET /objects/large HTTP/1.1\r\nHost: x\r\n%s: node\r\n\r\n", headerVerify); err != nil {
			t.Fatal(err)
		}
	}
	for _, connection := range connections { // until all are being answered
		if _, err := io.ReadFull(connection, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	want(t, 200, "small", "GET", p.url+"/objects/small", nil)
	want(t, 204, "", "PUT", p.url+"/objects/small", strings.NewReader("other"))
	if held := heap() - before; held > silent*mayHold {
		t.Errorf("%d connections hold %d bytes", silent, held)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestNodeThatNeverReads takes connections and no more. Puts go on without it, and what cannot wait for it any more is refused.
func TestNodeThatNeverReads(t *testing.T) {
	places := startPlaces(t, options{}, "a", "b", "c")
	silent := startSilent(t)
	for _, p := range places[:2] {
		if err := p.peers.Set(map[string]string{"c": "http://" + silent.Addr().String()}); err != nil {
			t.Fatal(err)
		}
	}
	const at, size = 64, 8 << 10
	var group sync.WaitGroup
	for writer := range at {
		group.Go(func() {
			for i := range 2 * (puts + peerQueue) / at { // more than may wait for the silent one
				content := conformance.Content(size, uint64(i))
				name := fmt.Sprintf("%d/%d", writer, i)
				_, err := places[writer%2].cluster.Put(t.Context(), name, replica.Source{Size: size, Open: func() (io.ReadCloser, error) {
					return io.NopCloser(bytes.NewReader(content)), nil
				}})
				if err != nil {
					t.Errorf("with two nodes of three: %v", err)
					return
				}
			}
		})
	}
	group.Wait()
	want(t, 200, "", "GET", places[1].url+"/objects/5/1?read=newest", nil)
}

// startSilent listens, and holds what connects until the end of the test. That comes before the end of nodes, which wait for nobody then.
func startSilent(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			defer connection.Close()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
	})
	return listener
}
