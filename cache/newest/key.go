package newest

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"carillon/cache"
	"carillon/series"
)

// DirectoryPrefix begins the keys of directory entries, and of nothing else.
const DirectoryPrefix = "directory:"

// A key that is too long is cut to keyHead bytes, which hashMark and the first hashDigits
// hex digits of the SHA-256 of the whole follow.
const (
	hashMark   = '#'
	hashDigits = 32
	keyHead    = cache.MaxKey - 1 - hashDigits
)

// AppendKey appends the key under which a series is in the cache: its name, or
// name{label="value",…} with the labels in order. Two series never have the same one, up
// to collisions of SHA-256.
func AppendKey(dst []byte, key series.Key) []byte {
	start := len(dst)
	set, err := key.Labels()
	if err != nil {
		return shortened(appendQuoted(dst, string(key)), start) // no key of ours
	}
	name := key.Get(series.MetricName)
	separator := byte('{')
	if plainName(name) {
		dst = append(dst, name...)
	} else if name != "" {
		dst = appendQuoted(append(dst, '{'), name)
		separator = ','
	}
	for _, l := range set {
		if l.Name == series.MetricName {
			continue
		}
		dst = append(dst, separator)
		if plainLabel(l.Name) {
			dst = append(dst, l.Name...)
		} else {
			dst = appendQuoted(dst, l.Name)
		}
		dst = appendQuoted(append(dst, '='), l.Value)
		separator = ','
	}
	if separator == ',' {
		dst = append(dst, '}')
	}
	return shortened(dst, start)
}

// plainName tells whether a metric's name stands as it is: nothing in it that memcached
// refuses, or that begins or ends what follows.
func plainName(name string) bool {
	if name == "" || strings.HasPrefix(name, DirectoryPrefix) {
		return false
	}
	for i := range len(name) {
		switch c := name[i]; {
		case refused(c), c == '{', c == '}', c == '"', c == '\\':
			return false
		}
	}
	return true
}

// plainLabel tells whether PromQL takes a label's name without quotes.
func plainLabel(name string) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_', '0' <= c && c <= '9' && i > 0:
		default:
			return false
		}
	}
	return true
}

// refused tells of a byte that no key of memcached may have.
func refused(c byte) bool { return c <= ' ' || c == 0x7f }

// appendQuoted appends a string as PromQL reads it, with everything escaped that memcached
// refuses.
func appendQuoted(dst []byte, s string) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"', c == '\\':
			dst = append(dst, '\\', c)
		case refused(c):
			dst = append(dst, '\\', 'x', digits[c>>4], digits[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// shortened is dst, of which a key begins at start, with the key made short enough.
func shortened(dst []byte, start int) []byte {
	key := dst[start:]
	if len(key) <= cache.MaxKey {
		return dst
	}
	sum := sha256.Sum256(key)
	dst = append(dst[:start+keyHead], hashMark)
	return hex.AppendEncode(dst, sum[:hashDigits/2])
}
