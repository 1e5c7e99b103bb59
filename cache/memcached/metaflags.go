package memcached

import (
	"encoding/base64"

	"carillon/cache"
)

const (
	// maxMetaWords is how many words the line of a meta command may have.
	maxMetaWords = 18
	// maxOpaque is the longest flag O, in bytes.
	maxOpaque = 32
)

// metaFlags are what the flags of a meta command say.
type metaFlags struct {
	seen    [2]uint64 // letters, as a set
	vivify  uint32    // N: expiry of what is made on a miss
	expiry  uint32    // T
	recache uint32    // R: expiry below which somebody should recache
	client  uint32    // F
	compare uint64    // C, noItem if that is 0
	cas     uint64    // E
	delta   uint64    // D
	initial uint64    // J
	mode    byte      // M
}

func (f *metaFlags) has(letter byte) bool { return f.seen[letter>>6]>>(letter&63)&1 != 0 }

// strict is the CAS unique to compare with where 0 is one like others, that no item has.
func (f *metaFlags) strict() uint64 {
	if f.has('C') && f.compare == 0 {
		return noItem
	}
	return f.compare
}

const (
	errDuplicate = "CLIENT_ERROR duplicate flag"
	errFlag      = "CLIENT_ERROR invalid flag"
	errToken     = "CLIENT_ERROR bad token in command line format"
	errKey       = "CLIENT_ERROR error decoding key"
	errOpaque    = "CLIENT_ERROR opaque token too long"
)

// allFlags are the letters of all meta commands. L and P are for others on the way, p is ours.
const allFlags = "bcfhklpqstuvxCDEFIJLMNOPRT"

// parseFlags reads the flags, which are the words from one on, and the key. The error, if
// any, is that of the last bad flag, or of the first that ends it all.
func (s *session) parseFlags(first int) (key []byte, fault string) {
	s.flags = metaFlags{delta: 1}
	key = s.word(1)
	for i := first; i < s.n; i++ {
		letter, value := s.word(i)[0], s.word(i)[1:]
		switch {
		case letter >= 127 || s.flags.has(letter):
			return nil, errDuplicate
		case !known(letter):
			return nil, errFlag
		}
		s.flags.seen[letter>>6] |= 1 << (letter & 63)
		if letter == 'b' {
			n, err := base64.StdEncoding.Decode(s.keyRoom[:], s.word(1))
			if key = s.keyRoom[:n]; err != nil || n == 0 {
				fault = errKey
			}
		} else if text := s.flags.set(letter, value, s.cache.Now()); text != "" && (text != errFormat || fault == "") {
			fault = text // a bad F has no words of its own
		}
	}
	return key, fault
}

func known(letter byte) bool {
	for i := range len(allFlags) {
		if allFlags[i] == letter {
			return true
		}
	}
	return false
}

// set takes the value of a flag, and says what is wrong with it.
func (f *metaFlags) set(letter byte, value []byte, now uint32) (fault string) {
	ok := true
	fault = errToken
	switch letter {
	case 'N':
		f.vivify, ok = parseExpiry(value, now)
	case 'T':
		f.expiry, ok = parseExpiry(value, now)
	case 'R':
		f.recache, ok = parseExpiry(value, now)
	case 'C':
		f.compare, ok = parseUint64(value)
	case 'E':
		f.cas, ok = parseUint64(value)
	case 'F':
		f.client, ok = parseUint32(value)
		fault = errFormat
	case 'D':
		f.delta, ok = parseUint64(value)
		fault = "CLIENT_ERROR invalid numeric delta value"
	case 'J':
		f.initial, ok = parseUint64(value)
		fault = "CLIENT_ERROR invalid numeric initial value"
	case 'M':
		if ok = len(value) == 1; ok {
			f.mode = value[0]
		}
		fault = "CLIENT_ERROR incorrect length for M token"
	}
	if ok {
		return ""
	}
	return fault
}

// opaqueFits tells whether the flag O is short enough, if there is one.
func (s *session) opaqueFits(first int) bool {
	for i := first; i < s.n; i++ {
		if w := s.word(i); w[0] == 'O' && len(w) > maxOpaque {
			return false
		}
	}
	return true
}

// echo appends the flag of a reply that repeats what was asked: O or k.
func (s *session) echo(flag, key []byte, binary bool) {
	switch flag[0] {
	case 'O':
		s.out = append(append(s.out, ' '), flag...)
	case 'k':
		s.out = appendKey(append(s.out, " k"...), key, binary)
		if binary {
			s.out = append(s.out, " b"...)
		}
	}
}

// appendKey appends a key as it was sent.
func appendKey(dst, key []byte, binary bool) []byte {
	if !binary {
		return append(dst, key...)
	}
	return base64.StdEncoding.AppendEncode(dst, key)
}

// number appends a flag of a reply with a number.
func (s *session) number(letter byte, n uint64) {
	s.out = appendUint(append(s.out, ' ', letter), n)
}

// metaReplyBytes is more than the longest reply to a meta command, but for the value: all
// flags with numbers, the opaque one, and the key as base64.
const metaReplyBytes = maxMetaWords*(2+maxDigits) + maxOpaque + cache.MaxKey*4/3 + 64
