// Package text reads the fields, numbers and times of line protocols. A line and
// its fields come in, values and milliseconds go out. The parsers of the line
// protocols call it, so that all of them accept the same spellings.
package text

import (
	"bytes"
	"math"
	"strconv"
	"unsafe"
)

// maxFieldBytes bounds a number: no float64 needs more digits to be exact than
// 768, and longer fields are not numbers.
const maxFieldBytes = 1024

// Float reads a value: decimal or hexadecimal, NaN and Inf in any case. A number
// too large for a float64 is refused, not rounded to infinity.
func Float(field []byte) (float64, bool) {
	if value, ok := decimal(field); ok {
		return value, true
	}
	if len(field) == 0 || len(field) > maxFieldBytes {
		return 0, false
	}
	value, err := strconv.ParseFloat(String(field), 64)
	return value, err == nil
}

const (
	maxDecimalBytes = 18      // so many digits fit an integer of 64 bits
	maxExact        = 1 << 53 // up to here each integer is a float64
)

// powers are exact: up to 10^22 a power of ten is a float64.
var powers = [maxDecimalBytes]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17}

// decimal is the way nearly all values are written: some digits with at most a
// point among them. It is the number itself and not near it: numerator and power
// of ten are float64s, so the division rounds once, to where strconv rounds (W.
// Clinger, How to Read Floating Point Numbers Accurately, 1990).
func decimal(field []byte) (value float64, ok bool) {
	negative := false
	if len(field) > 0 && field[0] == '-' {
		negative, field = true, field[1:]
	}
	if len(field) == 0 || len(field) > maxDecimalBytes {
		return 0, false
	}
	n, digits, fraction := uint64(0), 0, 0
	point := false
	for _, c := range field {
		d := c - '0'
		switch {
		case d <= 9:
			n = n*10 + uint64(d)
			digits++
			if point {
				fraction++
			}
		case c == '.' && !point:
			point = true
		default:
			return 0, false
		}
	}
	if digits == 0 || n > maxExact {
		return 0, false
	}
	value = float64(n) / powers[fraction]
	if negative {
		value = -value
	}
	return value, true
}

// Seconds reads a Unix time in seconds, whole or with a fraction, and returns it
// in milliseconds, rounded. It may be negative; whether a time makes sense is
// for the caller to say.
func Seconds(field []byte) (milliseconds int64, ok bool) {
	if seconds, ok := digits(field); ok {
		return seconds * 1000, true
	}
	seconds, ok := Float(field)
	if !ok || !(math.Abs(seconds) < math.MaxInt64/2000) { // NaN fails too
		return 0, false
	}
	return int64(math.Round(seconds * 1000)), true
}

// digits is the way nearly all times are written; 15 digits cannot overflow.
func digits(field []byte) (n int64, ok bool) {
	if len(field) == 0 || len(field) > 15 {
		return 0, false
	}
	for _, c := range field {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// Fields cuts a line at runs of spaces, tabs and carriage returns. It fills
// fields and returns how many the line has; that may be more than fit.
func Fields(line []byte, fields [][]byte) int {
	n := 0
	for i := 0; i < len(line); {
		if isSpace(line[i]) {
			i++
			continue
		}
		start := i
		for i < len(line) && !isSpace(line[i]) {
			i++
		}
		if n < len(fields) {
			fields[n] = line[start:i]
		}
		n++
	}
	return n
}

// Cut cuts a line at its first space; rest is nil without one. It is for lines
// that are written the usual way, with single spaces, and knows nothing of tabs:
// where what it cuts off is no number, Fields may still see one.
func Cut(line []byte) (field, rest []byte) {
	if i := bytes.IndexByte(line, ' '); i >= 0 {
		return line[:i], line[i+1:]
	}
	return line, nil
}

// TrimCR is the line without the CR that some senders put before the LF.
func TrimCR(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		return line[:n-1]
	}
	return line
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' }

// String is b as a string without a copy: it is valid only as long as b is.
func String(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
