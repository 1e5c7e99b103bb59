package memcached

import (
	"bytes"

	"carillon/cache"
)

// Replies in memcached's words.
const (
	errUnknown  = "ERROR"
	errFormat   = "CLIENT_ERROR bad command line format"
	errExpiry   = "CLIENT_ERROR invalid exptime argument"
	errTooLarge = "SERVER_ERROR object too large for cache"
	errNoMemory = "SERVER_ERROR out of memory storing object"
	errNoReply  = "SERVER_ERROR out of memory writing get response"
	errNumber   = "CLIENT_ERROR cannot increment or decrement non-numeric value"
)

// command carries out a line. The most frequent one, a get of one key, is told apart first.
func (s *session) command(line []byte) {
	const get = "get "
	if len(line) > len(get) && len(line) <= len(get)+cache.MaxKey && string(line[:len(get)]) == get {
		key := line[len(get):]
		if bytes.IndexByte(key, ' ') < 0 && bytes.IndexByte(key, 0) < 0 {
			if s.value(key, false) {
				s.out = append(s.out, "END\r\n"...)
			}
			return
		}
	}
	s.line, s.quiet = line, false
	s.n = split(line, &s.words)
	if s.n == 0 {
		s.say(errUnknown)
		return
	}
	name := s.word(0)
	if len(name) == 2 && name[0] == 'm' {
		s.metaCommand(name[1])
		return
	}
	s.classic(string(name))
}

// most is a number of words that no line has: there is no upper bound.
const most = maxWords + 1

// classic carries out a command of the old kind.
func (s *session) classic(name string) {
	switch name {
	case "get", "gets", "bget":
		s.when(2, most, func() { s.get(name == "gets") })
	case "gat", "gats":
		s.when(2, most, func() { s.getAndTouch(name == "gats") })
	case "set":
		s.when(5, 6, func() { s.storage(cache.Set, false) })
	case "add":
		s.when(5, 6, func() { s.storage(cache.Add, false) })
	case "replace":
		s.when(5, 6, func() { s.storage(cache.Replace, false) })
	case "append":
		s.when(5, 6, func() { s.storage(cache.Append, false) })
	case "prepend":
		s.when(5, 6, func() { s.storage(cache.Prepend, false) })
	case "cas":
		s.when(6, 7, func() { s.storage(cache.Set, true) })
	case "delete":
		s.when(2, 4, s.delete)
	case "incr", "decr":
		s.when(3, 4, func() { s.count(name == "decr") })
	case "touch":
		s.when(3, 4, s.touch)
	default:
		s.administrative(name)
	}
}

func (s *session) administrative(name string) {
	switch name {
	case "flush_all":
		s.when(1, 3, s.flushAll)
	case "verbosity":
		s.when(2, 3, s.verbosity)
	case "version":
		s.say("VERSION " + s.server.config.Version)
	case "stats":
		s.stats()
	case "lru_crawler":
		s.crawler()
	case "shutdown":
		s.say("ERROR: shutdown not enabled")
	case "quit":
		s.closing = true
	default:
		s.say(errUnknown)
	}
}

// when calls f if the line has so many words, the command included.
func (s *session) when(least, most int, f func()) {
	if s.n < least || s.n > most {
		s.say(errUnknown)
		return
	}
	f()
}

// delete is: delete <key> [0] [noreply].
func (s *session) delete() {
	if s.n > 2 {
		zero := string(s.word(2)) == "0"
		s.mute()
		if !(s.n == 3 && (zero || s.quiet) || s.n == 4 && zero && s.quiet) {
			s.say("CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]")
			return
		}
	}
	if s.tooLong() {
		return
	}
	s.stopReading()
	if s.cache.Delete(cache.Removal{Key: s.word(1)}) != cache.Stored {
		s.counts[deleteMisses]++
		s.say("NOT_FOUND")
		return
	}
	s.counts[deleteHits]++
	s.say("DELETED")
}

// count is: incr|decr <key> <delta> [noreply].
func (s *session) count(down bool) {
	s.mute()
	if s.tooLong() {
		return
	}
	delta, ok := parseUint64(s.word(2))
	if !ok {
		s.say("CLIENT_ERROR invalid numeric delta argument")
		return
	}
	s.stopReading()
	outcome, value, _ := s.cache.Count(cache.Count{Key: s.word(1), Delta: delta, Down: down})
	s.counted(outcome, down)
	switch {
	case outcome == cache.NotFound:
		s.say("NOT_FOUND")
	case outcome == cache.NotNumber:
		s.say(errNumber)
	case outcome != cache.Stored:
		s.say("SERVER_ERROR out of memory")
	case !s.quiet:
		s.out = append(appendUint(s.out, value), '\r', '\n')
	}
}

// counted counts a command that counts.
func (s *session) counted(outcome cache.Outcome, down bool) {
	hits, misses := incrHits, incrMisses
	if down {
		hits, misses = decrHits, decrMisses
	}
	switch outcome {
	case cache.Stored:
		s.counts[hits]++
	case cache.NotFound:
		s.counts[misses]++
	case cache.Exists:
		s.counts[casBadval]++
	}
}

// touch is: touch <key> <exptime> [noreply].
func (s *session) touch() {
	s.mute()
	if s.tooLong() {
		return
	}
	expiry, ok := parseExpiry(s.word(2), s.cache.Now())
	if !ok {
		s.say(errExpiry)
		return
	}
	s.stopReading()
	s.counts[cmdTouch]++
	if s.cache.Touch(s.word(1), expiry) != cache.Stored {
		s.counts[touchMisses]++
		s.say("NOT_FOUND")
		return
	}
	s.counts[touchHits]++
	s.say("TOUCHED")
}

// flushAll is: flush_all [exptime] [noreply].
func (s *session) flushAll() {
	s.mute()
	s.counts[cmdFlush]++
	at := s.cache.Now()
	if words := s.n - 1; words > 1 || words == 1 && !s.quiet {
		delay, ok := parseInt64(s.word(1))
		if !ok {
			s.say(errExpiry)
			return
		}
		if delay > 0 {
			at, _ = parseExpiry(s.word(1), at)
		}
	}
	s.stopReading()
	s.cache.Flush(at)
	s.say("OK")
}

// verbosity is: verbosity <level> [noreply]. What is logged is not for clients to say.
func (s *session) verbosity() {
	s.mute()
	if _, ok := parseUint32(s.word(1)); !ok {
		s.say(errFormat)
		return
	}
	s.say("OK")
}
