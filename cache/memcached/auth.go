package memcached

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"strings"
)

const (
	// maxAuthBytes is how long user and password together may be.
	maxAuthBytes = 1024
	// maxUsers is how many users a file may have.
	maxUsers = 1024
)

// Users are who may use the cache. Nil Users are everybody.
type Users struct{ hashes [][sha256.Size]byte }

// ReadUsers reads lines of user:password, as memcached's option -Y has them.
func ReadUsers(from io.Reader) (*Users, error) {
	users := &Users{}
	lines := bufio.NewScanner(from)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSuffix(lines.Text(), "\r")
		if line == "" {
			continue
		}
		user, password, ok := strings.Cut(line, ":")
		if !ok || user == "" || password == "" || len(line) > maxAuthBytes {
			return nil, fmt.Errorf("line %d: want user:password", n)
		}
		if len(users.hashes) == maxUsers {
			return nil, fmt.Errorf("line %d: more than %d users", n, maxUsers)
		}
		users.hashes = append(users.hashes, sha256.Sum256([]byte(user+" "+password)))
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(users.hashes) == 0 {
		return nil, fmt.Errorf("no users")
	}
	return users, nil
}

// know tells whether there is such a user, in a time that says nothing of who there is.
func (u *Users) know(user, password []byte) bool {
	sum := sha256.Sum256(bytes.Join([][]byte{user, password}, []byte(" ")))
	found := 0
	for i := range u.hashes {
		found |= subtle.ConstantTimeCompare(sum[:], u.hashes[i][:])
	}
	return found == 1
}

// authenticate reads what a client must send before anything else: a set of any key, whose
// value is the user and the password. It is how many bytes it has used, 0 if it needs more.
func (s *session) authenticate(in []byte) (used int) {
	if s.authBytes == 0 {
		end := bytes.IndexByte(in, '\n')
		if end < 0 {
			if len(in) > maxLineBytes {
				s.counts[badLines]++
				s.closing = true
			}
			return 0
		}
		s.quiet = false
		s.line = in[:end]
		s.n = split(s.line, &s.words)
		size, ok := uint32(0), false
		if s.n >= 5 && string(s.word(0)) == "set" {
			size, ok = parseUint32(s.word(4))
		}
		switch {
		case !ok:
			s.say("CLIENT_ERROR unauthenticated")
		case size > maxAuthBytes:
			s.say("CLIENT_ERROR bad authentication token format")
			s.closing = true
		default:
			s.authBytes = int(size) + 2
		}
		return end + 1
	}
	if len(in) < s.authBytes {
		return 0
	}
	used, s.authBytes = s.authBytes, 0
	s.checkUser(in[:used])
	return used
}

func (s *session) checkUser(block []byte) {
	s.line = block[:len(block)-2]
	if !bytes.HasSuffix(block, []byte("\r\n")) {
		s.say("CLIENT_ERROR bad command line termination")
		return
	}
	s.n = split(s.line, &s.words)
	if s.n < 2 {
		s.say("CLIENT_ERROR bad authentication token format")
		return
	}
	s.counts[authCommands]++
	if !s.server.config.Users.know(s.word(0), s.word(1)) {
		s.counts[authErrors]++
		s.say("CLIENT_ERROR authentication failure")
		return
	}
	s.known = true
	s.say("STORED")
}
