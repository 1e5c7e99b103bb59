package memcached

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"carillon/cache"
)

// dial is a connection with a deadline.
func dial(t *testing.T, s *Server) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", s.TCPAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

// expect reads a line, and sends something first.
func expect(t *testing.T, conn net.Conn, r *bufio.Reader, request, want string) {
	t.Helper()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	if got, err := r.ReadString('\n'); got != want+"\r\n" {
		t.Fatalf("%.40q: %q (%v), want %q", request, got, err, want)
	}
}

func TestTooManyConnections(t *testing.T) {
	s := start(t, newCache(t, 1<<20, cache.Config{}), Config{Connections: 2})
	first, r := dial(t, s)
	expect(t, first, r, "mn\r\n", "MN")
	second, r2 := dial(t, s)
	expect(t, second, r2, "mn\r\n", "MN")
	third, r3 := dial(t, s)
	expect(t, third, r3, "", "ERROR Too many open connections")
	_ = second.Close()
	for { // until it is noticed that the second one is gone
		conn, r := dial(t, s)
		_, _ = io.WriteString(conn, "mn\r\n")
		if got, _ := r.ReadString('\n'); got == "MN\r\n" {
			break
		}
	}
	expect(t, first, r, "mn\r\n", "MN")
	if n := s.connections.counters(); n.rejected == 0 || n.open != 2 {
		t.Errorf("%+v", n)
	}
}

func TestIdleConnectionIsClosed(t *testing.T) {
	s := start(t, newCache(t, 1<<20, cache.Config{}), Config{IdleTimeout: time.Nanosecond})
	_, r := dial(t, s)
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("%v", err)
	}
	if n := s.connections.counters(); n.idle != 1 {
		t.Errorf("%+v", n)
	}
}

// TestSlowValues sends large values in small pieces on many connections: what they hold
// together is bounded, and who is refused goes on.
func TestSlowValues(t *testing.T) {
	const budget, clients, size = 1 << 20, 20, 500_000
	s := start(t, newCache(t, 64<<20, cache.Config{}), Config{BufferBytes: budget})
	piece := bytes.Repeat([]byte("v"), 50_000)
	type client struct {
		conn net.Conn
		r    *bufio.Reader
	}
	var all []client
	for i := range clients {
		conn, r := dial(t, s)
		all = append(all, client{conn, r})
		if _, err := fmt.Fprintf(conn, "set k%d 0 0 %d\r\n", i, size); err != nil {
			t.Fatal(err)
		}
	}
	for range size / len(piece) {
		for _, c := range all {
			if _, err := c.conn.Write(piece); err != nil {
				t.Fatal(err)
			}
		}
		if left := s.budget.left.Load(); left < 0 {
			t.Errorf("the budget is overdrawn: %d", left)
		}
	}
	stored, refused := 0, 0
	for _, c := range all {
		if _, err := io.WriteString(c.conn, "\r\nmn\r\n"); err != nil {
			t.Fatal(err)
		}
		switch got, _ := c.r.ReadString('\n'); got {
		case "STORED\r\n":
			stored++
		case errNoMemory + "\r\n":
			refused++
		default:
			t.Errorf("%q", got)
		}
		expect(t, c.conn, c.r, "", "MN")
	}
	if stored == 0 || refused == 0 {
		t.Errorf("%d stored, %d refused", stored, refused)
	}
	for _, c := range all {
		_ = c.conn.Close()
	}
	eventually(t, func() bool { return s.budget.left.Load() == budget })
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); !ok(); <-tick.C {
		if time.Since(began) > 10*time.Second {
			t.Fatal("it never came true")
		}
	}
}

// TestClientThatDoesNotRead asks for much and reads nothing: the server holds a bounded part
// of the replies, and others go on.
func TestClientThatDoesNotRead(t *testing.T) {
	const budget = 4 << 20
	s := start(t, newCache(t, 64<<20, cache.Config{}), Config{BufferBytes: budget})
	address := s.TCPAddr().String()
	value := strings.Repeat("v", 1_000_000)
	ask(t, address, fmt.Sprintf("set big 0 0 %d\r\n%s\r\n", len(value), value))
	lazy, _ := dial(t, s)
	if err := lazy.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	request := bytes.Repeat([]byte("get big big big\r\n"), 1000)
	for {
		if _, err := lazy.Write(request); err != nil {
			break // the server does not read on
		}
	}
	if got := ask(t, address, "get nothing\r\n"); got != "END\r\n" {
		t.Errorf("another client hears %q", got)
	}
	if left := s.budget.left.Load(); left < 0 {
		t.Errorf("the budget is overdrawn: %d", left)
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	c := newCache(t, 1<<20, cache.Config{})
	start(t, c, Config{Unix: path, UnixMode: 0o600})
	if got := ask(t, path, "set a 0 0 1\r\nx\r\nget a\r\n"); got != "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n" {
		t.Errorf("%q", got)
	}
	if _, err := Listen(t.Context(), c, Config{Unix: path, UnixMode: 0o600}); err == nil {
		t.Error("two servers on one socket")
	}
}

func TestConfig(t *testing.T) {
	for _, c := range []Config{
		{}, {UDP: "127.0.0.1:0"}, {UDP: "127.0.0.1:0", Allow: loopback, Users: &Users{}}, {TCP: "127.0.0.1:0", Connections: -1},
	} {
		if _, err := Listen(t.Context(), newCache(t, 1<<20, cache.Config{}), c); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// exchange sends datagrams and returns those that come back before the one that answers mn.
func exchange(t *testing.T, address string, datagrams ...string) (replies []string) {
	t.Helper()
	conn, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	const last = "\xff\xff\x00\x00\x00\x01\x00\x00"
	for _, d := range append(datagrams, last+"mn\r\n") {
		if _, err := io.WriteString(conn, d); err != nil {
			t.Fatal(err)
		}
	}
	room := make([]byte, 64<<10)
	for {
		n, err := conn.Read(room)
		if err != nil {
			t.Fatal(err)
		}
		if string(room[:n]) == last+"MN\r\n" {
			return replies
		}
		replies = append(replies, string(room[:n]))
	}
}

func TestDatagrams(t *testing.T) {
	s := start(t, newCache(t, 8<<20, cache.Config{}), Config{TCP: "127.0.0.1:0", UDP: "127.0.0.1:0"})
	long := strings.Repeat("y", 3000)
	ask(t, s.TCPAddr().String(), "set a 0 0 2\r\nab\r\nset c 0 0 1\r\nc\r\nset b 0 0 3000\r\n"+long+"\r\n")
	const f = "\x12\x34\x00\x00\x00\x01\x00\x00"
	message := "VALUE a 0 2\r\nab\r\nVALUE b 0 3000\r\n" + long + "\r\nEND\r\n"
	for _, c := range []struct {
		name, request string
		want          []string
	}{
		{"hit", f + "get a\r\n", []string{f + "VALUE a 0 2\r\nab\r\nEND\r\n"}},
		{"miss", f + "get x\r\n", []string{f + "END\r\n"}},
		{"two keys", f + "get a c\r\n", []string{f + "VALUE a 0 2\r\nab\r\nVALUE c 0 1\r\nc\r\nEND\r\n"}},
		{"two commands", f + "get a\r\nget c\r\n", []string{f + "VALUE a 0 2\r\nab\r\nEND\r\nVALUE c 0 1\r\nc\r\nEND\r\n"}},
		{"long", f + "get a b\r\n", []string{
			"\x12\x34\x00\x00\x00\x03\x00\x00" + message[:payloadBytes],
			"\x12\x34\x00\x01\x00\x03\x00\x00" + message[payloadBytes:2*payloadBytes],
			"\x12\x34\x00\x02\x00\x03\x00\x00" + message[2*payloadBytes:],
		}},
		{"set", f + "set z 0 0 1\r\nq\r\n", []string{f + "STORED\r\n"}},
		{"a value cut short", f + "set z 0 0 5\r\nq\r\n", nil},
		{"a value too long", f + "set z 0 0 1\r\nqqqqq\r\n", []string{f + "CLIENT_ERROR bad data chunk\r\nERROR\r\n"}},
		{"no line end", f + "get a", nil},
		{"nothing", f, nil},
		{"empty", "", nil},
		{"half a frame", "\x01\x02\x03", nil},
		{"of two", "\x12\x34\x00\x00\x00\x02\x00\x00get a\r\n", nil},
		{"of none", "\x12\x34\x00\x00\x00\x00\x00\x00get a\r\n", nil},
		{"a sequence", "\x12\x34\x00\x01\x00\x01\x00\x4dget a\r\n", []string{f + "VALUE a 0 2\r\nab\r\nEND\r\n"}},
		{"noreply", f + "delete a noreply\r\n", nil},
		{"quit", f + "quit\r\n", nil},
		{"unknown", f + "foo\r\n", []string{f + "ERROR\r\n"}},
		{"key too long", f + "get " + strings.Repeat("k", 251) + "\r\n", []string{f + errFormat + "\r\n"}},
		{"a dump", f + "lru_crawler metadump all\r\n", []string{f + "ERROR cannot dump by datagrams\r\n"}},
	} {
		if got := exchange(t, s.UDPAddr().String(), c.request); strings.Join(got, "|") != strings.Join(c.want, "|") {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	counted := make(map[string]uint64)
	s.Counters(func(name string, value uint64) { counted[name] = value })
	if counted["datagrams_cut"] != 2 || counted["datagrams_bad"] != 4 {
		t.Errorf("%v", counted)
	}
}

// TestDatagramsOfManySizes sends requests whose replies are of many sizes, some long: they
// come in order, each by itself.
func TestDatagramsOfManySizes(t *testing.T) {
	s := start(t, newCache(t, 8<<20, cache.Config{}), Config{TCP: "127.0.0.1:0", UDP: "127.0.0.1:0"})
	var store strings.Builder
	sizes := []int{10, 10, 10, 20, 10, 1386, 1386, 10, 2000, 5, 1387, 10, 10, 9, 8, 8, 9}
	for i, size := range sizes {
		fmt.Fprintf(&store, "set k%02d 0 0 %d noreply\r\n%s\r\n", i, size, strings.Repeat("v", size))
	}
	ask(t, s.TCPAddr().String(), store.String()+"mn\r\n")
	var requests []string
	var want strings.Builder
	for i, size := range sizes {
		requests = append(requests, string(appendFrame(nil, uint16(i), 0, 1))+fmt.Sprintf("get k%02d\r\n", i))
		fmt.Fprintf(&want, "VALUE k%02d 0 %d\r\n%s\r\nEND\r\n", i, size, strings.Repeat("v", size))
	}
	got := ""
	for _, reply := range exchange(t, s.UDPAddr().String(), requests...) {
		if len(reply) > replyBytes {
			t.Fatalf("a datagram of %d bytes", len(reply))
		}
		got += reply[frameBytes:]
	}
	if got != want.String() {
		t.Errorf("%d bytes, want %d", len(got), want.Len())
	}
}

// TestPeerDatagrams sends the same datagrams to memcached and to us.
func TestPeerDatagrams(t *testing.T) {
	peer, _ := startPeer(t, "-t", "1") // several threads answer in any order
	s := start(t, newCache(t, 8<<20, cache.Config{}), Config{TCP: "127.0.0.1:0", UDP: "127.0.0.1:0"})
	const f = "\x12\x34\x00\x00\x00\x01\x00\x00"
	set := func(key string, size int) string {
		return fmt.Sprintf("set %s 0 0 %d\r\n%s\r\n", key, size, strings.Repeat("y", size))
	}
	var stored strings.Builder
	for _, size := range []int{1, 1300, 1385, 1386, 1387, 1388, 2000, 30_000, 60_000} {
		stored.WriteString(set(fmt.Sprint("k", size), size))
	}
	ask(t, peer, stored.String())
	ask(t, s.TCPAddr().String(), stored.String())
	for _, request := range []string{
		"get k1\r\n", "get none\r\n", "gets k1\r\n", "get k1300\r\n", "get k1385\r\n", "get k1386\r\n", "get k1387\r\n",
		"get k1388\r\n", "get k2000\r\n", "get k30000\r\n", "get k60000\r\n", "gat 0 k1\r\n", "mg k1 v s Oq\r\n", "mg none q\r\n", "touch k1 0\r\n",
		set("z", 10), set("z", 1300), "delete z\r\n", "delete z noreply\r\n", "incr none 1\r\n", "version\r\n", "verbosity 1\r\n", "foo\r\n", "\r\n",
		"get " + strings.Repeat("k", 250) + "\r\n", "get " + strings.Repeat("k", 251) + "\r\n", "get k1\n", "mn\r\n",
	} {
		want, got := exchange(t, peer, f+request), exchange(t, s.UDPAddr().String(), f+request)
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("%.60q: %d datagrams %.200q, memcached %d datagrams %.200q", request, len(got), got, len(want), want)
		}
	}
}

// TestManyDatagrams sends more at once than a batch.
func TestManyDatagrams(t *testing.T) {
	s := start(t, newCache(t, 8<<20, cache.Config{}), Config{TCP: "127.0.0.1:0", UDP: "127.0.0.1:0"})
	ask(t, s.TCPAddr().String(), "set a 0 0 10\r\n0123456789\r\n")
	var all []string
	for i := range 100 {
		all = append(all, string(appendFrame(nil, uint16(i), 0, 1))+"get a\r\n")
	}
	got := exchange(t, s.UDPAddr().String(), all...)
	if len(got) != len(all) {
		t.Fatalf("%d replies", len(got))
	}
	for i, got := range got {
		if want := string(appendFrame(nil, uint16(i), 0, 1)) + "VALUE a 0 10\r\n0123456789\r\nEND\r\n"; got != want {
			t.Fatalf("%d: %.40q", i, got)
		}
	}
}

func TestReplyOfTooManyDatagrams(t *testing.T) {
	k := newTalk(t, Config{})
	value := strings.Repeat("v", 1_000_000)
	k.say("set a 0 0 1000000\r\n" + value + "\r\n")
	s := newSession(k.server, nil)
	s.out = make([]byte, 0, repliesBytes)
	pieces := s.answer([]byte("\x12\x34\x00\x00\x00\x01\x00\x00get a a\r\n"), nil)
	var reply []byte
	for _, p := range pieces {
		reply = append(reply, s.out[p.from+frameBytes:p.to]...)
	}
	if want := "VALUE a 0 1000000\r\n" + value + "\r\n" + errNoReply + "\r\n"; string(reply) != want {
		t.Errorf("%d bytes, %.80q", len(reply), reply)
	}
}

func TestSourcesThatAreNotAllowed(t *testing.T) {
	c := newCache(t, 1<<20, cache.Config{})
	s := newServer(c, Config{Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}})
	for source, want := range map[string]bool{"10.1.2.3": true, "::ffff:10.1.2.3": true, "11.0.0.1": false, "fd00::1": true, "fe80::1": false} {
		if got := s.allowed(netip.MustParseAddr(source)); got != want {
			t.Errorf("%s: %v", source, got)
		}
	}
}

// TestStats only looks at the form: STAT, a name, a value.
func TestStats(t *testing.T) {
	s := start(t, newCache(t, 8<<20, cache.Config{}), Config{})
	address := s.TCPAddr().String()
	ask(t, address, "set a 0 0 2\r\nab\r\nget a\r\nget b\r\nincr a 1\r\nfoo\r\n")
	for part, want := range map[string]string{
		"": "get_hits 1", " settings": "maxbytes 8388608", " items": "items:", " slabs": "1:chunk_size", " sizes": "64 1",
		" conns": "addr tcp:127.0.0.1", " hot": "",
	} {
		reply := ask(t, address, "stats"+part+"\r\n")
		lines := strings.Split(strings.TrimSuffix(reply, "\r\n"), "\r\n")
		if lines[len(lines)-1] != "END" || !strings.Contains(reply, want) {
			t.Errorf("stats%s: %q", part, reply)
		}
		for _, line := range lines[:len(lines)-1] {
			if len(strings.SplitN(line, " ", 3)) != 3 || !strings.HasPrefix(line, "STAT ") {
				t.Errorf("stats%s: %q", part, line)
			}
		}
	}
	reply := ask(t, address, "stats\r\n")
	for _, want := range []string{"STAT cmd_get 2\r\n", "STAT get_misses 1\r\n", "STAT cmd_set 1\r\n", "STAT bad_commands 2\r\n", "STAT curr_items 1\r\n"} {
		if !strings.Contains(reply, want) {
			t.Errorf("%q is not in %q", want, reply)
		}
	}
}
