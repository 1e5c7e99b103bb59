package memcached

import (
	"fmt"
	"net/url"
	"strings"

	"carillon/cache"
)

// dumpBytes is what a dump borrows: more than a page of the index can become.
const dumpBytes = 4 << 20

// describe appends what me says of an item: times are seconds from now, the expiry's
// negative, as memcached has it.
func (s *session) describe(item cache.Item) {
	exp := int64(-1)
	if item.Expiry() != 0 {
		exp = int64(s.cache.Now()) - int64(item.Expiry())
	}
	s.out = appendDescription(s.out, item, exp, int64(item.Idle()))
}

// appendDescription appends what is known of an item, apart from its key.
func appendDescription(dst []byte, item cache.Item, exp, la int64) []byte {
	fetched := "no"
	if item.Fetched() {
		fetched = "yes"
	}
	return fmt.Appendf(dst, "exp=%d la=%d cas=%d fetch=%s cls=%d size=%d", exp, la, item.CAS(), fetched, item.Class(), item.Bytes())
}

// crawler is: lru_crawler metadump all. There is no crawler to be told anything.
func (s *session) crawler() {
	switch {
	case s.n != 3 || string(s.word(1)) != "metadump":
		s.say(errUnknown)
	case string(s.word(2)) != "all" && string(s.word(2)) != "hash":
		s.say("BADCLASS invalid class id")
	case s.send == nil:
		s.say("ERROR cannot dump by datagrams")
	default:
		s.dump()
	}
}

// dump replies with a line an item: the key, as in a URL, and what is known of it. Times are
// Unix seconds, the expiry -1 for never.
func (s *session) dump() {
	s.stopReading()
	for cursor, more := uint64(0), true; more && !s.closing; {
		if !s.room(dumpBytes) {
			s.tooMuch()
			return
		}
		cursor, more = s.cache.Scan(cursor, func(item cache.Item) bool {
			exp := int64(-1)
			if item.Expiry() != 0 {
				exp = int64(item.Expiry())
			}
			s.out = append(append(s.out, "key="...), escaped(item.Key())...)
			s.out = appendDescription(append(s.out, ' '), item, exp, int64(s.cache.Now()-item.Idle()))
			s.out = append(s.out, '\n')
			return true
		})
		if len(s.out) >= sendBytes {
			s.flush()
		}
	}
	s.out = append(s.out, "END\r\n"...)
}

// escaped is a key as in a URL.
func escaped(key []byte) string { return strings.ReplaceAll(url.QueryEscape(string(key)), "+", "%20") }
