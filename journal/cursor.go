package journal

import (
	"encoding/binary"
	"fmt"
)

// cursor reads the parts of a partition. After the first error every read returns
// nothing, so that callers check once for a whole column.
type cursor struct {
	data  []byte
	at    int
	items int // how many more parts, definitions, metadata and points are allowed
	err   error
}

// fail records what is wrong with what was just read.
func (c *cursor) fail(what, why string) { c.failAt(c.at, what, why) }

func (c *cursor) failAt(at int, what, why string) {
	if c.err == nil {
		c.err = fmt.Errorf("%s at byte %d: %s", what, at, why)
	}
	c.at = len(c.data)
}

// spend takes n from the items a partition may still have in a message.
func (c *cursor) spend(what string, n uint64) {
	if n > uint64(c.items) {
		c.fail(what, fmt.Sprintf("more than %d items in one message", MaxMessageItems))
		return
	}
	c.items -= int(n)
}

func (c *cursor) uvarint(what string) uint64 {
	if c.at < len(c.data) && c.data[c.at] < 0x80 {
		c.at++
		return uint64(c.data[c.at-1])
	}
	v, n := binary.Uvarint(c.data[c.at:])
	if n <= 0 {
		c.fail(what, "number is cut off or has more than 64 bits")
		return 0
	}
	c.at += n
	return v
}

// count reads how many entries follow: at least one, and no more than twice the
// bytes that are left, for no entry takes less than half a byte. So what is left
// bounds what is allocated for them.
func (c *cursor) count(what string) int {
	n := c.uvarint(what)
	if c.err != nil {
		return 0
	}
	if left := uint64(len(c.data) - c.at); n == 0 || n > 2*left {
		c.fail(what, fmt.Sprintf("%d entries in %d bytes", n, left))
		return 0
	}
	if c.spend(what, n); c.err != nil {
		return 0
	}
	return int(n)
}

// length reads how many bytes of something there are: no more than all.
func (c *cursor) length(what string) uint64 {
	n := c.uvarint(what)
	if left := uint64(len(c.data) - c.at); n > left {
		c.fail(what, fmt.Sprintf("wants %d bytes, %d are left", n, left))
		return 0
	}
	return n
}

// bytes returns the next n bytes, not copied.
func (c *cursor) bytes(what string, n uint64) []byte {
	if left := uint64(len(c.data) - c.at); n > left {
		c.fail(what, fmt.Sprintf("wants %d bytes, %d are left", n, left))
	}
	if c.err != nil {
		return nil
	}
	c.at += int(n)
	return c.data[c.at-int(n) : c.at]
}

func (c *cursor) string(what string) string {
	return string(c.bytes(what, c.length(what)))
}
