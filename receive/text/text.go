// Package text reads the numbers and times of line protocols. Fields of a line
// come in, values and milliseconds go out. The parsers of the line protocols
// call it, so that all of them accept the same spellings.
package text

import (
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
	if len(field) == 0 || len(field) > maxFieldBytes {
		return 0, false
	}
	value, err := strconv.ParseFloat(String(field), 64)
	return value, err == nil
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

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' }

// String is b as a string without a copy: it is valid only as long as b is.
func String(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
