package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// speak sends a request by the text protocol and returns the reply up to END.
func speak(t *testing.T, network, address, frame, request string) string {
	t.Helper()
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(startLasts)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, frame+request+"\r\n"); err != nil {
		t.Fatal(err)
	}
	var reply []byte
	for !bytes.HasSuffix(reply, []byte("END\r\n")) {
		part := make([]byte, 4096)
		n, err := c.Read(part)
		if err != nil {
			t.Fatalf("%s %s: %v after %q", network, request, err, reply)
		}
		reply = append(reply, part[:n]...)
	}
	return string(bytes.TrimPrefix(reply, []byte(frame)))
}

// TestServeCache reads from a real server what was sent to it, as any client of memcached
// would.
func TestServeCache(t *testing.T) {
	s := startServer(t, tempData(t), "--agent=false", "--cache", "127.0.0.1:0", "--cache-udp", "127.0.0.1:0", "--cache-memory", "8MiB",
		"--cache-format", "json", "--cache-select", `{__name__=~"cpu.*"}`, "--cache-select", `{host="web1"}`, "--cache-expire", "1h")
	at := time.Now().Add(-10*time.Minute).Unix() / 10 * 10
	if err := sendLines(s.Graphite, fmt.Sprintf("cpu.idle.host13 90 %d\ndisk.used;host=web1 7 %[1]d\ndisk.used;host=web2 7 %[1]d\n", at)); err != nil {
		t.Fatal(err)
	}
	value := func(v int) string {
		return fmt.Sprintf(`{"time":%d,"value":%d,"count":1,"avg":%[2]d,"min":%[2]d,"max":%[2]d,"sdev":0}`, at, v)
	}
	want := fmt.Sprintf("VALUE cpu.idle.host13 0 %d\r\n%s\r\nEND\r\n", len(value(90)), value(90))
	eventually(t, "the bucket comes into the cache", func() error {
		if got := speak(t, "tcp", s.Cache, "", "get cpu.idle.host13"); got != want {
			return fmt.Errorf("%q, want %q", got, want)
		}
		return nil
	})
	if got := speak(t, "udp", s.CacheUDP, "\x12\x34\x00\x00\x00\x01\x00\x00", "get cpu.idle.host13"); got != want {
		t.Errorf("by UDP %q, want %q", got, want)
	}
	shell := func(args ...string) string {
		out, _ := carillon(append([]string{"cache", "get", "--server", s.Cache}, args...)...).CombinedOutput() // a miss is an error
		return strings.TrimSpace(string(out))
	}
	eventually(t, "a labelled bucket comes into the cache", func() error {
		if got := shell(`disk.used{host="web1"}`); got != value(7) {
			return fmt.Errorf("%q, want %q", got, value(7))
		}
		return nil
	})
	if got := speak(t, "tcp", s.Cache, "", `get disk.used{host="web2"}`); got != "END\r\n" {
		t.Errorf("what no selector matches: %q", got)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
}
