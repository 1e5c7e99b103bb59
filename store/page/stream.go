package page

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// A column is worked on in blocks, so that each step is a loop over a small slice
// that stays in the first-level cache and on the stack.
const blockLength = 256 // values

// packer writes a column's residuals, small numbers that are mostly zero. A run
// of zeros, over any number of blocks, is written as 0 and its length less one.
type packer struct {
	dst   []byte
	zeros uint64 // not yet written
}

// flush writes the zeros that are pending. It ends a column.
func (p *packer) flush() {
	if p.zeros > 0 {
		p.dst = append(p.dst, 0)
		p.dst = binary.AppendUvarint(p.dst, p.zeros-1)
		p.zeros = 0
	}
}

// varints writes residuals as varints.
func (p *packer) varints(residuals []uint64) {
	for _, r := range residuals {
		if r == 0 {
			p.zeros++
			continue
		}
		p.flush()
		p.dst = binary.AppendUvarint(p.dst, r)
	}
}

// trimmed writes residuals without the zero bytes at their two ends: one byte
// with the number of zero bytes at the low end (upper half) and of the bytes kept
// (lower half, never 0), then these, the lowest first.
func (p *packer) trimmed(residuals []uint64) {
	for _, r := range residuals {
		if r == 0 {
			p.zeros++
			continue
		}
		p.flush()
		low := bits.TrailingZeros64(r) / 8
		kept := 8 - bits.LeadingZeros64(r)/8 - low
		p.dst = append(p.dst, byte(low<<4|kept))
		r >>= low * 8
		for range kept {
			p.dst = append(p.dst, byte(r))
			r >>= 8
		}
	}
}

// unpacker reads a page's body. The first thing found wrong stays in wrong; once
// it is set no column is read any more.
type unpacker struct {
	data   []byte
	at     int    // index in data of what comes next
	zeros  int    // of a run whose rest belongs to the next block
	column column // that is being read
	wrong  string // "" while all is well
}

const (
	cutShort = "it ends early"
	badRun   = "a run of zeros goes on behind its end"
)

func (u *unpacker) fail(what string) {
	if u.wrong == "" {
		u.wrong = what
	}
}

// begin is called before the first block of a column, and tells whether there is
// any use in reading it.
func (u *unpacker) begin(c column) bool {
	if u.wrong == "" {
		u.column = c
	}
	return u.wrong == ""
}

// end is called behind the last block of a column.
func (u *unpacker) end() {
	if u.zeros != 0 {
		u.fail(badRun)
	}
}

func (u *unpacker) uvarint() uint64 {
	x, n := binary.Uvarint(u.data[u.at:])
	if n <= 0 {
		u.fail("a number is malformed")
		return 0
	}
	u.at += n
	return x
}

// run begins a run of zeros; its 0 has been read.
func (u *unpacker) run() {
	length := u.uvarint()
	if length >= MaxBuckets {
		u.fail(badRun)
		return
	}
	u.zeros = int(length) + 1
}

// skip fills in what is left of a run and tells how much of block that was.
func (u *unpacker) skip(block []uint64) int {
	n := min(u.zeros, len(block))
	clear(block[:n])
	u.zeros -= n
	return n
}

// varints is the inverse of packer.varints.
func (u *unpacker) varints(block []uint64) {
	i := u.skip(block)
	for i < len(block) && u.wrong == "" {
		values, size := shortVarints(block[i:], u.data[u.at:])
		i += values
		u.at += size
		if i == len(block) {
			return
		}
		x := u.uvarint()
		if x == 0 {
			u.run()
			i += u.skip(block[i:])
			continue
		}
		block[i] = x
		i++
	}
}

// shortVarints reads varints until block is full, or one is 0 or longer than two
// bytes, or the end of data is near. It returns how many it read, and from how
// many bytes.
func shortVarints(block []uint64, data []byte) (values, size int) {
	for values < len(block) && size+1 < len(data) {
		low, high := uint64(data[size]), uint64(data[size+1])
		switch {
		case low == 0:
			return values, size
		case low < 0x80:
			block[values] = low
			size++
		case high < 0x80:
			block[values] = low&0x7f | high<<7
			size += 2
		default:
			return values, size
		}
		values++
	}
	return values, size
}

// trimmed is the inverse of packer.trimmed.
func (u *unpacker) trimmed(block []uint64) {
	i := u.skip(block)
	for i < len(block) && u.wrong == "" {
		if u.at == len(u.data) {
			u.fail(cutShort)
			return
		}
		control := int(u.data[u.at])
		u.at++
		if control == 0 {
			u.run()
			i += u.skip(block[i:])
			continue
		}
		low, kept := control>>4, control&15
		if kept == 0 || low+kept > 8 || kept > len(u.data)-u.at {
			u.fail("a trimmed float is malformed")
			return
		}
		block[i] = load(u.data[u.at:], kept) << (8 * low)
		u.at += kept
		i++
	}
}

// load is the number that the first n bytes of data hold, the lowest first; n is
// 1 to 8.
func load(data []byte, n int) uint64 {
	if len(data) >= 8 {
		return binary.LittleEndian.Uint64(data) & (math.MaxUint64 >> (64 - 8*n))
	}
	var x uint64
	for i, b := range data[:n] {
		x |= uint64(b) << (8 * i)
	}
	return x
}

// raw reads whole 64-bit values.
func (u *unpacker) raw(block []uint64) {
	if len(u.data)-u.at < 8*len(block) {
		u.fail(cutShort)
		return
	}
	for i := range block {
		block[i] = binary.LittleEndian.Uint64(u.data[u.at+8*i:])
	}
	u.at += 8 * len(block)
}
