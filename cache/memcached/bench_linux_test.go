package memcached

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"carillon/cache"
	"carillon/usage"
)

const beServer = "CARILLON_TEST_BE_SERVER"

// TestMain lets the test binary be a server, so that its processor time can be told from the
// client's.
func TestMain(m *testing.M) {
	if os.Getenv(beServer) == "" {
		os.Exit(m.Run())
	}
	if err := serveAlone(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serveAlone() error {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	c, err := cache.New(make([]uint64, 256<<20/8), cache.Config{})
	if err != nil {
		return err
	}
	address := os.Getenv(beServer)
	s, err := Listen(ctx, c, Config{TCP: address, UDP: address, Allow: loopback, Logger: slog.Default()})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	return s.Serve(ctx)
}

// startOwn runs this build as a process of its own.
func startOwn(tb testing.TB) (address string, pid int) {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	address = listener.Addr().String()
	_ = listener.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), beServer+"="+address)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		tb.Fatal(err)
	}
	return address, cmd.Process.Pid
}

// sides runs a benchmark against this build and against memcached.
func sides(b *testing.B, run func(b *testing.B, address string)) {
	measure := func(b *testing.B, address string, pid int) {
		load(b, address)
		before, err := usage.CPU(pid)
		if err != nil {
			b.Fatal(err)
		}
		b.ResetTimer()
		run(b, address)
		b.StopTimer()
		after, err := usage.CPU(pid)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(b.N)/(after-before).Seconds(), "ops/cpu-s")
	}
	b.Run("carillon", func(b *testing.B) {
		address, pid := startOwn(b)
		measure(b, address, pid)
	})
	b.Run("memcached", func(b *testing.B) {
		address, pid := startPeer(b)
		measure(b, address, pid)
	})
}

const benchKeys = 10_000

func benchKey(i int) string { return fmt.Sprintf("key:%016d", i%benchKeys) }

// load stores all keys.
func load(b *testing.B, address string) {
	var all strings.Builder
	for i := range benchKeys {
		fmt.Fprintf(&all, "set %s 0 0 20 noreply\r\n%020d\r\n", benchKey(i), i)
	}
	all.WriteString("mn\r\n")
	if reply := ask(b, address, all.String()); reply != "MN\r\n" {
		b.Fatalf("%.100q", reply)
	}
}

// BenchmarkTCP sends GETs of 20-byte keys and values by four connections in pipelines.
func BenchmarkTCP(b *testing.B) {
	for _, c := range []struct {
		name  string
		depth int
		make  func(i int) string
		reply int
	}{
		{"get/pipeline=100", 100, func(i int) string { return "get " + benchKey(i) + "\r\n" }, len("VALUE 01234567890123456789 0 20\r\n01234567890123456789\r\nEND\r\n")},
		{"set/pipeline=100", 100, func(i int) string { return "set " + benchKey(i) + " 0 0 20\r\n01234567890123456789\r\n" }, len("STORED\r\n")},
		{"get/pipeline=1", 1, func(i int) string { return "get " + benchKey(i) + "\r\n" }, len("VALUE 01234567890123456789 0 20\r\n01234567890123456789\r\nEND\r\n")},
		{"multiget=50", 1, func(i int) string {
			keys := "get"
			for k := range 50 {
				keys += " " + benchKey(i*50+k)
			}
			return keys + "\r\n"
		}, 50*len("VALUE 01234567890123456789 0 20\r\n01234567890123456789\r\n") + len("END\r\n")},
	} {
		b.Run(c.name, func(b *testing.B) {
			sides(b, func(b *testing.B, address string) { pipelines(b, address, c.depth, c.reply, c.make) })
		})
	}
}

// pipelines sends b.N requests by four connections.
func pipelines(b *testing.B, address string, depth, reply int, request func(i int) string) {
	const connections = 4
	done := make(chan error, connections)
	for n := range connections {
		go func() { done <- pipeline(address, b.N/connections+1, depth, reply, n, request) }()
	}
	for range connections {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}

func pipeline(address string, requests, depth, reply, first int, request func(i int) string) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	var batches [][]byte
	for k := range 50 {
		var all strings.Builder
		for i := range depth {
			all.WriteString(request((first*7919+k)*depth + i))
		}
		batches = append(batches, []byte(all.String()))
	}
	room := make([]byte, depth*reply)
	for i := 0; i < requests; i += depth {
		if _, err := conn.Write(batches[i/depth%len(batches)]); err != nil {
			return err
		}
		if _, err := io.ReadFull(conn, room); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkUDP sends GETs of 20-byte keys and values by datagrams, from four sockets with
// up to batch of them under way each. What is lost is asked for again.
func BenchmarkUDP(b *testing.B) {
	sides(b, func(b *testing.B, address string) {
		const sockets = 4
		done := make(chan error, sockets)
		for n := range sockets {
			go func() { done <- storm(address, b.N/sockets+1, n) }()
		}
		for range sockets {
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		}
	})
}

// gun sends and receives datagrams of one socket in batches.
type gun struct {
	conn     *net.UDPConn
	raw      syscall.RawConn
	messages [batch]message
	vectors  [batch]unix.Iovec
	buffers  [batch][replyBytes]byte
}

// lostAfter is when a reply is not waited for any longer.
const lostAfter = 20 * time.Millisecond

func storm(address string, requests, first int) error {
	conn, err := net.Dial("udp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	g := &gun{conn: conn.(*net.UDPConn)}
	if g.raw, err = g.conn.SyscallConn(); err != nil {
		return err
	}
	for i := range g.messages {
		g.messages[i].header.Iov = &g.vectors[i]
		g.messages[i].header.SetIovlen(1)
		g.vectors[i].Base = &g.buffers[i][0]
	}
	for done := 0; done < requests; {
		for k := range batch {
			b := binary.BigEndian.AppendUint64(g.buffers[k][:0], 1<<16)
			b = append(append(b, "get "...), benchKey((first*7919+done+k)*31)...)
			g.vectors[k].SetLen(len(append(b, "\r\n"...)))
		}
		if err := g.send(); err != nil {
			return err
		}
		n, err := g.receive()
		if err != nil {
			return err
		}
		done += n
	}
	return nil
}

func (g *gun) send() error {
	for sent := 0; sent < batch; {
		if err := g.raw.Write(func(fd uintptr) bool {
			n, number := transfer(unix.SYS_SENDMMSG, fd, g.messages[sent:])
			sent += n
			return number != unix.EAGAIN
		}); err != nil {
			return err
		}
	}
	return nil
}

// receive is how many replies came before the time was up.
func (g *gun) receive() (got int, err error) {
	for k := range batch {
		g.vectors[k].SetLen(replyBytes)
	}
	if err := g.conn.SetReadDeadline(time.Now().Add(lostAfter)); err != nil {
		return 0, err
	}
	for got < batch {
		err := g.raw.Read(func(fd uintptr) bool {
			n, number := transfer(unix.SYS_RECVMMSG, fd, g.messages[got:])
			got += n
			return number != unix.EAGAIN
		})
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return got, nil
		} else if err != nil {
			return 0, err
		}
	}
	return got, nil
}
