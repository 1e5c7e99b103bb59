package memcached

import "carillon/cache"

// metaSet is: ms <key> <bytes> <flags>*, and a data block.
func (s *session) metaSet() {
	if s.n == 2 && len(s.word(1)) <= cache.MaxKey {
		s.say(errFormat)
		return
	}
	if !s.metaLine("CLIENT_ERROR options flags too long") {
		return
	}
	size, ok := parseInt64(s.word(2))
	if !ok || size < 0 || size > maxValue {
		s.say(errFormat)
		return
	}
	key, fault := s.parseFlags(3)
	if fault == "" && !s.opaqueFits(3) {
		fault = errOpaque
	}
	f := &s.flags
	s.write = cache.Write{
		Key: key, Flags: f.client, Expiry: f.expiry, Compare: f.compare, CAS: f.cas,
		Vivify: f.has('N'), Binary: f.has('b'), Invalidate: f.has('I'),
	}
	var known bool
	if s.write.Mode, known = storeMode(f.mode); fault == "" && !known {
		fault = "CLIENT_ERROR invalid mode for ms M token"
	}
	if fault != "" {
		s.swallow = int(size) + 2
		s.say(fault)
		return
	}
	s.meta, s.quiet = true, f.has('q')
	s.metaWrite()
	if !s.cache.Fits(key, f.client, int(size)) {
		s.fail(errTooLarge)
		s.tooLarge(int(size))
		return
	}
	s.need = int(size) + 2
}

// metaWrite sees to what the modes and flags of ms mean together.
func (s *session) metaWrite() {
	w := &s.write
	if w.Mode == cache.Set || w.Mode == cache.Replace {
		w.Compare = s.flags.strict()
	}
	if w.Compare != 0 && w.Mode == cache.Replace {
		w.Mode = cache.Set // with a CAS unique both want an item
	}
	w.Invalidate = w.Invalidate && w.Compare != 0 && w.Mode == cache.Set
	if w.Mode >= cache.Append && w.Vivify {
		w.Expiry = s.flags.vivify
	}
}

func storeMode(letter byte) (mode cache.Mode, ok bool) {
	switch letter {
	case 0, 'S', 's':
		return cache.Set, true
	case 'E', 'e':
		return cache.Add, true
	case 'A', 'a':
		return cache.Append, true
	case 'P', 'p':
		return cache.Prepend, true
	case 'R', 'r':
		return cache.Replace, true
	}
	return 0, false
}

// metaStored replies to ms.
func (s *session) metaStored(outcome cache.Outcome, unique uint64, size int) {
	if outcome == cache.Stored && s.quiet {
		return
	}
	if !s.room(metaReplyBytes) {
		s.tooMuch()
		return
	}
	s.out = append(s.out, metaReplies[outcome]...)
	for i := 3; i < s.n; i++ {
		switch flag := s.word(i); flag[0] {
		case 'c':
			s.number('c', unique)
		case 's':
			s.number('s', uint64(size))
		default:
			s.echo(flag, s.write.Key, s.write.Binary)
		}
	}
	s.out = append(s.out, '\r', '\n')
}

// metaReplies are those to meta commands that change something, by outcome.
var metaReplies = [...]string{cache.Stored: "HD", cache.NotStored: "NS", cache.Exists: "EX", cache.NotFound: "NF"}

const errFlags = "CLIENT_ERROR invalid or duplicate flag"

// metaDelete is: md <key> <flags>*. With p, which only we have, it is for all keys that
// begin so.
func (s *session) metaDelete() {
	if !s.metaLine("CLIENT_ERROR options flags too long") {
		return
	}
	key, fault := s.parseFlags(2)
	if fault != "" {
		s.say(errFlags)
		return
	}
	if !s.opaqueFits(2) {
		s.say(errOpaque)
		return
	}
	if !s.room(metaReplyBytes) {
		s.tooMuch()
		return
	}
	f := &s.flags
	s.quiet = f.has('q')
	s.stopReading()
	if f.has('p') {
		s.deletePrefix(key)
		return
	}
	outcome := s.cache.Delete(cache.Removal{
		Key: key, Compare: f.strict(), Invalidate: f.has('I'), Clear: f.has('x'),
		CAS: f.cas, Expiry: f.expiry, SetExpiry: f.has('T'),
	})
	switch outcome {
	case cache.Stored:
		s.counts[deleteHits]++
		if s.quiet {
			return
		}
	case cache.OutOfSpace:
		s.fail(errNoMemory)
		return
	default:
		s.counts[deleteMisses]++
	}
	s.out = append(s.out, metaReplies[outcome]...)
	s.echoAll(2, key)
}

func (s *session) deletePrefix(prefix []byte) {
	deleted := s.cache.DeletePrefix(prefix)
	s.counts[prefixDeleted] += uint64(deleted)
	if s.quiet {
		return
	}
	s.out = append(s.out, "HD"...)
	s.number('p', uint64(deleted))
	s.echoAll(2, prefix)
}

// metaCount is: ma <key> <flags>*.
func (s *session) metaCount() {
	if !s.metaLine("CLIENT_ERROR options flags too long") {
		return
	}
	key, fault := s.parseFlags(2)
	f := &s.flags
	down := f.mode == 'D' || f.mode == 'd' || f.mode == '-'
	switch {
	case fault != "":
		fault = errFlags
	case !down && f.mode != 0 && f.mode != 'I' && f.mode != 'i' && f.mode != '+':
		fault = "CLIENT_ERROR invalid mode for ma M token"
	case !s.opaqueFits(2):
		fault = errOpaque
	}
	if fault != "" {
		s.say(fault)
		return
	}
	if !s.room(metaReplyBytes) {
		s.tooMuch()
		return
	}
	s.quiet = f.has('q')
	before, found := uint32(0), false
	if f.has('t') {
		var item cache.Item
		if item, found = s.read().Peek(key); found {
			before = item.Expiry()
		}
	}
	s.stopReading()
	count := cache.Count{
		Key: key, Delta: f.delta, Down: down, Compare: f.compare, CAS: f.cas, Vivify: f.has('N'), Initial: f.initial,
		Expiry: f.vivify, SetExpiry: f.has('T'), Binary: f.has('b'),
	}
	if count.SetExpiry {
		count.Expiry = f.expiry
	}
	outcome, value, unique := s.cache.Count(count)
	s.counted(outcome, down)
	switch outcome {
	case cache.Stored:
		s.metaCounted(key, value, unique, before, found)
	case cache.NotNumber:
		s.fail(errNumber)
	case cache.OutOfSpace:
		s.fail("SERVER_ERROR out of memory")
	default:
		s.out = append(s.out, metaReplies[outcome]...)
		s.echoAll(2, key)
	}
}

// metaCounted replies to ma; expiry is that of the item before, if there was one.
func (s *session) metaCounted(key []byte, value, unique uint64, expiry uint32, found bool) {
	if s.quiet {
		return
	}
	var room [maxDigits]byte
	text := appendUint(room[:0], value)
	s.metaStatus(len(text))
	for i := 2; i < s.n; i++ {
		switch flag := s.word(i); flag[0] {
		case 'c':
			s.number('c', unique)
		case 't':
			s.out = appendRemaining(append(s.out, " t"...), expiry, s.cache.Now())
		case 'T':
			expiry = s.flags.expiry
		case 'N':
			if !found {
				expiry = s.flags.vivify
			}
		default:
			s.echo(flag, key, s.flags.has('b'))
		}
	}
	s.out = append(s.out, '\r', '\n')
	if s.flags.has('v') {
		s.out = append(append(s.out, text...), '\r', '\n')
	}
}
