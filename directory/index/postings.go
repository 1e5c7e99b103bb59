package index

import (
	"encoding/binary"

	"carillon/slab"
)

// postings is the lists of series that pairs have, for those with more than one.
//
// A list is the distances from one number to the next, as uvarints, in a chain of
// blocks. A distance is never 0 and never stands in two blocks, and memory is zeroed,
// so a byte of 0 where a distance should begin says that the block ends there. The
// first block of a chain is small and the next one larger, because most lists are
// short: labels with a value for each host or each process make most of them.
type postings struct {
	lists slab.Table[list]
	count uint32 // lists, noList included

	cells slab.Table[[cellBytes]byte]
	used  uint32             // cells, the first of which is none
	open  [len(blocks)]block // where the next block of each size will be, if in a cell that has others
}

// list is one chain.
type list struct {
	head, tail block
	last       uint32 // the number in it that was added last
	count      uint32 // of numbers, which leaves out the one before the list
	links      uint16 // blocks before tail, as far as they have a size of their own
	fill       uint16 // bytes of tail that are taken
}

// noList is the number of no list, which is what a new pair has.
const noList = 0

// block is where a block begins, in units of the smallest. 0 is none.
type block uint32

// blocks is the sizes of blocks by their place in a chain; all further ones have the
// last size, a cell. The last four bytes are the next block.
var blocks = [...]int{16, 32, 64}

const (
	unitBytes = 16
	linkBytes = 4
)

func (p *postings) bytes() int64 {
	return int64(p.used)*p.cells.RowBytes() + int64(p.count)*p.lists.RowBytes()
}

// add appends a series to a list, which it makes if there is none. Before the list
// comes first, which is in no block.
func (p *postings) add(number *uint32, first, series uint32) {
	if *number == noList {
		*number = p.newList(first)
	}
	l := p.lists.At(*number)
	var space [5]byte
	distance := appendNumber(space[:0], series-l.last)
	if room := p.data(l.tail, int(l.links)); int(l.fill)+len(distance) > len(room) {
		p.extend(l)
	}
	copy(p.data(l.tail, int(l.links))[l.fill:], distance)
	l.fill += uint16(len(distance))
	l.last = series
	l.count++
}

func (p *postings) newList(first uint32) uint32 {
	p.count = max(p.count, noList+1)
	number := p.count
	p.count++
	p.lists.Grow(int(p.count))
	b := p.allocate(0)
	*p.lists.At(number) = list{head: b, tail: b, last: first}
	return number
}

// extend appends a block to a chain.
func (p *postings) extend(l *list) {
	links := min(int(l.links)+1, len(blocks)-1)
	b := p.allocate(links)
	binary.LittleEndian.PutUint32(p.link(l.tail, int(l.links)), uint32(b))
	l.tail, l.links, l.fill = b, uint16(links), 0
}

// allocate is an empty block of one of the sizes. A block never stands in two cells.
func (p *postings) allocate(size int) block {
	b := p.open[size]
	if b == 0 {
		p.used = max(p.used, 1)
		p.cells.Grow(int(p.used) + 1)
		b = block(p.used * (cellBytes / unitBytes))
		p.used++
	}
	p.open[size] = b + block(blocks[size]/unitBytes)
	if p.open[size]%(cellBytes/unitBytes) == 0 {
		p.open[size] = 0 // the cell is full
	}
	return b
}

func (p *postings) bytesOf(b block, size int) []byte {
	cell := p.cells.At(uint32(b) / (cellBytes / unitBytes))
	return cell[b%(cellBytes/unitBytes)*unitBytes:][:blocks[size]]
}

// data is the bytes of a block for numbers, and link those for the next block.
func (p *postings) data(b block, size int) []byte {
	return p.bytesOf(b, size)[:blocks[size]-linkBytes]
}

func (p *postings) link(b block, size int) []byte {
	return p.bytesOf(b, size)[blocks[size]-linkBytes:]
}

// size is how many numbers a list has.
func (p *postings) size(number uint32) int {
	if number == noList {
		return 0
	}
	return int(p.lists.At(number).count)
}

// reader reads a list, and the number before it, up to a limit.
type reader struct {
	postings *postings
	block    block // the next one
	size     int   // its place in blocks
	last     uint32
	limit    uint32
	begun    bool
}

// piece is some numbers of a list, those of one block at most.
type piece struct {
	numbers [cellBytes]uint32
	n       int
}

func (p *postings) read(number, first, limit uint32) reader {
	r := reader{postings: p, last: first, limit: limit}
	if number != noList {
		r.block = p.lists.At(number).head
	}
	return r
}

// next reads the next numbers, or tells that there are none.
func (r *reader) next(some *piece) bool {
	switch {
	case !r.begun:
		r.begun, some.numbers[0], some.n = true, r.last, 1
	case r.block == 0:
		return false
	default:
		some.n = decode(&some.numbers, r.postings.data(r.block, r.size), r.last)
		r.block = block(binary.LittleEndian.Uint32(r.postings.link(r.block, r.size)))
		r.size = min(r.size+1, len(blocks)-1)
	}
	for some.n > 0 && some.numbers[some.n-1] >= r.limit {
		some.n--
		r.block = 0
	}
	if some.n == 0 {
		return false
	}
	r.last = some.numbers[some.n-1]
	return true
}

// decode reads the numbers of a block, which follow last.
func decode(numbers *[cellBytes]uint32, data []byte, last uint32) (n int) {
	for i := 0; i < len(data) && data[i] != 0; n++ {
		distance := uint32(data[i] & 0x7f)
		for shift := 7; data[i] >= 0x80; shift += 7 {
			i++
			distance |= uint32(data[i]&0x7f) << shift
		}
		i++
		last += distance
		numbers[n%cellBytes] = last
	}
	return n
}
