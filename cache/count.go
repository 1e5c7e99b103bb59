package cache

import (
	"bytes"
	"strconv"
)

// Count is a command for Count: it adds to a value that is a decimal number.
type Count struct {
	Key       []byte
	Delta     uint64
	Down      bool   // subtract; the result is at least 0. Up wraps around at 2^64
	Compare   uint64 // if not 0, the CAS unique that the item must have
	CAS       uint64 // if not 0, the new CAS unique
	Vivify    bool   // what is not there begins with Initial, and Expiry
	Initial   uint64
	SetExpiry bool // of an item that is there
	Expiry    uint32
	Binary    bool // the key came as base64
}

// Count carries out a command: Stored, NotFound, Exists, NotNumber or OutOfSpace. value is
// the new one, unique its CAS unique.
func (c *Cache) Count(n Count) (outcome Outcome, value, unique uint64) {
	outcome, unique = c.change(n.Key, n.CAS, func(old Item, found bool) (content, Outcome) {
		next, o := n.apply(old, found)
		value = next.number
		return next, o
	})
	return outcome, value, unique
}

func (n *Count) apply(old Item, found bool) (content, Outcome) {
	if !found {
		if !n.Vivify {
			return content{}, NotFound
		}
		fresh := content{expiry: n.Expiry, number: n.Initial, width: digits(n.Initial)}
		if n.Binary {
			fresh.marks = markBinary
		}
		return fresh, Stored
	}
	if n.Compare != 0 && n.Compare != old.CAS() {
		return content{}, Exists
	}
	value, ok := number(old)
	switch {
	case !ok:
		return content{}, NotNumber
	case !n.Down:
		value += n.Delta
	default:
		value -= min(value, n.Delta)
	}
	next := copyOf(old)
	next.old = Item{}
	next.number, next.width = value, max(digits(value), old.Len()) // as with memcached
	if n.SetExpiry {
		next.expiry = n.Expiry
	}
	return next, Stored
}

// number is the value of an item, read as memcached reads it: white space or a plus before
// the digits is skipped, and white space ends them.
func number(i Item) (n uint64, ok bool) {
	text, whole := i.Text()
	if !whole {
		return 0, false
	}
	value := bytes.TrimLeft(text[i.lengths.line():i.lengths.text()-2], space)
	value = bytes.TrimPrefix(value, []byte("+"))
	if end := bytes.IndexAny(value, space); end >= 0 {
		value = value[:end]
	}
	n, err := strconv.ParseUint(string(value), 10, 64)
	return n, err == nil
}

const space = " \t\n\v\f\r"
