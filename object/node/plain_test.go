package node

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"carillon/object/conformance"
	"carillon/object/replica"
)

// talk is a connection on which a test sends requests byte by byte.
type talk struct {
	net.Conn
	answers *bufio.Reader
}

func dial(t *testing.T, p *place) *talk {
	t.Helper()
	conn, err := net.Dial("tcp", p.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &talk{conn, bufio.NewReader(conn)}
}

func (c *talk) say(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// hear reads an answer.
func (c *talk) hear(t *testing.T, method string) (*http.Response, string) {
	t.Helper()
	response, err := http.ReadResponse(c.answers, &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

const plainSmall = "GET /objects/dir/small%20one HTTP/1.1\r\nHost: x\r\n\r\n"

// startPlain starts a node with a small and a large object.
func startPlain(t *testing.T, o options) *place {
	t.Helper()
	p := startPlaces(t, o, "a")[0]
	var headers []string
	if o.token != "" {
		headers = []string{"Authorization", "Bearer " + o.token}
	}
	want(t, 204, "", "PUT", p.url+"/objects/dir/small%20one", strings.NewReader("hello"), headers...)
	want(t, 204, "", "PUT", p.url+"/objects/large", bytes.NewReader(conformance.Content(2<<20, 1)), headers...)
	return p
}

func (p *place) plainConns() int {
	p.server.plain.mu.Lock()
	defer p.server.plain.mu.Unlock()
	return len(p.server.plain.conns)
}

// TestPlainAnswers: what a plainConn answers is what net/http does.
func TestPlainAnswers(t *testing.T) {
	p := startPlain(t, options{})
	c := dial(t, p)
	var headers []http.Header
	for range 3 { // the first by net/http
		c.say(t, plainSmall)
		response, body := c.hear(t, "GET")
		if response.StatusCode != 200 || body != "hello" || response.Proto != "HTTP/1.1" {
			t.Fatalf("%s: %q", response.Status, body)
		}
		if _, err := http.ParseTime(response.Header.Get("Date")); err != nil {
			t.Error(err)
		}
		response.Header.Del("Date")
		headers = append(headers, response.Header)
	}
	for _, h := range headers[1:] {
		if !maps.EqualFunc(h, headers[0], slices.Equal) {
			t.Errorf("by a plainConn %v, by net/http %v", h, headers[0])
		}
	}
	if n := p.plainConns(); n != 1 {
		t.Errorf("%d plainConns, want 1", n)
	}
}

// TestPlainHandsOn: on one connection, among plain GETs, everything else is answered as ever, in order.
func TestPlainHandsOn(t *testing.T) {
	p := startPlain(t, options{})
	c := dial(t, p)
	for _, other := range []struct {
		request string
		status  int
		part    string
	}{
		{"GET /objects/dir/small%20one HTTP/1.1\r\nHost: x\r\nRange: bytes=1-2\r\n\r\n", 206, "el"},
		{"GET /objects/dir/small%20one?read=newest HTTP/1.1\r\nHost: x\r\n\r\n", 200, "hello"},
		{"GET /objects/dir/small%20one HTTP/1.1\r\nHost: x\r\nCookie: a=b\r\n\r\n", 200, "hello"},
		{"GET /objects/large HTTP/1.1\r\nHost: x\r\n\r\n", 200, string(conformance.Content(2<<20, 1))},
		{"GET /objects/none HTTP/1.1\r\nHost: x\r\n\r\n", 404, "not_found"},
		{"GET /objects/..%2Fa HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad_name"},
		{"HEAD /objects/dir/small%20one HTTP/1.1\r\nHost: x\r\n\r\n", 200, ""},
		{"PUT /objects/other HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 204, ""},
		{"GET /objects/other HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 200, "abc"},
		{"GET /objects?list HTTP/1.1\r\nHost: x\r\n\r\n", 200, "small one"},
		{"GET /elsewhere HTTP/1.1\r\nHost: x\r\n\r\n", 400, "there is nothing"},
	} {
		for range 2 {
			c.say(t, plainSmall+plainSmall+other.request+plainSmall)
			for i, want := range []string{"hello", "hello", other.part, "hello"} {
				method, _, _ := strings.Cut(other.request, " ")
				if i != 2 {
					method = "GET"
				}
				response, body := c.hear(t, method)
				if !strings.Contains(body, want) || i == 2 && response.StatusCode != other.status {
					t.Fatalf("answer %d with %.40q: %s, %.80q, want %.80q", i, other.request, response.Status, body, want)
				}
			}
		}
	}
	c.say(t, plainSmall+strings.Replace(plainSmall, "Host", "Connection: close\r\nHost", 1))
	c.hear(t, "GET")
	c.hear(t, "GET")
	if rest, err := io.ReadAll(c.answers); err != nil || len(rest) > 0 {
		t.Errorf("behind the end: %q, %v", rest, err)
	}
}

// TestPlainInPieces: a request may come in any pieces.
func TestPlainInPieces(t *testing.T) {
	p := startPlain(t, options{})
	c := dial(t, p)
	for cut := range plainSmall {
		c.say(t, plainSmall+plainSmall[:cut])
		c.hear(t, "GET") // so the rest comes later than the beginning
		c.say(t, plainSmall[cut:])
		if cut == 0 {
			c.hear(t, "GET")
			continue
		}
		if response, body := c.hear(t, "GET"); body != "hello" {
			t.Fatalf("cut at %d: %s, %q", cut, response.Status, body)
		}
	}
}

func TestPlainToken(t *testing.T) {
	p := startPlain(t, options{token: "secret"})
	c := dial(t, p)
	with := strings.Replace(plainSmall, "Host", "Authorization: Bearer secret\r\nHost", 1)
	wrong := strings.Replace(plainSmall, "Host", "Authorization: Bearer wrong\r\nHost", 1)
	c.say(t, with+with+plainSmall+with+with+wrong+with)
	for i, status := range []int{200, 200, 401, 200, 200, 401, 200} {
		if response, _ := c.hear(t, "GET"); response.StatusCode != status {
			t.Errorf("answer %d: %s, want %d", i, response.Status, status)
		}
	}
}

// TestPlainDamage: each read is compared with the checksum, also if it was right before.
func TestPlainDamage(t *testing.T) {
	p := startPlain(t, options{})
	c := dial(t, p)
	for range 2 {
		c.say(t, plainSmall)
		c.hear(t, "GET")
	}
	segments, err := filepath.Glob(filepath.Join(p.dir, "segments", "*"))
	if err != nil || len(segments) == 0 {
		t.Fatal(segments, err)
	}
	content, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.LastIndex(content, []byte("hello"))
	file, err := os.OpenFile(segments[0], os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt([]byte("j"), int64(at)); err != nil {
		t.Fatal(err)
	}
	c.say(t, plainSmall)
	if response, body := c.hear(t, "GET"); response.StatusCode == 200 || strings.Contains(body, "jello") {
		t.Errorf("%s: %q", response.Status, body)
	}
}

// TestPlainNeverReads: who asks and does not read is cut off, and leaves its place to others.
func TestPlainNeverReads(t *testing.T) {
	p := startPlaces(t, options{stall: 50 * time.Millisecond, listen: func(l net.Listener) net.Listener { return smallListener{l} }}, "a")[0]
	wide := replica.Source{Size: plainBytes, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(conformance.Content(plainBytes, 2))), nil
	}}
	if _, err := p.cluster.Put(t.Context(), "wide", wide); err != nil {
		t.Fatal(err)
	}
	c := dial(t, p)
	request := strings.Replace(plainSmall, "dir/small%20one", "wide", 1)
	const requests = 60
	if _, err := io.WriteString(c, strings.Repeat(request, requests)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, c, 3*plainBytes); err != nil { // the loop of plain GETs answers since the second one
		t.Fatal(err)
	}
	for p.plainConns() > 0 { // until it is given up, of which who does not read hears nothing
		time.Sleep(time.Millisecond)
	}
	if n, err := io.Copy(io.Discard, c); err == nil && n >= (requests-3)*plainBytes {
		t.Errorf("%d bytes came", n)
	}
	if n := len(p.server.reading.places); n != 0 {
		t.Errorf("%d places are taken", n)
	}
}

// TestServeEnds: connections that wait for a request are closed when the server is told to end, with an answer to what
// was asked before.
func TestServeEnds(t *testing.T) {
	p := startPlain(t, options{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer(p.server.config)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener, time.Minute) }()
	var talks []*talk
	for range 3 {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		c := &talk{conn, bufio.NewReader(conn)}
		c.say(t, plainSmall+plainSmall)
		c.hear(t, "GET")
		c.hear(t, "GET")
		talks = append(talks, c)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for _, c := range talks {
		if rest, err := io.ReadAll(c.answers); err != nil || len(rest) > 0 {
			t.Errorf("%q, %v", rest, err)
		}
	}
	if server.plain.enter(&plainConn{}) {
		t.Error("a connection is taken after the end")
	}
}

// FuzzPlainGet: what is taken for a plain GET is one to net/http, too, of the same object and of the same bytes.
func FuzzPlainGet(f *testing.F) {
	for _, request := range []string{
		plainSmall, plainSmall + "GET", "GET /objects/a HTTP/1.1\r\nHost: a:80\r\nuser-agent: x/1\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n",
		"GET /objects/%zz HTTP/1.1\r\nHost: x\r\n\r\n", "GET /objects/a HTTP/1.1\nHost: x\n\n", "GET /objects/a HTTP/1.1\r\n\r\n",
		"GET /objects/a HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "GET /objects/a HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
		"GET /objects/a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", "GET /objects/a?b HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /objects/a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\n\r\n", "GET /objects//.//a HTTP/1.1\r\nHost:x\r\n\r\n",
	} {
		f.Add([]byte(request))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		get, size := parsePlainGet(b)
		if size == 0 {
			return
		}
		rest := bytes.NewReader(b)
		read := bufio.NewReader(rest)
		r, err := http.ReadRequest(read)
		if err != nil {
			t.Fatalf("%q is none: %v", b[:size], err)
		}
		if left := read.Buffered() + rest.Len(); left != len(b)-size {
			t.Errorf("%q: %d bytes, net/http takes %d", b, size, len(b)-left)
		}
		name, ok := get.decoded()
		if !ok || r.URL.Path != Root+"/"+name || r.URL.RawQuery != "" || r.Host == "" || !isPlain(r) || r.Close {
			t.Errorf("%q: %q, %v; net/http reads %q of %q", b[:size], name, ok, r.URL, r.Host)
		}
		if token := r.Header.Get("Authorization"); token != "" && token != bearer+string(get.bearer) {
			t.Errorf("%q: token %q, net/http reads %q", b[:size], get.bearer, token)
		}
	})
}

// BenchmarkPlainGet is a GET of 10 KB, client included.
func BenchmarkPlainGet(b *testing.B) {
	p := startPlaces(b, options{}, "a")[0]
	content := conformance.Content(10_000, 1)
	r, err := http.NewRequestWithContext(b.Context(), "PUT", p.url+"/objects/x", bytes.NewReader(content))
	if err != nil {
		b.Fatal(err)
	}
	if response, err := http.DefaultClient.Do(r); err != nil || response.StatusCode != 204 {
		b.Fatal(response, err)
	}
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		response, err := http.Get(p.url + "/objects/x")
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.Copy(io.Discard, response.Body)
		if err != nil || n != int64(len(content)) {
			b.Fatal(fmt.Sprint(n, err))
		}
		_ = response.Body.Close()
	}
}
