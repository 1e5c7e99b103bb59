package measure

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
)

const (
	keyPrefix = "key-"
	keyDigits = 8 // of an item's number, behind keyPrefix
	shortest  = len(keyPrefix) + keyDigits
	mostValue = 1000 // bytes, so that every reply fits a datagram
)

// items are keys and values that follow from a number, so that every reply tells whether it is right.
type items struct {
	keyBytes   int  // of every key, shortest or more
	valueBytes int  // of every value, or below which 99 of 100 values are
	varied     bool // which of them
}

// key appends the key of an item.
func (i items) key(dst []byte, n uint32) []byte {
	dst = append(dst, keyPrefix...)
	for power := uint32(10_000_000); power > 0; power /= 10 {
		dst = append(dst, byte('0'+n/power%10))
	}
	for range i.keyBytes - shortest {
		dst = append(dst, 'k')
	}
	return dst
}

// length is that of an item's value: exponentially distributed, if they vary.
func (i items) length(n uint32) int {
	if !i.varied {
		return i.valueBytes
	}
	share := (float64(n*0x9e3779b1) + 1) / (1 << 32) // from 0 to 1
	return min(max(int(-math.Log(share)/math.Log(100)*float64(i.valueBytes)), 1), mostValue)
}

// value appends the value of an item. Its first byte is of the version, which does not follow
// from the number.
func (i items) value(dst []byte, n uint32, version byte) []byte {
	dst = append(dst, '0'+version%10)
	for k := range i.length(n) - 1 {
		dst = append(dst, 'a'+byte((n+uint32(k))%26))
	}
	return dst
}

// reply appends what a GET of an item is answered with.
func (i items) reply(dst []byte, n uint32, version byte) []byte {
	dst = i.key(append(dst, "VALUE "...), n)
	dst = strconv.AppendInt(append(dst, " 0 "...), int64(i.length(n)), 10)
	dst = i.value(append(dst, '\r', '\n'), n, version)
	return append(dst, "\r\nEND\r\n"...)
}

// check says what is wrong with a reply to a GET of one of the items: it must be the value of some version of
// the item whose key it has, or nothing.
func (i items) check(reply []byte) error {
	if string(reply) == "END\r\n" {
		return nil
	}
	line, value, _ := bytes.Cut(reply, []byte("\r\n"))
	number := min(len("VALUE "+keyPrefix), len(line))
	digits := line[number:min(number+keyDigits, len(line))]
	n, err := strconv.ParseUint(string(digits), 10, 32)
	if err != nil || len(value) == 0 {
		return fmt.Errorf("%w: %.200q", ErrWrongAnswer, reply)
	}
	if want := i.reply(nil, uint32(n), value[0]-'0'); !bytes.Equal(reply, want) {
		return fmt.Errorf("%w: %.200q instead of %.200q", ErrWrongAnswer, reply, want)
	}
	return nil
}
