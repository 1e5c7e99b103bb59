package memcached

import (
	"bytes"

	"carillon/cache"
)

// metaCommand carries out m<letter>.
func (s *session) metaCommand(letter byte) {
	switch letter {
	case 'g':
		s.metaGet()
	case 's':
		s.metaSet()
	case 'd':
		s.metaDelete()
	case 'a':
		s.metaCount()
	case 'e':
		s.metaDebug()
	case 'n':
		s.out = append(s.out, "MN\r\n"...)
	default:
		s.say(errUnknown)
	}
}

// metaLine checks what the lines of mg, ms, md and ma have in common.
func (s *session) metaLine(tooMany string) bool {
	switch {
	case s.n < 2:
		s.say(errUnknown)
	case len(s.word(1)) > cache.MaxKey:
		s.say(errFormat)
	case s.n > maxMetaWords:
		s.say(tooMany)
	default:
		return true
	}
	return false
}

// metaGet is: mg <key> <flags>*.
func (s *session) metaGet() {
	if !s.metaLine("CLIENT_ERROR options flags are too long") {
		return
	}
	key, fault := s.parseFlags(2)
	if fault == "" && !s.opaqueFits(2) {
		fault = errOpaque
	}
	if fault != "" {
		s.say(fault)
		return
	}
	s.quiet = s.flags.has('q')
	if s.flags.has('T') {
		s.counts[cmdTouch]++
	}
	if !s.room(metaReplyBytes) {
		s.tooMuch()
		return
	}
	for {
		if item, ok := s.find(key); ok {
			s.metaHit(key, item)
			return
		}
		if !s.flags.has('N') {
			break
		}
		s.stopReading()
		outcome, unique := s.cache.Store(cache.Write{
			Key: key, Mode: cache.Add, Expiry: s.flags.vivify, Won: true, Binary: s.flags.has('b'), CAS: s.flags.cas,
		})
		if outcome == cache.Stored {
			s.find(key) // the item counts as read
			s.counts[cmdGet]--
			s.counts[getHits]++
			s.metaVivified(key, unique)
			return
		}
		if outcome != cache.NotStored { // else somebody stored it in between
			break
		}
	}
	s.metaMiss(key)
}

// find looks a key up, and counts the item as used unless the flags forbid it.
func (s *session) find(key []byte) (cache.Item, bool) {
	s.counts[cmdGet]++
	if s.flags.has('u') {
		return s.read().Peek(key)
	}
	return s.read().Get(key)
}

func (s *session) metaMiss(key []byte) {
	s.counts[getMisses]++
	if s.flags.has('T') {
		s.counts[touchMisses]++
	}
	if s.quiet {
		return
	}
	s.out = append(s.out, "EN"...)
	s.echoAll(2, key)
}

// echoAll ends a reply that only repeats what was asked.
func (s *session) echoAll(first int, key []byte) {
	for i := first; i < s.n; i++ {
		s.echo(s.word(i), key, s.flags.has('b'))
	}
	s.out = append(s.out, '\r', '\n')
}

// metaHit replies with an item. Flags change it and show it in the order in which they were sent.
func (s *session) metaHit(key []byte, item cache.Item) {
	s.counts[getHits]++
	if s.flags.has('v') && !s.room(metaReplyBytes+item.Len()+2) {
		s.tooMuch()
		return
	}
	s.metaStatus(item.Len())
	expiry, won := item.Expiry(), item.Won()
	recache := item.Stale() && !won
	for i := 2; i < s.n; i++ {
		switch flag := s.word(i); flag[0] {
		case 'T':
			expiry = s.flags.expiry
			s.touched(s.cache.Touch(key, expiry))
			s.counts[cmdTouch]--
		case 'R':
			recache = recache || !won && expiry != 0 && expiry < s.flags.recache
		case 's':
			s.number('s', uint64(item.Len()))
		case 't':
			s.out = appendRemaining(append(s.out, " t"...), expiry, s.cache.Now())
		case 'c':
			s.number('c', item.CAS())
		case 'f':
			s.number('f', uint64(item.Flags()))
		case 'l':
			s.number('l', uint64(item.Idle()))
		case 'h':
			s.number('h', bit(item.Fetched()))
		default:
			s.echo(flag, item.Key(), item.Binary())
		}
	}
	if recache && !item.Win() { // somebody else did in between
		recache, won = false, true
	}
	s.metaMarks(won, item.Stale(), recache)
	if s.flags.has('v') {
		s.out = append(item.AppendValue(s.out), '\r', '\n')
	}
}

// metaStatus begins the reply to mg and ma.
func (s *session) metaStatus(size int) {
	if s.flags.has('v') {
		s.out = appendUint(append(s.out, "VA "...), uint64(size))
	} else {
		s.out = append(s.out, "HD"...)
	}
}

// metaMarks ends the line with what the client should know of recaching.
func (s *session) metaMarks(won, stale, recache bool) {
	if won {
		s.out = append(s.out, " Z"...)
	}
	if stale {
		s.out = append(s.out, " X"...)
	}
	if recache {
		s.out = append(s.out, " W"...)
	}
	s.out = append(s.out, '\r', '\n')
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// metaVivified replies with an empty item that was made because there was none.
func (s *session) metaVivified(key []byte, unique uint64) {
	s.metaStatus(0)
	expiry := uint32(0)
	for i := 2; i < s.n; i++ {
		switch flag := s.word(i); flag[0] {
		case 'N':
			expiry = s.flags.vivify
		case 'T':
			expiry = s.flags.expiry
			s.touched(s.cache.Touch(key, expiry))
			s.counts[cmdTouch]--
		case 't':
			s.out = appendRemaining(append(s.out, " t"...), expiry, s.cache.Now())
		case 'c':
			s.number('c', unique)
		case 's', 'f', 'l', 'h':
			s.number(flag[0], 0)
		default:
			s.echo(flag, key, s.flags.has('b'))
		}
	}
	s.metaMarks(false, false, true)
	if s.flags.has('v') {
		s.out = append(s.out, '\r', '\n')
	}
}

// metaDebug is: me <key> [b].
func (s *session) metaDebug() {
	if s.n < 2 || len(s.word(1)) > cache.MaxKey {
		s.say(errFormat)
		return
	}
	s.counts[cmdMeta]++
	key := s.word(1)
	if s.n > 2 && bytes.Equal(s.word(2), []byte("b")) {
		s.n = 3
		decoded, fault := s.parseFlags(2)
		if fault != "" {
			s.say(errFormat)
			return
		}
		key = decoded
	}
	item, ok := s.read().Peek(key)
	if !ok {
		s.say("EN")
		return
	}
	if !s.room(metaReplyBytes) {
		s.tooMuch()
		return
	}
	s.out = append(appendKey(append(s.out, "ME "...), item.Key(), item.Binary()), ' ')
	s.describe(item)
	s.out = append(s.out, '\r', '\n')
}
