package receive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"carillon/journal"
	"carillon/series"
)

// serve runs a listener on loopback until the test ends, or stop is called.
func serve(t *testing.T, r *rig, p Protocol, change func(*Listener)) (l *Listener, stop func()) {
	t.Helper()
	l, err := Listen(t.Context(), r.Writer, p, "127.0.0.1:0", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(l)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Serve(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
	t.Cleanup(stop)
	return l, stop
}

func dial(t *testing.T, address net.Addr) net.Conn {
	t.Helper()
	conn, err := net.Dial(address.Network(), address.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func write(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
}

// end shuts down the sending side and waits for the server's end.
func end(conn net.Conn) error {
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	_, err := io.ReadAll(conn)
	return err
}

func TestGraphiteLines(t *testing.T) {
	r := newRig(t)
	l, _ := serve(t, r, ProtocolGraphite, nil)
	conn := dial(t, l.TCPAddr())
	write(t, conn, "a.b 1.5 1700000000\r\n"+
		"\n"+
		"tagged;host=x;dc=fra\t 2  1700000000.25\n"+
		"bad\n"+
		"a.b x 1700000000\n"+
		"a.b 1 never\n"+
		"a.b 1 -5\n"+
		"a\x01b 1 1\n"+
		"a\xff 1 1\n"+
		"a;b 1 1\n"+
		"a;"+strings.Repeat("t", series.MaxNameBytes+1)+"=1 1 1\n"+
		strings.Repeat("n", series.MaxValueBytes+1)+" 1 1\n"+
		"now NaN N\nnow NaN -1\n"+
		strings.Repeat("x", maxLineBytes+1)+"\n"+
		"last 3 1700000001\n"+
		"cut 10")
	if err := end(conn); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]point{
		"a.b":                       {{start, 1.5}},
		`tagged{dc="fra",host="x"}`: {{start + 250, 2}},
		"last":                      {{start + 1000, 3}},
	} {
		if got := r.got(name); !cmp.Equal(got, want, cmp.AllowUnexported(point{})) {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := r.journal.aggregates["now"]; len(got) != 1 || got[0].Count != 2 || !math.IsNaN(got[0].Last) {
		t.Errorf("now: %v", got)
	}
	want := map[string]int{
		"malformed": 1, "bad_value": 1, "bad_time": 2, "bad_name": 2, "not_utf8": 1, "bad_tag": 2, "line_too_long": 1, "unterminated": 1,
	}
	if got := r.refused(ProtocolGraphite); !cmp.Equal(got, want) {
		t.Errorf("refused %v", cmp.Diff(want, got))
	}
}

func TestIstatdLines(t *testing.T) {
	r := newRig(t)
	l, _ := serve(t, r, ProtocolIstatd, nil)
	conn := dial(t, l.TCPAddr())
	write(t, conn, "#hostname web1\n#version 3\n!reserved\n@x\n"+
		"CPU.Idle 97.5\n"+
		"timed 1700000000 3\n"+
		"packed 1700000000 30 350 5 15 3\n"+
		"single 1700000000 7 49 7 7 1\n"+
		"ghost 1700000000 0 0 0 0 0\n"+
		"ghost 1700000000 100 100 1 2 3\n"+
		"*hits^all^web^ 2\n*hits^all 3\n"+
		"one\n")
	if err := end(conn); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]point{
		"cpu.idle": {{start, 97.5}}, "timed": {{start, 3}}, "single": {{start, 7}}, "hits": {{start, 2}}, "hits.web": {{start, 2}},
		"ghost": nil, "packed": nil, "hits.all": nil,
	} {
		if got := r.got(name); !cmp.Equal(got, want, cmp.AllowUnexported(point{})) {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := r.journal.aggregates["packed"]; len(got) != 1 || got[0].Count != 3 || got[0].M2 != 50 || got[0].FirstTime != start {
		t.Errorf("packed: %+v", got)
	}
	if got := r.journal.aggregates["hits.all"]; len(got) != 1 || got[0].Count != 2 || got[0].Sum != 5 {
		t.Errorf("hits.all: %+v", got)
	}
	for key, kind := range r.directory.kinds {
		if want := strings.HasPrefix(key.Format(), "hits"); (kind == series.Event) != want {
			t.Errorf("%s is a %v", key.Format(), kind)
		}
	}
	if _, ok := r.directory.ids[mustKey(t, "ghost")]; ok {
		t.Error("a refused bucket created its counter")
	}
	if got, want := r.refused(ProtocolIstatd), map[string]int{"bad_count": 1, "mean_out_of_range": 1, "malformed": 1}; !cmp.Equal(got, want) {
		t.Errorf("refused %v", got)
	}
	if from := r.ledger.Entries()[0].Samples[0].From; !strings.HasSuffix(from, " (web1)") {
		t.Errorf("from %q", from)
	}
}

func mustKey(t *testing.T, name string) series.Key {
	t.Helper()
	key, err := series.Named(name)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// The server's end of a connection comes after the journal's acknowledgement.
func TestHalfCloseIsAcknowledgement(t *testing.T) {
	r := newRig(t)
	r.journal.gate = make(chan struct{}, 1)
	l, _ := serve(t, r, ProtocolGraphite, nil)
	conn := dial(t, l.TCPAddr())
	write(t, conn, "a 1 1700000000\n")
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !isTimeout(err) {
		t.Fatalf("the connection ended before the acknowledgement: %v", err)
	}
	r.journal.gate <- struct{}{}
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("got %v, want EOF", err)
	}
	if len(r.got("a")) != 1 {
		t.Error("acknowledged, and not in the journal")
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// TestSenderThatPausesAfterAFullBuffer: who fills the buffer to the last byte seems to be
// in haste, and is not left waiting when nothing follows.
func TestSenderThatPausesAfterAFullBuffer(t *testing.T) {
	r := newRig(t)
	l, _ := serve(t, r, ProtocolGraphite, nil)
	conn := dial(t, l.TCPAddr())
	line := "a 1 1700000000" + strings.Repeat(" ", 49) + "\n" // 64 bytes
	const lines = firstBufferBytes / 64
	for n := range 3 {
		write(t, conn, strings.Repeat(line, lines))
		await(t, "points", func() bool { return len(r.got("a")) == (n+1)*lines })
	}
}

func TestConnectionIsResetWhenTheJournalFails(t *testing.T) {
	r := newRig(t)
	r.journal.fail = []error{journal.ErrUnavailable}
	l, _ := serve(t, r, ProtocolGraphite, nil)
	conn := dial(t, l.TCPAddr())
	write(t, conn, "a 1 1700000000\n")
	if _, err := io.ReadAll(conn); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want a reset", err)
	}
}

func TestBusyJournalMakesSendersWait(t *testing.T) {
	r := newRig(t)
	r.journal.fail = []error{journal.ErrBusy, fmt.Errorf("x: %w", journal.ErrBusy)}
	l, _ := serve(t, r, ProtocolGraphite, nil)
	conn := dial(t, l.TCPAddr())
	write(t, conn, "a 1 1700000000\n")
	if err := end(conn); err != nil {
		t.Fatal(err)
	}
	if len(r.got("a")) != 1 || r.journal.appends != 3 {
		t.Errorf("%d appends, %v", r.journal.appends, r.journal.points)
	}
}

func TestEndlessLine(t *testing.T) {
	r := newRig(t)
	l, _ := serve(t, r, ProtocolIstatd, nil)
	conn := dial(t, l.TCPAddr())
	write(t, conn, "before 1\n")
	for range 64 { // 4 MiB without LF
		write(t, conn, strings.Repeat("x", 64<<10))
	}
	write(t, conn, " 1\nafter 1\n")
	if err := end(conn); err != nil {
		t.Fatal(err)
	}
	if got := r.refused(ProtocolIstatd); !cmp.Equal(got, map[string]int{"line_too_long": 1}) {
		t.Errorf("refused %v", got)
	}
	if len(r.got("before")) != 1 || len(r.got("after")) != 1 || len(r.journal.points) != 2 {
		t.Errorf("kept %v", r.journal.points)
	}
}

func TestConnectionLimit(t *testing.T) {
	r := newRig(t)
	l, _ := serve(t, r, ProtocolIstatd, func(l *Listener) { l.slots = make(chan struct{}, 1) })
	first := dial(t, l.TCPAddr())
	write(t, first, "a 1\n")
	await(t, "first connection", func() bool { return len(r.got("a")) == 1 })
	if second, err := net.Dial("tcp", l.TCPAddr().String()); err == nil { // the reset may come even before
		if _, err := io.ReadAll(second); err == nil {
			t.Error("a connection beyond the limit ended in order")
		}
		second.Close()
	}
	await(t, "refusal", func() bool { return r.refused(ProtocolIstatd)["too_many_connections"] == 1 })
	if err := end(first); err != nil {
		t.Errorf("the first connection: %v", err)
	}
}

func TestIdleConnectionIsReset(t *testing.T) {
	r := newRig(t)
	l, _ := serve(t, r, ProtocolIstatd, func(l *Listener) { l.idleTimeout = 10 * time.Millisecond })
	if _, err := io.ReadAll(dial(t, l.TCPAddr())); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want a reset", err)
	}
}

func TestShutdownKeepsWhatWasRead(t *testing.T) {
	r := newRig(t)
	r.journal.gate = make(chan struct{})
	l, stop := serve(t, r, ProtocolIstatd, nil)
	conn := dial(t, l.TCPAddr())
	write(t, conn, "tcp 1\n")
	write(t, dial(t, l.UDPAddr()), "udp 1")
	for range 2 { // both are in the journal's hands
		r.journal.gate <- struct{}{}
	}
	write(t, conn, "tcp 2\n")
	r.journal.gate <- struct{}{}
	stop()
	if _, err := io.ReadAll(conn); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the sender sees %v, want a reset", err)
	}
	if len(r.got("tcp")) != 2 || len(r.got("udp")) != 1 {
		t.Errorf("kept %v", r.journal.points)
	}
}

func TestShutdownDoesNotWaitForEver(t *testing.T) {
	r := newRig(t)
	r.journal.gate = make(chan struct{}) // never opens
	l, stop := serve(t, r, ProtocolIstatd, func(l *Listener) { l.drainFor = 10 * time.Millisecond })
	conn := dial(t, l.TCPAddr())
	write(t, conn, "tcp 1\n")
	write(t, dial(t, l.UDPAddr()), "udp 1")
	stop()
	if _, err := io.ReadAll(conn); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the sender sees %v, want a reset", err)
	}
}

func TestDatagrams(t *testing.T) {
	r := newRig(t)
	l, _ := serve(t, r, ProtocolIstatd, nil)
	conn := dial(t, l.UDPAddr())
	write(t, conn, "a 1700000000 1\nb 1700000000 2") // the last line needs no LF
	write(t, conn, "\xff\x00malformed\nc\n")
	write(t, conn, "c 1700000000 3\n")
	await(t, "last datagram", func() bool { return len(r.got("c")) == 1 })
	if len(r.got("a")) != 1 || len(r.got("b")) != 1 || r.refused(ProtocolIstatd)["malformed"] != 2 {
		t.Errorf("kept %v, refused %v", r.journal.points, r.refused(ProtocolIstatd))
	}
}

func TestDatagramOverflowIsCounted(t *testing.T) {
	r := newRig(t)
	r.journal.gate = make(chan struct{})
	l, _ := serve(t, r, ProtocolGraphite, func(l *Listener) { l.queuedMessages = 2 })
	conn := dial(t, l.UDPAddr())
	dropped := func() uint64 { return r.Dropped()[0].Count }
	const sent = 64 // few enough for any socket's buffer
	for i := range sent {
		write(t, conn, fmt.Sprintf("n%d 1 1700000000\n", i))
	}
	await(t, "drop", func() bool { return dropped() > 0 }) // the journal does not answer, so the queue is full
	if got := r.Dropped()[0]; got.What != "udp_graphite" {
		t.Errorf("dropped %v", got)
	}
	close(r.journal.gate)
	await(t, "rest of the datagrams", func() bool {
		return r.Received()[ProtocolGraphite.index()].Points+dropped() == sent
	})
	write(t, conn, "after 1 1700000000\n")
	await(t, "datagram after the overflow", func() bool { return len(r.got("after")) == 1 })
	if got := gathered(t, r, "carillon_dropped_total"); got != float64(dropped()) {
		t.Errorf("metric says %v, accessor %d", got, dropped())
	}
}

// gathered sums up a counter over its labels.
func gathered(t *testing.T, r *rig, name string) (sum float64) {
	t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

func TestFailedDatagramsAreDropped(t *testing.T) {
	r := newRig(t)
	r.journal.fail = []error{journal.ErrUnavailable}
	l, _ := serve(t, r, ProtocolIstatd, nil)
	write(t, dial(t, l.UDPAddr()), "a 1\n")
	await(t, "drop", func() bool { return r.Dropped()[1] == Dropped{"udp_istatd", 1} })
}

func TestListenReportsTakenPorts(t *testing.T) {
	r := newRig(t)
	l, _ := serve(t, r, ProtocolGraphite, nil)
	for _, addresses := range [][2]string{{l.TCPAddr().String(), ""}, {"127.0.0.1:0", l.UDPAddr().String()}} {
		if _, err := Listen(t.Context(), r.Writer, ProtocolGraphite, addresses[0], addresses[1]); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("%v: %v", addresses, err)
		}
	}
}

// However a stream is cut, its lines are the same, and a line too long is
// visited once.
func FuzzLineBuffer(f *testing.F) {
	f.Add([]byte("a 1\nb 2\r\n\nc"), uint16(3))
	f.Add([]byte(strings.Repeat("x", 300)+"\ny\n"), uint16(7000))
	f.Fuzz(func(t *testing.T, stream []byte, step uint16) {
		var long []byte // every byte 300 times: lines around maxLineBytes
		for _, c := range stream {
			for range 300 {
				long = append(long, c)
			}
			if len(long) > 4*maxLineBytes {
				break
			}
		}
		for _, stream := range [][]byte{stream, long} {
			var want []string
			for i, line := range strings.Split(string(stream), "\n") {
				whole := len(line) <= maxLineBytes
				if last := i == strings.Count(string(stream), "\n"); last && whole {
					break
				}
				want = append(want, visited(line, whole))
			}
			var got []string
			b := testBuffer()
			for rest := stream; len(rest) > 0; {
				space := b.space()
				n := copy(space[:min(len(space), max(int(step)+1, len(stream)/100))], rest)
				rest = rest[n:]
				b.take(n, func(line []byte, whole bool) {
					got = append(got, visited(string(line), whole))
				})
				if cap(b.data) > maxBufferBytes {
					t.Fatalf("buffer of %d bytes", cap(b.data))
				}
			}
			if !cmp.Equal(got, want) {
				t.Errorf("lines %v", cmp.Diff(want, got))
			}
		}
	})
}

func visited(line string, whole bool) string {
	if !whole {
		return "too long"
	}
	return strconv.Quote(line)
}

// testBuffer is the buffer of a connection.
func testBuffer() *lineBuffer {
	return &lineBuffer{large: &sync.Pool{New: func() any { return new(largeBuffer) }}}
}

// A sender in haste gets a buffer that takes much at once, a slow one does not.
func TestLineBufferGrows(t *testing.T) {
	b := testBuffer()
	reads := 0
	for rest := bytes.Repeat([]byte("cpu.idle 97.5\n"), 100_000); len(rest) > 0; reads++ {
		n := copy(b.space(), rest)
		rest = rest[n:]
		b.take(n, func([]byte, bool) {})
	}
	if cap(b.data) != maxBufferBytes || reads > 15 {
		t.Errorf("%d reads, buffer of %d bytes", reads, cap(b.data))
	}
	if b.release(); cap(b.data) != 0 {
		t.Error("the buffer keeps what it gave to the next one")
	}
	slow := testBuffer()
	for range 1000 {
		slow.take(copy(slow.space(), "cpu.idle 97.5\n"), func([]byte, bool) {})
	}
	if cap(slow.data) != firstBufferBytes {
		t.Errorf("slow sender has a buffer of %d bytes", cap(slow.data))
	}
}

// Whatever lines come, nothing panics and every journalled time is valid.
func FuzzLines(f *testing.F) {
	f.Add([]byte("*a^b^ 1\n#k v\nn 1700000000 30 350 5 15 3\na;b=c 1 N\na 1 -1\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, p := range []Protocol{ProtocolGraphite, ProtocolIstatd} {
			r := newRig(t)
			l := newLines(r.Writer, p, &session{})
			l.addAll(text)
			if err := l.commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			for name, points := range r.journal.points {
				for _, p := range points {
					if !validTime(p.ms) {
						t.Errorf("%s at %d", name, p.ms)
					}
				}
			}
		}
	})
}
