package cache

import (
	"encoding/binary"
	"strconv"
	"sync/atomic"
)

// Header of a chunk, in words; the text follows. Chunks are named by the offset of
// their first byte in the region.
const (
	chunkState   = 0 // expiry and marks; changes in place
	chunkUnique  = 1 // CAS unique; of a later piece, the offset of the first one
	chunkLengths = 2
	headerBytes  = 24

	// Free chunks are linked through the first two words.
	chunkNext = 0
	chunkPrev = 1

	keyAt   = len("VALUE ") // in the text
	nextLen = 8             // bytes at the end of a chunk that has a successor
)

// State word.
const (
	expiryMask    = 1<<32 - 1
	markReference = 1 << 32 // read since the clock's hand passed
	roundsAt      = 33      // how many rounds of the clock it has lasted
	roundsMask    = 3 << roundsAt
	oneRound      = 1 << roundsAt
	markFetched   = 1 << 35 // read at least once, as far as the hand has seen
	markStale     = 1 << 36
	markWon       = 1 << 37
	markBinary    = 1 << 38
	accessAt      = 39
	accessBits    = 25
	accessMask    = (1<<accessBits - 1) << accessAt

	// accessEvery is how many seconds late the time of the last access may be.
	accessEvery = 60
)

// lengths is the third word of a chunk.
type lengths uint64

// freeChunk marks a chunk that is nobody's. In one that is being filled the lengths are
// 0, and in a later piece of an item those of the line and the key.
const freeChunk lengths = 1 << 32

func newLengths(text, line, key int, generation uint64) lengths {
	return lengths(uint64(text) | uint64(line)<<32 | uint64(key)<<48 | generation<<56)
}

func (l lengths) text() int          { return int(uint32(l)) }
func (l lengths) line() int          { return int(uint16(l >> 32)) }
func (l lengths) key() int           { return int(uint8(l >> 48)) }
func (l lengths) generation() uint64 { return uint64(l >> 56) }
func (l lengths) value() int         { return l.text() - l.line() - 2 }

// bytes is what an item takes, apart from what its chunks have too much.
func (l lengths) bytes() int { return headerBytes + l.text() }

func (r *region) state(chunk uint64) *uint64 { return &r.words[chunk/8+chunkState] }

func (r *region) lengths(chunk uint64) lengths { return lengths(r.load(chunk/8 + chunkLengths)) }

func (r *region) setLengths(chunk uint64, l lengths) { r.store(chunk/8+chunkLengths, uint64(l)) }

// key is the key of a published item; it lies in the first chunk.
func (r *region) key(chunk uint64, l lengths) []byte {
	at := chunk + headerBytes + uint64(keyAt)
	return r.bytes[at : at+uint64(l.key()) : at+uint64(l.key())]
}

// lineBytes is the length of the line of an item.
func lineBytes(key int, flags uint32, value int) int {
	return keyAt + key + 1 + digits(uint64(flags)) + 1 + digits(uint64(value)) + 2
}

func digits(n uint64) int {
	d := 1
	for ; n >= 10; n /= 10 {
		d++
	}
	return d
}

// putLine writes the line of an item. line has the room for it.
func putLine(line, key []byte, flags uint32, value int) {
	b := append(line[:0], "VALUE "...)
	b = append(append(b, key...), ' ')
	b = append(strconv.AppendUint(b, uint64(flags), 10), ' ')
	b = strconv.AppendUint(b, uint64(value), 10)
	_ = append(b, '\r', '\n')
}

// flagsOf reads the number of flags in a line behind the key.
func flagsOf(line []byte, key int) uint32 {
	flags := uint32(0)
	for _, digit := range line[keyAt+key+1:] {
		if digit == ' ' {
			break
		}
		flags = flags*10 + uint32(digit-'0')
	}
	return flags
}

// extent is how much of a text that remains goes into the next chunk. All but the last
// chunk are of the largest class, and end with where it goes on.
func extent(remaining int) (here int, more bool) {
	if headerBytes+remaining <= maxChunk {
		return remaining, false
	}
	return maxChunk - headerBytes - nextLen, true
}

// next is the chunk that follows one of the largest class.
func (c *Cache) next(chunk uint64) uint64 {
	at := chunk + maxChunk - nextLen
	return binary.LittleEndian.Uint64(c.bytes[at:])
}

func (c *Cache) setNext(chunk, next uint64) {
	at := chunk + maxChunk - nextLen
	binary.LittleEndian.PutUint64(c.bytes[at:], next)
}

// eachPiece calls f with every chunk of an item and the part of the text in it, until
// it says false.
func (c *Cache) eachPiece(chunk uint64, text int, f func(chunk uint64, text []byte) bool) {
	for {
		here, more := extent(text)
		following := uint64(0)
		if more {
			following = c.next(chunk) // before f, which may give the chunk away
		}
		at := chunk + headerBytes
		if !f(chunk, c.bytes[at:at+uint64(here)]) || !more {
			return
		}
		chunk, text = following, text-here
	}
}

// dead tells that an item is expired or flushed.
func dead(state uint64, l lengths, now uint32, generation uint64) bool {
	expiry := uint32(state)
	return expiry != 0 && expiry <= now || l.generation() != generation
}

// mark sets a bit of a state word, and tells whether it was clear.
func mark(state *uint64, bit uint64) bool { return atomic.OrUint64(state, bit)&bit == 0 }
