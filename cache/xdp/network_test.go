//go:build linux && (amd64 || arm64 || riscv64)

package xdp_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"carillon/cache"
	"carillon/cache/xdp"
	"carillon/cache/xdp/lab"
	"carillon/require"
)

// patience is how long a test waits for what must come.
const patience = 5 * time.Second

func newPair(t testing.TB) *lab.Pair {
	t.Helper()
	pair, err := lab.NewPair()
	require.Feature(t, "bpf", err == nil, "root and iproute2: "+message(err))
	t.Cleanup(pair.Close)
	return pair
}

// network is a server at one end of a pair and sockets at the other. What the program
// passes on is answered with "user space".
type network struct {
	*server
	pair    *lab.Pair
	clients []*net.UDPConn // by IPv4, by IPv6
}

func newNetwork(t *testing.T, mode xdp.Mode) *network {
	t.Helper()
	n := &network{server: newCache(t, 8<<20), pair: newPair(t)}
	with := config()
	with.Interface, with.Mode = lab.ServerInterface, mode
	check(t, n.pair.Server.Do(func() error {
		n.load(t, with)
		got, err := n.program.Attach()
		if err == nil && mode != xdp.Detect && got != mode {
			err = fmt.Errorf("attached in mode %v", got)
		}
		return err
	}))
	n.serve(t)
	for _, over := range []way{ways[0], ways[2]} {
		check(t, n.pair.Client.Do(func() error {
			c, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(over.from), net.UDPAddrFromAddrPort(over.to))
			if err != nil {
				return err
			}
			t.Cleanup(func() { c.Close() })
			n.clients = append(n.clients, c)
			return nil
		}))
	}
	// Frames go from here to there at once if a program is at this end too.
	l, err := lab.Load(lab.Request{Frame: make([]byte, 60)})
	check(t, err)
	t.Cleanup(func() { check(t, l.Close()) })
	check(t, n.pair.Client.Do(func() error { return l.Open(lab.ClientInterface) }))
	return n
}

// serve answers what comes to user space.
func (n *network) serve(t *testing.T) {
	t.Helper()
	for _, at := range []netip.AddrPort{server4, server6} {
		var conn *net.UDPConn
		check(t, n.pair.Server.Do(func() (err error) {
			conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
			return err
		}))
		var done sync.WaitGroup
		done.Go(func() {
			b := make([]byte, 2048)
			for {
				size, from, err := conn.ReadFromUDPAddrPort(b)
				if errors.Is(err, net.ErrClosed) {
					return
				}
				if err != nil || size < 8 {
					t.Error("user space:", size, err)
					return
				}
				if _, err := conn.WriteToUDPAddrPort(append(b[:8:8], "user space"...), from); err != nil {
					t.Error("user space:", err)
				}
			}
		})
		t.Cleanup(func() {
			conn.Close()
			done.Wait()
		})
	}
}

// get sends a command and is the reply's text.
func get(t *testing.T, c *net.UDPConn, id uint16, command string) string {
	t.Helper()
	check(t, c.SetDeadline(time.Now().Add(patience)))
	_, err := c.Write(request(id, command+"\r\n"))
	check(t, err)
	b := make([]byte, 2048)
	for {
		size, err := c.Read(b)
		if err != nil {
			t.Fatalf("%.30q: %v", command, err)
		}
		if bytes.Equal(b[:8], request(id, "")) {
			return string(b[8:size])
		}
	}
}

// TestNetwork: real sockets get the answers, in both modes and over both protocols;
// what does not fit into the driver's frame comes from user space.
func TestNetwork(t *testing.T) {
	for _, mode := range []xdp.Mode{xdp.Native, xdp.Generic} {
		t.Run(mode.String(), func(t *testing.T) {
			n := newNetwork(t, mode)
			lengths := []int{0, 1, 20, 55, 100, 200, 250, 300, 400, 600, 900, 1300, 1400}
			for _, length := range lengths {
				n.set(t, fmt.Sprint("of-", length), strings.Repeat("v", length), 3, 0)
			}
			largest := 0
			for i, length := range lengths {
				for _, c := range n.clients {
					value := strings.Repeat("v", length)
					want := fmt.Sprintf("VALUE of-%d 3 %d\r\n%s\r\nEND\r\n", length, length, value)
					switch got := get(t, c, uint16(i), fmt.Sprint("get of-", length)); got {
					case want:
						largest = max(largest, length)
					case "user space":
						if length <= 100 { // drivers differ in the room they leave
							t.Errorf("a value of %d bytes is not answered in the kernel", length)
						}
					default:
						t.Errorf("a value of %d bytes: %q", length, got)
					}
				}
			}
			t.Logf("values of up to %d bytes are answered in the kernel", largest)
			for _, c := range n.clients {
				if got := get(t, c, 100, "get nothing"); got != "END\r\n" {
					t.Errorf("a miss: %q", got)
				}
				if got := get(t, c, 101, "get of-1 of-20"); got != "user space" {
					t.Errorf("two keys: %q", got)
				}
			}
			n.unload()
			if got := get(t, n.clients[0], 102, "get of-1"); got != "user space" {
				t.Errorf("after Close: %q", got)
			}
		})
	}
}

// TestSecondProgram: an interface that has a program already is named with what to do.
func TestSecondProgram(t *testing.T) {
	n := newNetwork(t, xdp.Detect)
	with := config()
	with.Interface = lab.ServerInterface
	check(t, n.pair.Server.Do(func() error {
		second, err := xdp.Load(n.region, with)
		if err != nil {
			return err
		}
		if _, err := second.Attach(); err == nil || !strings.Contains(err.Error(), "another XDP program is attached") {
			t.Errorf("attach twice: %v", err)
		}
		return second.Close()
	}))
}

// TestStoppedAndKilled: when user space stops, the kernel stops answering within a
// second and goes on when user space does; when it is killed nothing is left.
func TestStoppedAndKilled(t *testing.T) {
	pair := newPair(t)
	require.Feature(t, "bpf", newCache(t, 1<<20) != nil, "")
	var process *exec.Cmd
	check(t, pair.Server.Do(func() error {
		process = exec.Command(os.Args[0])
		process.Env = append(os.Environ(), serveVariable+"=1")
		process.Stderr = os.Stderr
		out, err := process.StdoutPipe()
		if err != nil {
			return err
		}
		if err := process.Start(); err != nil {
			return err
		}
		_, err = bufio.NewReader(out).ReadString('\n')
		return err
	}))
	t.Cleanup(func() {
		process.Process.Kill()
		process.Wait()
	})
	l, err := lab.Load(lab.Request{Frame: ways[0].datagram(request(1, "get k\r\n")).frame()})
	check(t, err)
	t.Cleanup(func() { check(t, l.Close()) })
	check(t, pair.Client.Do(func() error { return l.Sink(lab.ClientInterface) }))

	// answers tells whether a request has an answer. Frames go both ways while
	// Generate runs.
	answers := func() bool {
		before, err := l.Received()
		check(t, err)
		check(t, pair.Client.Do(func() error { return l.Generate(lab.ClientInterface, 64) }))
		after, err := l.Received()
		check(t, err)
		return after.Values > before.Values
	}
	until := func(what string, answering bool) time.Duration {
		t.Helper()
		start := time.Now()
		for answers() != answering {
			if time.Since(start) > patience {
				t.Fatalf("%s: answers after %v", what, patience)
			}
		}
		return time.Since(start)
	}
	until("at work", true)
	check(t, process.Process.Signal(unix.SIGSTOP))
	if took := until("stopped", false); took > time.Second {
		t.Errorf("answered for %v after user space stopped", took)
	}
	check(t, process.Process.Signal(unix.SIGCONT))
	until("continued", true)
	check(t, process.Process.Kill())
	process.Wait()
	until("killed", false)
	check(t, pair.Server.Do(func() error {
		out, err := exec.Command("ip", "link", "show", lab.ServerInterface).Output()
		if bytes.Contains(out, []byte("prog/xdp")) {
			t.Errorf("left behind: %s", out)
		}
		return err
	}))
}

// serveVariable makes the test binary a server until it is killed: see TestMain.
const serveVariable = "CARILLON_TEST_XDP_SERVE"

func TestMain(m *testing.M) {
	if os.Getenv(serveVariable) == "" {
		os.Exit(m.Run())
	}
	if err := serveForever(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serveForever() error {
	region, err := xdp.NewRegion(1 << 20)
	if err != nil {
		return err
	}
	c, err := cache.New(region.Words(), cache.Config{Grace: region})
	if err != nil {
		return err
	}
	c.Store(cache.Write{Key: []byte("k"), Value: []byte("v")})
	with := config()
	with.Interface = lab.ServerInterface
	program, err := xdp.Load(region, with)
	if err != nil {
		return err
	}
	if _, err := program.Attach(); err != nil {
		return err
	}
	fmt.Println("attached")
	select {}
}
