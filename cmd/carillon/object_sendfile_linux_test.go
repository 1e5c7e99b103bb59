package main

import (
	"bytes"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"carillon/object/conformance"
)

// TestObjectSendfile: once a node has read a large object and found it right, a plain-HTTP GET of it is sendfile from its file to
// the connection, and the content comes through the process neither on its way in nor out.
func TestObjectSendfile(t *testing.T) {
	needsStrace(t)
	const little = 64 << 10 // headers, and the checksums of blocks
	content := conformance.Content(9<<20+7, 1)
	for _, store := range []string{"pack", "file"} {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			n := startObjectNode(t, "a", filepath.Join(t.TempDir(), "a"), "--new", "--store", store+"://"+filepath.Join(dataHere, "store"))
			exchange(t, http.MethodPut, n.url+"/objects/large", content)
			get := func() {
				if got := exchange(t, http.MethodGet, n.url+"/objects/large", nil); !bytes.Equal(got, content) {
					t.Errorf("%d bytes that differ", len(got))
				}
			}
			get()
			s := attachStrace(t, n.cmd.Process.Pid, "-e", "trace=sendfile,splice,read,readv,pread64,preadv,preadv2,write,writev,sendto,sendmsg")
			get()
			calls := s.detach(t)
			from := regexp.QuoteMeta(filepath.Join(n.data, "store"))
			if sent := moved(calls, regexp.MustCompile(`^sendfile\(\d+<TCP:.*, \d+<`+from)); sent < int64(len(content)-little) {
				t.Errorf("%d bytes of %d went out by sendfile:\n%s", sent, len(content), strings.Join(calls, "\n"))
			}
			for what, pattern := range map[string]string{
				"were read": `^p?read\w*\(\d+<` + from, "were written": `^(write|writev|sendto|sendmsg)\(\d+<TCP:`,
			} {
				if bytes := moved(calls, regexp.MustCompile(pattern)); bytes > little {
					t.Errorf("%d bytes %s", bytes, what)
				}
			}
		})
	}
}

// exchange sends a request that must succeed, and returns what comes.
func exchange(t testing.TB, method, url string, body []byte) []byte {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s, %v: %.300s", method, url, response.Status, err, content)
	}
	return content
}
