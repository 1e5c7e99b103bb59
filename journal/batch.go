package journal

import "time"

// batch is what goes into one message.
type batch struct {
	sections []batched
	bytes    int
	points   int
	shares   []share // by partition
	regions  []region
	at       time.Time // the message's
}

// batched is a section in a batch.
type batched struct {
	*section
	request *request
}

// share is what a partition has of a batch.
type share struct {
	items, bytes int
	end          int // in the message; while that is put together, where the next section goes
}

func (b *batch) clear() {
	clear(b.sections) // the requests are the senders' again
	b.sections, b.bytes, b.points = b.sections[:0], 0, 0
	clear(b.shares)
}

// add takes a section of a request, unless the message gets too large by it. A
// batch takes at least one.
func (b *batch) add(r *request, index, limitBytes int) bool {
	s := &r.sections[index]
	length, of := s.to-s.from, &b.shares[s.partition]
	if len(b.sections) > 0 && (b.bytes+length > min(groupBytes, limitBytes) || of.items+s.items > MaxMessageItems) {
		return false
	}
	b.sections = append(b.sections, batched{s, r})
	b.bytes += length
	b.points += s.points
	of.items += s.items
	of.bytes += length
	return true
}

// message is the batch as bytes of its own, for readers keep them. A partition's
// sections follow each other in order of arrival.
func (b *batch) message(at time.Time) []byte {
	b.at, b.regions = at, b.regions[:0]
	for partition := range b.shares {
		if s := &b.shares[partition]; s.bytes > 0 {
			b.regions = append(b.regions, region{partition, s.bytes})
		}
	}
	begin := headerBytes + len(b.regions)*entryBytes
	message := make([]byte, begin+b.bytes, begin+b.bytes+trailerBytes)
	appendHeader(message[:0], at, b.regions)
	next := begin
	for _, r := range b.regions {
		b.shares[r.partition].end = next
		next += r.bytes
	}
	for _, s := range b.sections {
		end := &b.shares[s.partition].end
		*end += copy(message[*end:], s.request.encoded[s.from:s.to])
	}
	return appendTrailer(message)
}

// of is what the message holds for a partition.
func (b *batch) of(partition int, message []byte) []byte {
	s := &b.shares[partition]
	return message[s.end-s.bytes : s.end]
}
