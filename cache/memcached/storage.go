package memcached

import (
	"math"

	"carillon/cache"
)

// maxValue is the largest length of a data block that is understood; it must be refused then.
const maxValue = math.MaxInt32 - 2

// noItem is a CAS unique that no item has.
const noItem = math.MaxUint64

// storage is: set|add|replace|append|prepend <key> <flags> <exptime> <bytes> [noreply], and
// cas with <cas unique> before noreply.
func (s *session) storage(mode cache.Mode, compare bool) {
	s.mute()
	if s.tooLong() {
		return
	}
	flags, ok := parseUint32(s.word(2))
	expiry, ok2 := parseExpiry(s.word(3), s.cache.Now())
	size, ok3 := parseInt64(s.word(4))
	if !ok || !ok2 || !ok3 || size < 0 || size > maxValue {
		s.say(errFormat)
		return
	}
	s.write = cache.Write{Key: s.word(1), Flags: flags, Expiry: expiry, Mode: mode}
	if compare {
		if s.write.Compare, ok = parseUint64(s.word(5)); !ok {
			s.say(errFormat)
			return
		}
		if s.write.Compare == 0 {
			s.write.Compare = noItem
		}
	}
	s.meta = false
	if !s.cache.Fits(s.write.Key, flags, int(size)) {
		s.say(errTooLarge)
		s.tooLarge(int(size))
		return
	}
	s.need = int(size) + 2
}

// tooLarge passes over a data block that is. Who could not set a value must not go on
// reading the one before.
func (s *session) tooLarge(size int) {
	s.counts[storeTooLarge]++
	s.swallow = size + 2
	if s.write.Mode == cache.Set && s.write.Compare == 0 || s.meta {
		s.stopReading()
		s.cache.Delete(cache.Removal{Key: s.write.Key})
	}
}

// store carries out a storage command, now that its data block is there.
func (s *session) store(block []byte) {
	s.need = 0
	s.stopReading()
	s.counts[cmdSet]++
	end := len(block) - 2
	if block[end] != '\r' || block[end+1] != '\n' {
		if s.meta {
			s.quiet = false
		}
		s.say("CLIENT_ERROR bad data chunk")
		return
	}
	s.write.Value = block[:end]
	outcome, unique := s.cache.Store(s.write)
	s.write.Value = nil
	if s.write.Compare != 0 {
		s.compared(outcome)
	}
	switch outcome {
	case cache.TooLarge: // by append or prepend
		s.counts[storeTooLarge]++
		outcome = cache.NotStored
	case cache.OutOfSpace:
		s.counts[storeNoMemory]++
		s.fail(errNoMemory)
		return
	}
	if s.meta {
		s.metaStored(outcome, unique, end)
	} else {
		s.say(storedReplies[outcome])
	}
}

// storedReplies are those to storage commands, by outcome.
var storedReplies = [...]string{cache.Stored: "STORED", cache.NotStored: "NOT_STORED", cache.Exists: "EXISTS", cache.NotFound: "NOT_FOUND"}

// compared counts a command with a CAS unique.
func (s *session) compared(outcome cache.Outcome) {
	switch outcome {
	case cache.Stored:
		s.counts[casHits]++
	case cache.Exists:
		s.counts[casBadval]++
	case cache.NotFound:
		s.counts[casMisses]++
	}
}
