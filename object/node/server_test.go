package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"carillon/object"
	"carillon/object/conformance"
	"carillon/object/replica"
)

// do sends a request as a program would, and returns the answer with its body.
func do(t *testing.T, method, url string, body io.Reader, headers ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(text)
}

// want sends a request and compares status and a part of the body.
func want(t *testing.T, status int, part, method, url string, body io.Reader, headers ...string) *http.Response {
	t.Helper()
	response, text := do(t, method, url, body, headers...)
	if response.StatusCode != status || !strings.Contains(text, part) {
		t.Errorf("%s %s: %s, want %d and %q in %.300q", method, url, response.Status, status, part, text)
	}
	return response
}

// TestPrograms asks as curl would: any node answers for all.
func TestPrograms(t *testing.T) {
	places := startPlaces(t, options{}, "a", "b", "c", "d")
	a, b := places[0].url+"/objects", places[1].url+"/objects"
	put := want(t, 204, "", "PUT", a+"/dir//file.txt", strings.NewReader("hello, world"))
	if put.Header.Get(headerSum) != object.SumOf([]byte("hello, world")).String() || put.Header.Get("Etag") == "" {
		t.Errorf("headers of a put: %v", put.Header)
	}
	get := want(t, 200, "hello, world", "GET", b+"/dir//file.txt?read=newest", nil)
	if get.ContentLength != 12 || get.Header.Get("Etag") != put.Header.Get("Etag") {
		t.Errorf("headers of a get: %v", get.Header)
	}
	for _, mode := range []string{"race", "failover", "one", "newest"} {
		want(t, 200, "hello, world", "GET", a+"/dir%2F%2Ffile.txt?read="+mode, nil)
	}
	for _, p := range places { // whoever has no copy asks those that do
		want(t, 200, "hello, world", "GET", p.url+"/objects/dir//file.txt", nil)
		want(t, 206, "ello", "GET", p.url+"/objects/dir//file.txt", nil, "Range", "bytes=1-4")
		want(t, 206, "world", "GET", p.url+"/objects/dir//file.txt", nil, "Range", "bytes=-5")
	}
	want(t, 206, "world", "GET", b+"/dir//file.txt", nil, "Range", "bytes=7-")
	want(t, 200, "hello, world", "GET", b+"/dir//file.txt", nil, "Range", "bytes=1-2,4-5")
	want(t, 416, "bad_range", "GET", b+"/dir//file.txt", nil, "Range", "bytes=12-")
	head := want(t, 200, "", "HEAD", b+"/dir//file.txt", nil)
	if head.ContentLength != 12 {
		t.Errorf("length by HEAD: %d", head.ContentLength)
	}
	want(t, 204, "", "PUT", a+"/dir//file.txt", strings.NewReader("second"))
	want(t, 200, `"size":6`, "GET", b+"/dir//file.txt?history", nil)
	want(t, 200, `"name":"dir//file.txt"`, "GET", b+"?list&prefix=dir", nil)
	want(t, 200, `"objects":[]`, "GET", b+"?list&prefix=other", nil)
	want(t, 200, "hello, world", "GET", b+"/dir//file.txt?read=newest&version="+put.Header.Get(headerVersion), nil)
	want(t, 204, "", "DELETE", b+"/dir//file.txt", nil)
	want(t, 404, "not_found", "GET", a+"/dir//file.txt?read=newest", nil)
	want(t, 404, "", "HEAD", a+"/dir//file.txt", nil)
	want(t, 200, `"deleted":true`, "GET", a+"?list&deleted", nil)
}

// TestHTTP2 without TLS, whose clients know that the server speaks it.
func TestHTTP2(t *testing.T) {
	p := startPlaces(t, options{}, "a")[0]
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	defer client.CloseIdleConnections()
	content := conformance.Content(3<<20, 1)
	want(t, 204, "", "PUT", p.url+"/objects/x", bytes.NewReader(content))
	for range 2 {
		response, err := client.Get(p.url + "/objects/x")
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(response.Body)
		if err = errors.Join(err, response.Body.Close()); err != nil || !bytes.Equal(got, content) || response.ProtoMajor != 2 {
			t.Errorf("%s: %d bytes, %v", response.Proto, len(got), err)
		}
	}
}

func TestCompareAndSetByHTTP(t *testing.T) {
	places := startPlaces(t, options{}, "a", "b", "c")
	at := places[0].url + "/objects/counter"
	first := want(t, 204, "", "PUT", at, strings.NewReader("1"), "If-None-Match", "*")
	tag := first.Header.Get("Etag")
	refused := want(t, 412, "conflict", "PUT", at, strings.NewReader("2"), "If-None-Match", "*")
	if refused.Header.Get("Etag") != tag {
		t.Errorf("a conflict says there is %q, want %q", refused.Header.Get("Etag"), tag)
	}
	want(t, 204, "", "PUT", places[1].url+"/objects/counter", strings.NewReader("2"), "If-Match", tag)
	want(t, 412, "conflict", "DELETE", at, nil, "If-Match", tag)
	want(t, 409, "guarded", "PUT", at, strings.NewReader("plain"))
	want(t, 400, "If-Match", "PUT", at, strings.NewReader("2"), "If-Match", "soon")
	want(t, 400, "If-Match", "PUT", at, strings.NewReader("2"), "If-None-Match", tag)
}

func TestBadRequests(t *testing.T) {
	p := startPlaces(t, options{}, "a")[0]
	root := p.url + "/objects"
	want(t, 400, "bad_name", "PUT", root+"/", strings.NewReader("x"))
	want(t, 400, "bad_name", "PUT", root, strings.NewReader("x"))
	want(t, 400, "bad_name", "PUT", root+"/a%2F..%2Fb", strings.NewReader("x"))
	want(t, 400, "UTF-8", "PUT", root+"/%ff%fe", strings.NewReader("x"))
	want(t, 400, "has 4096 bytes", "PUT", root+"/"+strings.Repeat("n", 4096), strings.NewReader("x"))
	want(t, 400, "bad_sum", "PUT", root+"/x", strings.NewReader("x"), headerSum, object.SumOf(nil).String())
	want(t, 400, "bad_request", "PUT", root+"/x", strings.NewReader("x"), headerSum, "abc")
	want(t, 400, "bad_request", "PUT", root+"/x", strings.NewReader("x"), headerLocal, "true", headerVersion, "7")
	want(t, 400, "bad_version", "PUT", root+"/x", strings.NewReader("x"), headerLocal, "true", headerEpoch, "1")
	want(t, 400, "epoch", "PUT", root+"/x", strings.NewReader("x"), headerEpoch, "-1")
	want(t, 409, "", "HEAD", root+"/x", nil, headerLocal, "true", headerEpoch, "0")
	want(t, 400, "limit", "GET", root+"?list&limit=0", nil)
	want(t, 400, "read=", "GET", root+"/x?read=soon", nil)
	want(t, 400, "no way", "PATCH", root+"/x", nil)
	want(t, 400, "there is nothing", "GET", p.url+"/elsewhere", nil)
	want(t, 400, "there is nothing", "GET", p.url+"/objectsx", nil)
	want(t, 200, `"objects":[]`, "GET", root+"?list&deleted", nil)
}

// TestBodyCutShort: what announced more than it sent leaves nothing.
func TestBodyCutShort(t *testing.T) {
	p := startPlaces(t, options{}, "a")[0]
	connection, err := net.Dial("tcp", p.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(connection, "PUT /objects/short HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nonly this"); err != nil {
		t.Fatal(err)
	}
	if err := connection.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(connection); err != nil || strings.Contains(string(answer), " 204 ") {
		t.Errorf("%v: %s", err, answer)
	}
	c := p.client(t, Dial{})
	v := replica.Write{Epoch: 1, Version: conformance.V(1), Size: 10}
	for _, body := range []string{"123456789", "12345678901"} {
		if _, err := c.Put(t.Context(), "short", strings.NewReader(body), v); !errors.Is(err, object.ErrSize) {
			t.Errorf("%d bytes of 10: %v", len(body), err)
		}
	}
	if _, err := c.Put(t.Context(), "short", iotest.ErrReader(os.ErrPermission), v); !errors.Is(err, os.ErrPermission) {
		t.Errorf("a body that cannot be read: %v", err)
	}
	v.Size = 0
	if _, err := c.Put(t.Context(), "short", strings.NewReader("x"), v); !errors.Is(err, object.ErrSize) {
		t.Errorf("1 byte of 0: %v", err)
	}
	want(t, 200, `"objects":[]`, "GET", p.url+"/objects?list&deleted", nil)
}

func TestToken(t *testing.T) {
	p := startPlaces(t, options{token: "secret"}, "a")[0]
	want(t, 401, "unauthorized", "GET", p.url+"/objects/x", nil)
	want(t, 401, "unauthorized", "GET", p.url+"/objects/x", nil, "Authorization", "Bearer wrong")
	want(t, 401, "unauthorized", "GET", p.url+"/objects/x", nil, "Authorization", "secret")
	want(t, 404, "not_found", "GET", p.url+"/objects/x", nil, "Authorization", "Bearer secret")
	if _, err := p.client(t, Dial{}).Stat(t.Context(), "x", 1); !errors.Is(err, ErrToken) {
		t.Errorf("a client without a token: %v", err)
	}
}

// TestPeerThatNeverReads is cut off, and holds up nobody.
func TestPeerThatNeverReads(t *testing.T) {
	p := startPlaces(t, options{stall: 50 * time.Millisecond}, "a")[0]
	want(t, 204, "", "PUT", p.url+"/objects/large", bytes.NewReader(conformance.Content(32<<20, 1)))
	connection, err := net.Dial("tcp", p.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if _, err := io.WriteString(connection, "GET /objects/large HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := connection.Read(make([]byte, 1)); err != nil { // it is being answered
		t.Fatal(err)
	}
	settle(t, p.server.reading) // it was given up
	if n, err := io.Copy(io.Discard, connection); err == nil && n > 31<<20 {
		t.Errorf("%d bytes came", n)
	}
	// One that never sends the body that it announced.
	silent, err := net.Dial("tcp", p.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if _, err := io.WriteString(silent, "PUT /objects/never HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(silent); err != nil || strings.Contains(string(answer), " 204 ") {
		t.Errorf("%v: %s", err, answer)
	}
}

// TestBusy: a queue that is full refuses.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLane(1, 1)
		if err := l.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- l.enter(ctx) }()
		synctest.Wait() // until it waits for the place
		if err := l.enter(t.Context()); !errors.Is(err, ErrBusy) {
			t.Errorf("the third: %v", err)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the second: %v", err)
		}
		l.leave()
		if err := l.enter(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// counting counts what goes out by ReadFrom, straight from files.
type counting struct {
	*net.TCPConn
	bytes *atomic.Int64
}

func (c *counting) ReadFrom(r io.Reader) (int64, error) {
	n, err := c.TCPConn.ReadFrom(r)
	if limited, ok := r.(*io.LimitedReader); ok {
		if _, ok := limited.R.(*os.File); ok {
			c.bytes.Add(n)
		}
	}
	return n, err
}

type countingListener struct {
	net.Listener
	bytes *atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &counting{c.(*net.TCPConn), l.bytes}, nil
}

// TestSendfile: a large content goes from the file into the connection once this node has read it and found it right,
// and never a part for a client that cannot compare it.
func TestSendfile(t *testing.T) {
	var sent atomic.Int64
	listen := func(l net.Listener) net.Listener { return &countingListener{l, &sent} }
	p := startPlaces(t, options{listen: listen}, "a")[0]
	content := conformance.Content(9<<20+7, 1)
	at := p.url + "/objects/large"
	want(t, 204, "", "PUT", at, bytes.NewReader(content))
	get := func(wantSent int64, from, to int, headers ...string) {
		t.Helper()
		before := sent.Load()
		_, got := do(t, "GET", at, nil, headers...)
		if got != string(content[from:to]) {
			t.Errorf("%v: %d bytes that differ", headers, len(got))
		}
		const sniffed = 512 // net/http writes the first bytes together with the header
		if n := sent.Load() - before; n > wantSent || n < wantSent-sniffed {
			t.Errorf("%v: %d bytes by sendfile, want %d", headers, n, wantSent)
		}
	}
	whole := int64(len(content))
	get(0, 5, len(content), "Range", "bytes=5-") // nobody has looked at the rest yet
	get(0, 0, len(content))
	get(whole, 0, len(content))
	get(whole-5, 5, len(content), "Range", "bytes=5-")
	get(0, 5, len(content), "Range", "bytes=5-", headerVerify, "node")

	body, err := p.client(t, Dial{}).Get(t.Context(), "large", object.Get{})
	if err != nil {
		t.Fatal(err)
	}
	damage(t, p)
	if _, err := io.Copy(io.Discard, body); err != nil && !errors.Is(err, object.ErrDamaged) {
		t.Error(err)
	}
	_ = body.Close()
	c := p.client(t, Dial{})
	for _, o := range []object.Get{{}, {Offset: 3 << 20}} {
		body, err := c.Get(t.Context(), "large", o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = io.Copy(io.Discard, body); err == nil {
			t.Errorf("%+v: a client takes damaged bytes", o)
		}
		_ = body.Close()
	}
}

// damage flips a bit in the middle of the only large file.
func damage(t *testing.T, p *place) {
	t.Helper()
	blobs, err := filepath.Glob(filepath.Join(p.dir, "blobs", "*"))
	if err != nil || len(blobs) != 1 {
		t.Fatalf("%q, %v", blobs, err)
	}
	file, err := os.OpenFile(blobs[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var b [1]byte
	if _, err := file.ReadAt(b[:], 5<<20); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 4
	if _, err := file.WriteAt(b[:], 5<<20); err != nil {
		t.Fatal(err)
	}
}
