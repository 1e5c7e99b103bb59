package node

import (
	"bytes"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"carillon/object"
)

// plainGet is a GET of an object that asks for nothing special: no query, range or condition, no body, no end of
// the connection.
type plainGet struct {
	name   []byte // percent-encoded, as it was sent
	bearer []byte // the token, if there is one
}

const (
	plainBegin = http.MethodGet + " " + Root + "/"
	plainEnd   = " HTTP/1.1"
	bearer     = "Bearer "
)

// parsePlainGet reads one from the beginning of what came on a connection, and returns how many bytes it takes. It is
// strict: of what is not whole yet, or not certain to be such a request and nothing else in the eyes of net/http,
// the size is 0.
func parsePlainGet(b []byte) (get plainGet, size int) {
	line, rest, whole := cutLine(b)
	name, ok := bytes.CutPrefix(line, []byte(plainBegin))
	if name, ok = cutSuffixIf(ok, name, plainEnd); !whole || !ok || !isPlainName(name) {
		return plainGet{}, 0
	}
	get.name = name
	hosts := 0
	for {
		if line, rest, whole = cutLine(rest); !whole {
			return plainGet{}, 0
		}
		if len(line) == 0 {
			break
		}
		key, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || !get.header(key, bytes.Trim(value, " "), &hosts) {
			return plainGet{}, 0
		}
	}
	if hosts != 1 {
		return plainGet{}, 0
	}
	return get, len(b) - len(rest)
}

func cutSuffixIf(ok bool, b []byte, suffix string) ([]byte, bool) {
	if !ok {
		return nil, false
	}
	return bytes.CutSuffix(b, []byte(suffix))
}

// header takes a field in, and tells whether a plain GET may have it.
func (g *plainGet) header(key, value []byte, hosts *int) bool {
	is := func(name string) bool { return bytes.EqualFold(key, []byte(name)) } // both are ASCII
	switch {
	case is("Host"):
		*hosts++
		return len(value) > 0 && !bytes.ContainsFunc(value, notOfHost)
	case is("User-Agent"), is("Accept"), is("Accept-Encoding"):
		return true
	case is("Connection"):
		return bytes.EqualFold(value, []byte("keep-alive"))
	case is("Authorization"):
		token, ok := bytes.CutPrefix(value, []byte(bearer))
		ok = ok && len(token) > 0 && g.bearer == nil
		g.bearer = token
		return ok
	}
	return false
}

// isPlain tells whether a request that net/http has read is a plain GET, after which others may follow.
func isPlain(r *http.Request) bool {
	name, ok := strings.CutPrefix(r.RequestURI, Root+"/")
	if !ok || r.Method != http.MethodGet || r.Proto != "HTTP/1.1" || r.TLS != nil || r.ContentLength != 0 || !isPlainName([]byte(name)) {
		return false
	}
	var get plainGet
	hosts := 0
	for key, values := range r.Header {
		for _, value := range values {
			if !get.header([]byte(key), []byte(value), &hosts) {
				return false
			}
		}
	}
	return true
}

// cutLine returns what is before the first end of a line, if that is there and all before it is printable ASCII.
func cutLine(b []byte) (line, rest []byte, ok bool) {
	end := bytes.IndexByte(b, '\r')
	if end < 0 || end+1 >= len(b) || b[end+1] != '\n' {
		return nil, nil, false
	}
	for _, c := range b[:end] {
		if c < ' ' || c > '~' {
			return nil, nil, false
		}
	}
	return b[:end], b[end+2:], true
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func notOfHost(r rune) bool {
	return !isAlphanumeric(byte(r)) && r != '.' && r != ':' && r != '-' && r != '_' && r != '[' && r != ']'
}

// isPlainName tells whether a name is of the characters that RFC 3986 allows in a path.
func isPlainName(name []byte) bool {
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case isAlphanumeric(c):
		case c == '%':
			if i+2 >= len(name) || !isHex(name[i+1]) || !isHex(name[i+2]) {
				return false
			}
			i += 2
		case bytes.IndexByte([]byte("/-._~!$&'()*+,;=:@"), c) < 0:
			return false
		}
	}
	return len(name) > 0
}

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F' }

// decoded is the name of the object.
func (g *plainGet) decoded() (string, bool) {
	if bytes.IndexByte(g.name, '%') < 0 {
		return string(g.name), true
	}
	name, err := url.PathUnescape(string(g.name))
	return name, err == nil
}

// appendPlainHead appends the header of an answer: the same as send's by net/http.
func appendPlainHead(b []byte, info object.Info, now time.Time) []byte {
	version := info.Version.String()
	b = append(b, "HTTP/1.1 200 OK\r\nAccept-Ranges: bytes\r\n"+headerSize+": "...)
	b = strconv.AppendInt(b, info.Size, 10)
	b = append(b, "\r\n"+headerSum+": "...)
	b = append(b, info.Sum.String()...)
	b = append(b, "\r\n"+headerVersion+": "...)
	b = append(b, version...)
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, info.Size, 10)
	b = append(b, "\r\nContent-Type: application/octet-stream\r\nDate: "...)
	b = now.UTC().AppendFormat(b, http.TimeFormat)
	b = append(b, "\r\nEtag: \""...)
	b = append(b, version...)
	return append(b, "\"\r\n\r\n"...)
}
