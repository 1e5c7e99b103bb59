package node

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// TestRefusedAtOnce: whoever waits to be asked for a body hears at once that it is not wanted.
func TestRefusedAtOnce(t *testing.T) {
	p := startPlaces(t, options{stall: time.Hour}, "a")[0]
	conn, err := net.Dial("tcp", p.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "PUT %s/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n%s: true\r\n%s: none\r\n\r\n", Root, headerLocal, headerEpoch)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, err := io.ReadAll(response.Body); response.StatusCode != http.StatusBadRequest || !response.Close || err != nil {
		t.Errorf("%s: %s, %v", response.Status, text, err)
	}
}
