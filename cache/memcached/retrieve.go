package memcached

import (
	"bytes"

	"carillon/cache"
)

// get is: get|gets <key>*.
func (s *session) get(unique bool) {
	_, keys := next(s.line)
	s.values(keys, unique, nil)
}

// getAndTouch is: gat|gats <exptime> <key>*.
func (s *session) getAndTouch(unique bool) {
	_, rest := next(s.line)
	text, keys := next(rest)
	expiry, ok := parseExpiry(text, s.cache.Now())
	if !ok {
		s.say(errExpiry)
		return
	}
	s.values(keys, unique, &expiry)
}

// values replies with the items of all keys that there are. It touches them if there is an
// expiry.
func (s *session) values(keys []byte, unique bool, expiry *uint32) {
	if end := bytes.IndexByte(keys, 0); end >= 0 {
		keys = keys[:end]
	}
	for key, rest := next(keys); len(key) > 0; key, rest = next(rest) {
		if len(key) > cache.MaxKey {
			s.say(errFormat)
			return
		}
	}
	for key, rest := next(keys); len(key) > 0; key, rest = next(rest) {
		if !s.value(key, unique) {
			return
		}
		if expiry != nil {
			s.touched(s.cache.Touch(key, *expiry))
		}
		if len(s.out) >= sendBytes && s.send != nil {
			s.flush()
		}
	}
	s.out = append(s.out, "END\r\n"...)
}

func (s *session) touched(outcome cache.Outcome) {
	s.counts[cmdTouch]++
	if outcome == cache.Stored {
		s.counts[touchHits]++
	} else {
		s.counts[touchMisses]++
	}
}

// value replies with the item of a key, if there is one. If there is no memory for the reply
// it says so, and is false.
func (s *session) value(key []byte, unique bool) bool {
	s.counts[cmdGet]++
	item, ok := s.read().Get(key)
	if !ok {
		s.counts[getMisses]++
		return true
	}
	s.counts[getHits]++
	const casAndEnd = 1 + maxDigits + len("END\r\n")
	if !s.room(item.TextLen() + casAndEnd) {
		s.tooMuch()
		return false
	}
	if !unique {
		s.out = item.AppendText(s.out)
		return true
	}
	line := item.Line()
	s.out = append(append(s.out, line[:len(line)-2]...), ' ')
	s.out = append(appendUint(s.out, item.CAS()), '\r', '\n')
	s.out = append(item.AppendValue(s.out), '\r', '\n')
	return true
}

// tooMuch says that there is no memory for a reply.
func (s *session) tooMuch() {
	s.counts[repliesRefused]++
	s.fail(errNoReply)
}

// maxDigits is the digits of 2^64-1.
const maxDigits = 20
