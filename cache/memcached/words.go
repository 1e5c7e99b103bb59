package memcached

import (
	"bytes"
	"math"
)

// maxWords is how many words of a line are told apart. What is behind them only get and its like
// look at.
const maxWords = 23

// word is where a word of a line begins and ends.
type word struct{ from, to int32 }

// split finds the words of a line, between spaces. A zero byte ends the line.
func split(line []byte, words *[maxWords]word) (n int) {
	for at := 0; n < maxWords; n++ {
		for at < len(line) && line[at] == ' ' {
			at++
		}
		if at == len(line) || line[at] == 0 {
			break
		}
		from := at
		for at < len(line) && line[at] != ' ' && line[at] != 0 {
			at++
		}
		words[n] = word{int32(from), int32(at)}
	}
	return n
}

// next is the first word of a line, if there is one, and what is behind it.
func next(line []byte) (first, rest []byte) {
	for len(line) > 0 && line[0] == ' ' {
		line = line[1:]
	}
	if end := bytes.IndexByte(line, ' '); end >= 0 {
		return line[:end], line[end+1:]
	}
	return line, nil
}

// isSpace is what the C library skips before a number, and what may end it.
func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// digits is a number as the C library's strtoull reads it, apart from the sign.
func digits(text []byte) (n uint64, negative, ok bool) {
	at := 0
	for at < len(text) && isSpace(text[at]) {
		at++
	}
	if at < len(text) && (text[at] == '-' || text[at] == '+') {
		negative = text[at] == '-'
		at++
	}
	first := at
	for ; at < len(text) && text[at] >= '0' && text[at] <= '9'; at++ {
		d := uint64(text[at] - '0')
		if n > (math.MaxUint64-d)/10 {
			return 0, false, false
		}
		n = n*10 + d
	}
	return n, negative, at > first && (at == len(text) || isSpace(text[at]))
}

func parseUint64(text []byte) (uint64, bool) {
	n, negative, ok := digits(text)
	return n, ok && (!negative || n == 0)
}

func parseUint32(text []byte) (uint32, bool) {
	n, ok := parseUint64(text)
	return uint32(n), ok && n <= math.MaxUint32
}

func parseInt64(text []byte) (int64, bool) {
	n, negative, ok := digits(text)
	switch {
	case !ok || n > math.MaxInt64:
		return 0, false
	case negative:
		return -int64(n), true
	}
	return int64(n), true
}

// maxRelative is the longest expiry, in seconds, that is counted from now; what is larger is a
// Unix second.
const maxRelative = 60 * 60 * 24 * 30

// expired is an expiry long past.
const expired = 1

// parseExpiry is the Unix second that an expiry on the wire means, 0 for never.
func parseExpiry(text []byte, now uint32) (uint32, bool) {
	n, ok := parseInt64(text)
	switch {
	case n < 0:
		return expired, ok
	case n == 0:
		return 0, ok
	case n <= maxRelative:
		n += int64(now)
	}
	return uint32(min(n, math.MaxUint32)), ok
}

// remaining is the seconds until an expiry, as replies have it.
func appendRemaining(dst []byte, expiry, now uint32) []byte {
	if expiry == 0 {
		return append(dst, "-1"...)
	}
	return appendUint(dst, uint64(expiry-now))
}
