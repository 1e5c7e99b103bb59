package memcached

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"carillon/cache"
)

// TestTranscripts holds replies against what memcached 1.6.18 said, of which the files under
// testdata/same are a record. Each directive is a connection; each file begins with an empty
// cache.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/same", func(t *testing.T, path string) {
		s := start(t, newCache(t, 64<<20, cache.Config{}), Config{})
		runTranscript(t, path, s.TCPAddr().String())
	})
}

// TestPeerTranscripts holds the record against the memcached that is here. To record anew what
// it says run this test with -rewrite.
func TestPeerTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/same", func(t *testing.T, path string) {
		address, _ := startPeer(t)
		runTranscript(t, path, address)
	})
}

// TestDeviations shows what is meant to differ from memcached.
func TestDeviations(t *testing.T) {
	datadriven.Walk(t, "testdata/ours", func(t *testing.T, path string) {
		s := start(t, newCache(t, 64<<20, cache.Config{}), Config{})
		runTranscript(t, path, s.TCPAddr().String())
	})
}

func runTranscript(t *testing.T, path, address string) {
	datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
		if d.Cmd != "ask" {
			d.Fatalf(t, "want ask")
		}
		return readable(ask(t, address, request(t, d.Input)))
	})
}

var repeated = regexp.MustCompile(`\{(.)\*(\d+)\}`)

// request is the bytes that a text of a transcript stands for: lines end with \r\n unless
// with a backslash; {x*9} is nine times x; \0 and the like are as in Go.
func request(t *testing.T, text string) string {
	var b strings.Builder
	for line := range strings.Lines(text + "\n") {
		line = strings.TrimSuffix(line, "\n")
		line, unended := strings.CutSuffix(line, `\`)
		line = repeated.ReplaceAllStringFunc(line, func(s string) string {
			m := repeated.FindStringSubmatch(s)
			n, err := strconv.Atoi(m[2])
			if err != nil {
				t.Fatal(err)
			}
			return strings.Repeat(m[1], n)
		})
		line, err := strconv.Unquote(`"` + strings.ReplaceAll(line, `"`, `\"`) + `"`)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		b.WriteString(line)
		if !unended {
			b.WriteString("\r\n")
		}
	}
	return b.String()
}

// A class and a size are of the slabs, which differ.
var slabs = regexp.MustCompile(`cls=\d+ size=\d+`)

// times may have lost a second or two on the way; those of the transcripts are tens.
var times = regexp.MustCompile(`\b(t|l|la=|exp=-)(\d+)\b`)

var runs = regexp.MustCompile(`x{300,}|k{30,}`)

// readable shows a reply as transcripts have it.
func readable(reply string) string {
	var b strings.Builder
	for line := range strings.Lines(reply) {
		line, ended := strings.CutSuffix(line, "\r\n")
		quoted := strconv.Quote(line)
		b.WriteString(strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`))
		if !ended {
			b.WriteString(`\`)
		}
		b.WriteString("\n")
	}
	text := slabs.ReplaceAllString(b.String(), "cls=C size=S")
	text = times.ReplaceAllStringFunc(text, func(s string) string {
		m := times.FindStringSubmatch(s)
		n, err := strconv.Atoi(m[2])
		if err != nil || m[1] == "exp=-" && n == 1 { // never
			return s
		}
		if m[1] == "l" || m[1] == "la=" {
			return m[1] + strconv.Itoa(n/10*10)
		}
		return m[1] + strconv.Itoa((n+9)/10*10)
	})
	text = runs.ReplaceAllStringFunc(text, func(s string) string { return "{" + s[:1] + "*" + strconv.Itoa(len(s)) + "}" })
	return text
}
