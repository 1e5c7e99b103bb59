package clock

import (
	"math"
	"time"

	"carillon/object"
)

const (
	maxLogical = math.MaxUint16
	maxWall    = 1<<47 - 1 // the year 6429
	guardedBit = 1 << 63
)

// Stamp is what a version says. As a version it takes 16 bytes, big-endian in this
// order: a bit that is set if the write was guarded, 47 bits of wall time, 16 of the counter,
// 64 of the node.
//
// So versions compare like this, and any two nodes agree whatever came to them first. A
// guarded write is newer than any that was not. Of two of a kind the later wall time is
// newer; within a millisecond the higher counter; and of two that tie in both, which only
// writes that knew nothing of each other can, that of the node with the higher number.
type Stamp struct {
	Guarded bool   // written by compare-and-set: plain writes under this name never win any more
	Wall    int64  // milliseconds since the epoch, 0 to 2⁴⁷−1
	Logical uint16 // counts within a millisecond
	Node    uint64 // who wrote
}

// Version encodes a stamp. A wall time out of range becomes the nearest in it.
func (s Stamp) Version() object.Version {
	hi := uint64(min(max(s.Wall, 0), maxWall))<<16 | uint64(s.Logical)
	if s.Guarded {
		hi |= guardedBit
	}
	return object.Version{Hi: hi, Lo: s.Node}
}

// StampOf decodes a version; any has a meaning.
func StampOf(v object.Version) Stamp {
	return Stamp{
		Guarded: v.Hi&guardedBit != 0,
		Wall:    int64(v.Hi &^ guardedBit >> 16),
		Logical: uint16(v.Hi),
		Node:    v.Lo,
	}
}

// Time is the wall time.
func (s Stamp) Time() time.Time { return time.UnixMilli(s.Wall) }

// Guarded tells whether a version was written by compare-and-set.
func Guarded(v object.Version) bool { return v.Hi&guardedBit != 0 }

// Guard is the version as one written by compare-and-set.
func Guard(v object.Version) object.Version {
	v.Hi |= guardedBit
	return v
}

// Before is the smallest version of plain writes at a time: every plain write at an
// earlier time is older, none at that time or later is, and no guarded one.
func Before(t time.Time) object.Version { return Stamp{Wall: t.UnixMilli()}.Version() }
