package index

import "carillon/slab"

// rowsAMark is how many rows stand between two whose place is noted. The others are
// found by walking along the lengths, most of which share a cache line.
const rowsAMark = 8

// rows is the rows of all series by number. Each is its length in bytes and the
// numbers of its pairs.
type rows struct {
	text  arena
	marks slab.Table[uint64] // places of rows 0, rowsAMark, …
	count uint32
}

func (r *rows) bytes() int64 {
	return int64(r.text.used) + int64(r.count/rowsAMark)*r.marks.RowBytes()
}

func (r *rows) add(row []byte) {
	var space [2]byte
	at := write(&r.text, appendNumber(space[:0], uint32(len(row))))
	write(&r.text, row)
	if mark := r.count / rowsAMark; r.count%rowsAMark == 0 {
		r.marks.Grow(int(mark) + 1)
		*r.marks.At(mark) = at
	}
	r.count++
}

// find is where a row stands, and its length.
func (r *rows) find(number uint32) (at uint64, length int) {
	at = *r.marks.At(number / rowsAMark)
	length, at = r.text.length(at)
	for range number % rowsAMark {
		length, at = r.text.length(at + uint64(length))
	}
	return at, length
}

// appendTo appends a row to b.
func (r *rows) appendTo(b []byte, number uint32) []byte {
	at, length := r.find(number)
	return r.text.read(b, at, length)
}

// appendNumber appends a number as uvarint.
func appendNumber(b []byte, n uint32) []byte {
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

// cutNumber takes a number off a row that appendNumber wrote.
func cutNumber(row []byte) (n uint32, rest []byte) {
	for i, shift := 0, 0; ; i, shift = i+1, shift+7 {
		n |= uint32(row[i]&0x7f) << shift
		if row[i] < 0x80 {
			return n, row[i+1:]
		}
	}
}
