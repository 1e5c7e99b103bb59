package client

import (
	"bufio"
	"bytes"
	"testing"
)

// FuzzReplies reads what a server may send.
func FuzzReplies(f *testing.F) {
	f.Add([]byte("VALUE a 0 2\r\nab\r\nVALUE b 1 0 7\r\n\r\nEND\r\n"))
	f.Add([]byte("SERVER_ERROR no\r\n"))
	f.Add([]byte("key=a%20b exp=-1 la=5 cas=1 fetch=no cls=1 size=60"))
	f.Fuzz(func(t *testing.T, in []byte) {
		items, err := readValues("server", bufio.NewReader(bytes.NewReader(in)))
		for _, item := range items {
			if err == nil && len(item.Value) > len(in) {
				t.Fatalf("%d bytes of %d", len(item.Value), len(in))
			}
		}
		_, _ = parseEntry(string(in))
		var m message
		for id := range uint16(3) {
			if m.add(id, in) && len(m.bytes()) > len(in) {
				t.Fatal("more than there was")
			}
		}
	})
}
