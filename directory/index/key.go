package index

import (
	"unicode/utf8"

	"carillon/series"
)

// Valid tells whether series.NewKey can have made the key, without taking it apart in
// memory as series.Key.Labels does.
func Valid(key series.Key) bool {
	rest, before, count := string(key), "", 0
	for rest != "" {
		name, after, ok := cutString(rest)
		if !ok {
			return false
		}
		var value string
		if value, rest, ok = cutString(after); !ok {
			return false
		}
		if count++; name <= before || !validLabel(name, value) {
			return false
		}
		before = name
	}
	return 0 < count && count <= series.MaxLabels && len(key) <= series.MaxKeyBytes
}

func validLabel(name, value string) bool {
	return name != "" && value != "" && len(name) <= series.MaxNameBytes && len(value) <= series.MaxValueBytes &&
		utf8.ValidString(name) && utf8.ValidString(value)
}

// cutPair takes the text of a pair off a key.
func cutPair(key string) (text, rest string, ok bool) {
	_, after, ok := cutString(key)
	if !ok {
		return "", "", false
	}
	_, rest, ok = cutString(after)
	return key[:len(key)-len(rest)], rest, ok
}

// cutString takes a name or a value off a key: its length, in one byte or two, and
// so many bytes.
func cutString(s string) (head, rest string, ok bool) {
	if s == "" {
		return "", "", false
	}
	n := int(s[0])
	s = s[1:]
	if n >= 0x80 {
		if s == "" || s[0] == 0 || s[0] >= 0x80 {
			return "", "", false
		}
		n = n&0x7f | int(s[0])<<7
		s = s[1:]
	}
	if n > len(s) {
		return "", "", false
	}
	return s[:n], s[n:], true
}

// appendPair appends the text of a pair.
func appendPair(b []byte, name, value string) []byte {
	b = append(appendNumber(b, uint32(len(name))), name...)
	return append(appendNumber(b, uint32(len(value))), value...)
}
