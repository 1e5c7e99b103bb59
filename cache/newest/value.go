package newest

import (
	"fmt"
	"math"
	"strconv"

	"carillon/bucket"
	"carillon/series"
)

// Format is how a bucket is written.
type Format int

// The formats.
const (
	Text Format = iota // time value count avg min max sdev, with a space between each two
	JSON               // an object with fields of these names
)

var formatNames = [...]string{"text", "json"}

// ParseFormat is the Format of a name.
func ParseFormat(name string) (Format, error) {
	for f, known := range formatNames {
		if name == known {
			return Format(f), nil
		}
	}
	return 0, fmt.Errorf("format %q is neither text nor json", name)
}

func (f Format) String() string { return formatNames[f] }

// between is what stands before each column, and after the last one.
var between = [...][8]string{
	Text: {"", " ", " ", " ", " ", " ", " ", ""},
	JSON: {`{"time":`, `,"value":`, `,"count":`, `,"avg":`, `,"min":`, `,"max":`, `,"sdev":`, "}"},
}

// append appends a bucket that has samples: the time and the value of its last one, then
// count, average, least, largest and standard deviation of all. The average of events is their sum a second, as
// everywhere in the API.
func (f Format) append(dst []byte, b *bucket.Bucket, kind series.Kind, resolution int64) []byte {
	text := &between[f]
	average := b.Mean()
	if kind == series.Event {
		average = b.Sum / (float64(resolution) / 1000)
	}
	dst = appendSeconds(append(dst, text[0]...), b.LastTime)
	dst = append(dst, text[1]...)
	first := len(dst)
	dst = f.appendNumber(dst, b.Last)
	last := dst[first:]
	dst = strconv.AppendUint(append(dst, text[2]...), b.Count, 10)
	for i, v := range [...]float64{average, b.Min, b.Max} {
		dst = append(dst, text[3+i]...)
		if math.Float64bits(v) == math.Float64bits(b.Last) {
			dst = append(dst, last...) // nearly always, in a bucket of one
		} else {
			dst = f.appendNumber(dst, v)
		}
	}
	dst = f.appendNumber(append(dst, text[6]...), b.Deviation())
	return append(dst, text[7]...)
}

// appendNumber appends the shortest digits that mean a value: an exponent only below 1e-6
// and from 1e21, NaN, +Inf and -Inf, which JSON has as strings.
func (f Format) appendNumber(dst []byte, v float64) []byte {
	const whole = 1 << 53
	switch {
	case v > -whole && v < whole && v == float64(int64(v)) && (v != 0 || !math.Signbit(v)):
		return strconv.AppendInt(dst, int64(v), 10)
	case f == JSON && (math.IsNaN(v) || math.IsInf(v, 0)):
		dst = strconv.AppendFloat(append(dst, '"'), v, 'f', -1, 64)
		return append(dst, '"')
	}
	format := byte('f')
	if abs := math.Abs(v); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, v, format, -1, 64)
}

// appendSeconds appends milliseconds as seconds, with three decimals or none.
func appendSeconds(dst []byte, milliseconds int64) []byte {
	if milliseconds < 0 {
		dst = append(dst, '-')
		milliseconds = -milliseconds
	}
	dst = strconv.AppendInt(dst, milliseconds/1000, 10)
	if rest := milliseconds % 1000; rest != 0 {
		dst = append(dst, '.', byte('0'+rest/100), byte('0'+rest/10%10), byte('0'+rest%10))
	}
	return dst
}
