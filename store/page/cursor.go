package page

import (
	"encoding/binary"
	"math"
)

// cursor reads bytes that may be anything. The first thing found wrong stays in
// wrong; from then on what is read means nothing.
type cursor struct {
	data  []byte
	at    int    // index in data of what comes next
	wrong string // "" while all is well
}

const cutShort = "it ends early"

func (c *cursor) fail(what string) {
	if c.wrong == "" {
		c.wrong = what
	}
}

func (c *cursor) byte() byte {
	if c.at >= len(c.data) {
		c.fail(cutShort)
		return 0
	}
	c.at++
	return c.data[c.at-1]
}

func (c *cursor) uvarint() uint64 {
	if c.at < len(c.data) && c.data[c.at] < 0x80 {
		c.at++
		return uint64(c.data[c.at-1])
	}
	x, n := binary.Uvarint(c.data[c.at:])
	if n <= 0 {
		c.fail("a number is malformed")
		return 0
	}
	c.at += n
	return x
}

func (c *cursor) varint() uint64 { return unzigzag(c.uvarint()) }

// take is the next n bytes, nil if there are fewer.
func (c *cursor) take(n uint64) []byte {
	if n > uint64(len(c.data)-c.at) {
		c.fail(cutShort)
		return nil
	}
	c.at += int(n)
	return c.data[c.at-int(n) : c.at]
}

func (c *cursor) u64() uint64 {
	if b := c.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// packed is the inverse of appendPacked.
func (c *cursor) packed(xs []uint64) {
	for len(xs) > 0 && c.wrong == "" {
		n := min(len(xs), blockLength)
		c.block(xs[:n])
		xs = xs[n:]
	}
}

func (c *cursor) block(xs []uint64) {
	head := int(c.byte())
	form, width := head/widths, head%widths
	var least uint64
	if form == packAbove || form == packAboveExcept {
		least = c.varint()
	}
	var exceptions []byte
	var upper int
	if form >= packZigzagExcept {
		exceptions = c.take(uint64(c.byte()))
		upper = c.at
		for range exceptions {
			c.uvarint()
		}
	}
	size := packedBytes(len(xs), width)
	if c.wrong != "" || size > len(c.data)-c.at {
		c.fail(cutShort)
		return
	}
	bitsInto(xs, c.data[c.at:], width)
	c.at += size
	if len(exceptions) > 0 {
		c.patch(xs, exceptions, upper, width)
	}
	switch form {
	case packZigzag, packZigzagExcept:
		if width > 0 || len(exceptions) > 0 {
			unzigzagAll(xs)
		}
	default:
		addAll(xs, least)
	}
}

// patch puts the exceptions' upper bits in, which stand at an index of data.
func (c *cursor) patch(xs []uint64, positions []byte, at, width int) {
	for _, i := range positions {
		x, n := binary.Uvarint(c.data[at:])
		at += n
		if int(i) >= len(xs) {
			c.fail("an exception lies outside its block")
			return
		}
		xs[i] |= x << width
	}
}

// trimmed is the inverse of appendTrimmed.
func (c *cursor) trimmed(xs []uint64) {
	for i := 0; i < len(xs) && c.wrong == ""; {
		control := int(c.byte())
		if control == 0 {
			run := c.uvarint()
			if run >= uint64(len(xs)-i) {
				c.fail("a run of zeros goes on behind its end")
				return
			}
			clear(xs[i : i+int(run)+1])
			i += int(run) + 1
			continue
		}
		low, kept := control>>4, control&15
		if kept == 0 || low+kept > 8 {
			c.fail("a trimmed float is malformed")
			return
		}
		xs[i] = c.load(kept) << (8 * low)
		i++
	}
}

// load is the number that the next n bytes hold, the lowest first; n is 1 to 8.
func (c *cursor) load(n int) uint64 {
	if len(c.data)-c.at >= 8 {
		c.at += n
		return binary.LittleEndian.Uint64(c.data[c.at-n:]) & (math.MaxUint64 >> (64 - 8*n))
	}
	var x uint64
	for i, b := range c.take(uint64(n)) {
		x |= uint64(b) << (8 * i)
	}
	return x
}
