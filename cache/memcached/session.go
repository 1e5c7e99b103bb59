package memcached

import (
	"bytes"
	"strconv"
	"strings"

	"carillon/cache"
)

const (
	// maxLineBytes is how long a line may get without an end, unless it is a get.
	maxLineBytes = 2048
	// maxGetBytes is how long the line of a get may get.
	maxGetBytes = 1 << 20
	// sendBytes is how many bytes of replies are sent, though there is more to reply to.
	sendBytes = 48 << 10
	// repliesBytes is the buffer for replies; single ones may borrow a larger one.
	repliesBytes = 64 << 10
	// maxReplyBytes is the longest reply by datagrams, of which it takes a thousand.
	maxReplyBytes = 1024 * payloadBytes
)

// binaryMagic begins every request of memcached's binary protocol.
const binaryMagic = 0x80

// session is one client's conversation: bytes of requests come in by feed, replies are
// appended to out. It knows no socket: whoever feeds it sends the replies, and again when
// it asks him to by send. One goroutine uses it.
//
// It stays in the cache's read section from one get to the next, and must leave it before
// it changes anything or sends: a writer may have to wait for all sections to end.
type session struct {
	server  *Server
	cache   *cache.Cache
	out     []byte
	base    int // where in out the reply to a datagram begins
	counts  counts
	rounds  uint64       // of requests that came together
	send    func() error // nil where all replies go out at once, by datagrams
	closing bool         // nothing more may be fed, and the connection should end
	fed     bool         // at least one byte
	known   bool         // authenticated, or need not be

	// If out needed more room than it had: what it was before, and the bytes of it that
	// are taken from the server's budget.
	small    []byte
	borrowed int

	section cache.Section
	reading bool // in the section

	// The command at hand. The line is the caller's, until keep.
	line  []byte
	words [maxWords]word
	n     int  // words
	quiet bool // the reply is left out: noreply, and by meta commands q
	flags metaFlags

	// A storage command whose data block is to come.
	write cache.Write
	meta  bool   // it is ms
	need  int    // bytes of the block with its \r\n, 0 if there is no such command
	kept  []byte // the line, if the block was not there at once

	swallow int // bytes of a refused data block that are still to come

	authBytes int // of user, password and \r\n to come, 0 if none

	keyRoom [cache.MaxKey]byte // a key that came as base64
}

func newSession(server *Server, send func() error) *session {
	return &session{server: server, cache: server.cache, send: send, known: server.config.Users == nil}
}

// feed works off the requests that are complete, and is how many bytes of them it needs no
// more. The caller must leave afterwards, and send the replies.
func (s *session) feed(in []byte) (used int) {
	if !s.fed && len(in) > 0 {
		s.fed = true
		if in[0] == binaryMagic {
			s.counts[binaryRequests]++
			s.closing = true
		}
	}
	for !s.closing {
		rest := in[used:]
		if s.need > 0 {
			if len(rest) < s.need {
				s.keep()
				break
			}
			used += s.need
			s.store(rest[:s.need])
		} else if n := min(s.swallow, len(rest)); n > 0 {
			s.swallow -= n
			used += n
		} else if !s.known {
			n := s.authenticate(rest)
			if n == 0 {
				break
			}
			used += n
		} else {
			end := bytes.IndexByte(rest, '\n')
			if end < 0 {
				s.judge(rest)
				break
			}
			used += end + 1
			s.command(trim(rest[:end]))
		}
		if len(s.out) >= sendBytes && s.send != nil {
			s.flush()
		}
	}
	return used
}

// wants is how many bytes, of which the first have not been used, must come before there is
// something to do; 0 if that cannot be told.
func (s *session) wants() int { return max(s.need, s.authBytes) }

// trim takes the \r from a line, unless it is all there is.
func trim(line []byte) []byte {
	if len(line) > 1 && line[len(line)-1] == '\r' {
		return line[:len(line)-1]
	}
	return line
}

// judge ends the session if what came without the end of a line is too long to be one.
func (s *session) judge(line []byte) {
	if len(line) <= maxLineBytes {
		return
	}
	const maxSpaces = 100
	begin := 0
	for begin < maxSpaces && line[begin] == ' ' {
		begin++
	}
	get := bytes.HasPrefix(line[begin:], []byte("get ")) || bytes.HasPrefix(line[begin:], []byte("gets "))
	if !get || len(line) > maxGetBytes {
		s.counts[badLines]++
		s.closing = true
	}
}

// keep copies what is known of a storage command whose data block has not come yet.
func (s *session) keep() {
	if len(s.line) > 0 && len(s.kept) > 0 && &s.line[0] == &s.kept[0] {
		return
	}
	s.kept = append(s.kept[:0], s.line...)
	s.line = s.kept
	if !s.write.Binary {
		s.write.Key = s.word(1)
	}
}

// refuse gives up what there is no memory for: the data block of a storage command, or a
// line, with which the session ends.
func (s *session) refuse() {
	if s.need == 0 {
		s.counts[badLines]++
		s.closing = true
		return
	}
	s.stopReading()
	s.counts[storeNoMemory]++
	s.swallow, s.need = s.need, 0
	if s.write.Mode == cache.Set {
		s.cache.Delete(cache.Removal{Key: s.write.Key})
	}
	if s.meta {
		s.quiet = false
	}
	s.say("SERVER_ERROR out of memory storing object")
}

// leave ends the read section and adds what was counted to the totals.
func (s *session) leave() {
	s.stopReading()
	s.server.totals.add(&s.counts)
}

// read is the read section.
func (s *session) read() cache.Section {
	if !s.reading {
		s.section = s.cache.Read()
		s.reading = true
	}
	return s.section
}

func (s *session) stopReading() {
	if s.reading {
		s.section.Done()
		s.reading = false
	}
}

// flush sends the replies so far.
func (s *session) flush() {
	s.leave()
	if s.send() != nil {
		s.closing = true
	}
}

// emptied makes out ready for more, after it was sent.
func (s *session) emptied() {
	if s.borrowed > 0 {
		s.server.budget.give(s.borrowed)
		s.out, s.small, s.borrowed = s.small, nil, 0
	}
	s.out = s.out[:0]
}

// room makes n bytes fit behind the replies so far, or says that there is no memory for them.
func (s *session) room(n int) bool {
	if cap(s.out)-len(s.out) >= n {
		return true
	}
	all := len(s.out) + n
	if s.send == nil && all-s.base > maxReplyBytes {
		return false
	}
	size := max(all, 2*cap(s.out))
	extra := size - s.borrowed
	if !s.server.budget.take(extra) {
		return false
	}
	if s.borrowed == 0 {
		s.small = s.out
	}
	s.borrowed += extra
	grown := make([]byte, len(s.out), size)
	copy(grown, s.out)
	s.out = grown
	return true
}

// say replies with a line, unless the client does not want to hear.
func (s *session) say(line string) {
	if strings.HasPrefix(line, "ERROR") || strings.HasPrefix(line, "CLIENT_ERROR") {
		s.counts[badCommands]++
	}
	if !s.quiet {
		s.out = append(append(s.out, line...), '\r', '\n')
	}
}

// fail replies with a line in any case, as meta commands do with errors.
func (s *session) fail(line string) {
	s.quiet = false
	s.say(line)
}

// word is the i-th word of the line; there must be so many.
func (s *session) word(i int) []byte { return s.line[s.words[i].from:s.words[i].to] }

// mute looks for noreply, which is the last word.
func (s *session) mute() { s.quiet = string(s.word(s.n-1)) == "noreply" }

// tooLong tells, and says, that the key is.
func (s *session) tooLong() bool {
	if len(s.word(1)) <= cache.MaxKey {
		return false
	}
	s.say(errFormat)
	return true
}

func appendUint(dst []byte, n uint64) []byte { return strconv.AppendUint(dst, n, 10) }
