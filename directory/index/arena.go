package index

import "carillon/slab"

// cellBytes is a cache line.
const cellBytes = 64

// arena is bytes of any length one behind the other, which are written once. They
// lie in cells, so what is read may have to be put together from several.
type arena struct {
	cells slab.Table[[cellBytes]byte]
	used  uint64 // bytes
}

// write appends b and returns where it stands.
func write[B []byte | string](a *arena, b B) (at uint64) {
	at = a.used
	a.used += uint64(len(b))
	a.cells.Grow(int(a.used/cellBytes) + 1)
	for to := at; len(b) > 0; {
		n := copy(a.from(to), b)
		b, to = b[n:], to+uint64(n)
	}
	return at
}

// from is the bytes at a place, up to the end of the cell.
func (a *arena) from(at uint64) []byte {
	return a.cells.At(uint32(at / cellBytes))[at%cellBytes:]
}

// read appends the n bytes at a place to b.
func (a *arena) read(b []byte, at uint64, n int) []byte {
	for n > 0 {
		piece := a.from(at)
		piece = piece[:min(n, len(piece))]
		b = append(b, piece...)
		at, n = at+uint64(len(piece)), n-len(piece)
	}
	return b
}

// length reads a number of at most two bytes, as appendNumber writes them.
func (a *arena) length(at uint64) (n int, next uint64) {
	first := a.from(at)[0]
	if first < 0x80 {
		return int(first), at + 1
	}
	return int(first&0x7f) | int(a.from(at + 1)[0])<<7, at + 2
}
