package node

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"

	"github.com/zeebo/xxh3"

	"carillon/object"
)

const (
	pieceBytes  = 4 << 20   // sent between two looks at whether the receiver still takes any
	copyBytes   = 256 << 10 // read at once where sendfile cannot be used
	maxVerified = 1 << 16   // copies known to be right, 16 bytes each
)

// send sends a content, or a range of it.
//
// Every byte that goes through this process was compared with a checksum by the backend. By sendfile the
// kernel sends bytes that nobody here looks at. So a large content goes out that way only if this process has
// read it as a whole before, and found it right; what becomes of the disk afterwards is found by
// the receiver, who is told the checksum, or by a deep scrub. A receiver that asks for a range cannot compare
// anything; one who wants certainty says "Carillon-Verify: node", as Client does.
func (q *request) send(body object.Body) error {
	info := body.Info()
	offset, length := body.Range()
	h := q.w.Header()
	setInfo(h, info)
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.FormatInt(length, 10))
	h.Set("Accept-Ranges", "bytes")
	status := http.StatusOK
	if length < info.Size {
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", offset, offset+length-1, info.Size))
		status = http.StatusPartialContent
	}
	if q.r.TLS == nil && q.r.ProtoMajor == 1 && q.r.Header.Get(headerVerify) != "node" && q.verified.has(info.Name, info.Version) {
		if file, left := body.Section(); file != nil {
			return q.pour(status, file, left)
		}
	}
	if err := q.pour(status, onlyReader{body}, length); err != nil {
		return err
	}
	if length == info.Size {
		// The end of the whole comes only after a right checksum.
		if n, err := body.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			return fmt.Errorf("%q is longer than its %d bytes: %w", info.Name, info.Size, err)
		}
		q.verified.add(info.Name, info.Version)
		q.plain = info.Size <= plainBytes && isPlain(q.r)
	}
	return nil
}

// onlyReader hides what a body can do besides: its WriteTo would send all in one piece.
type onlyReader struct{ io.Reader }

// pour sends the header and length bytes, a piece at a time. From a file, io.CopyN ends in
// net.TCPConn.ReadFrom, which is sendfile.
func (q *request) pour(status int, from io.Reader, length int64) error {
	q.w.WriteHeader(status)
	q.pace.begun = true
	if length == 0 {
		return nil
	}
	var to io.Writer = q.w
	var buffer []byte
	if _, plain := from.(onlyReader); plain {
		to = onlyWriter{q.w}
		buffer = make([]byte, min(copyBytes, length))
	}
	for left := length; left > 0; {
		q.pace.write()
		n, err := io.CopyBuffer(to, io.LimitReader(from, min(left, pieceBytes)), buffer)
		left -= n
		if err == nil && n == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// onlyWriter hides ReadFrom, which would bring a buffer of its own.
type onlyWriter struct{ io.Writer }

// verified remembers which copies this process has read as a whole and found right. The older half is forgotten
// when there are too many. The zero value remembers nothing yet.
type verified struct {
	mu           sync.Mutex
	young, older map[xxh3.Uint128]struct{} // guarded by mu
}

func verifiedKey(name string, v object.Version) xxh3.Uint128 {
	b := v.Bytes()
	return xxh3.Hash128(append(b[:], name...))
}

func (s *verified) add(name string, v object.Version) {
	key := verifiedKey(name, v)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.young == nil || len(s.young) >= maxVerified/2 {
		s.young, s.older = make(map[xxh3.Uint128]struct{}), s.young
	}
	s.young[key] = struct{}{}
}

func (s *verified) has(name string, v object.Version) bool {
	key := verifiedKey(name, v)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, young := s.young[key]
	_, older := s.older[key]
	return young || older
}

func (s *verified) drop(name string, v object.Version) {
	key := verifiedKey(name, v)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.young, key)
	delete(s.older, key)
}
