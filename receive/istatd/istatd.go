// Package istatd reads istatd's line protocol: gauges, timed values, aggregated
// buckets, events, names that stand for several counters, and remarks about the
// connection. One line without its end comes in; a value or a bucket goes out, with
// the bytes of the name (Split) or the counters it stands for (Parse), or the reason
// why the line is refused. The line server of package receive calls it; it holds no
// state but its own buffers and does no I/O.
package istatd

import (
	"bytes"
	"slices"

	"carillon/bucket"
	"carillon/receive/text"
	"carillon/series"
)

// Reason says why a line is refused; the empty one means that it is not.
type Reason string

const (
	Malformed      Reason = "malformed"         // 1, 4, 5, 6 or more than 7 fields
	BadName        Reason = "bad_name"          // empty or too long
	TooManyNames   Reason = "too_many_suffixes" // more than MaxNames by ^
	BadValue       Reason = "bad_value"         // not a number, or not finite in a bucket
	BadTime        Reason = "bad_time"          // not a Unix time in seconds
	BadCount       Reason = "bad_count"         // no samples, or not a whole number of them
	MeanOutOfRange Reason = "mean_out_of_range" // sum/count is below min or above max
)

// MaxNames is how many counters one line may record by ^.
const MaxNames = 32

// Form is what a line is about.
type Form uint8

const (
	Nothing   Form = iota // empty, or reserved: ! @ $ % & ; :
	Remark                // #key value, about the connection
	Value                 // one value for each of the names
	Aggregate             // one bucket for each of the names
)

// Line is one parsed line, used again and again. Names are valid until the next
// Parse; Name, Key and Text stand in the line and live as long as it.
type Line struct {
	Form   Form
	Event  bool     // values add up
	Name   []byte   // the name as sent, with the * of an event
	Names  []string // the counters to record, cleaned, none twice; only of Parse
	Value  float64  // of a Value
	Time   int64    // of a Value, in milliseconds since the epoch; unchecked, and 0 if Now
	Now    bool     // the sender left the time to the receiver
	Bucket bucket.Bucket

	Key, Text []byte // of a Remark

	name []byte // the cleaned names, one after the other
}

// Kind is what the line says of its values.
func (l *Line) Kind() series.Kind {
	if l.Event {
		return series.Event
	}
	return series.Gauge
}

// Split reads a line that is written the usual way, with single spaces, but for
// what its name means: to Parse the line may still be a remark, or reserved, or it
// may refuse it for its name. False says nothing: Parse knows.
func (l *Line) Split(line []byte) bool {
	var rest []byte
	l.Name, rest = text.Cut(text.TrimCR(line))
	l.Event = len(l.Name) > 0 && l.Name[0] == '*'
	var fields [maxFields - 1][]byte
	n := 0
	for rest != nil {
		if n == len(fields) {
			return false
		}
		fields[n], rest = text.Cut(rest)
		n++
	}
	return l.parseNumbers(fields[:n]) == ""
}

// Parse reads one line, without its LF.
func (l *Line) Parse(line []byte) Reason {
	line = bytes.Trim(line, " \t\r")
	l.Form, l.Event, l.Now, l.Time = Nothing, false, false, 0
	l.Name, l.Names, l.name = nil, l.Names[:0], l.name[:0]
	if len(line) == 0 {
		return ""
	}
	switch line[0] {
	case '!', '@', '$', '%', '&', ';', ':':
		return ""
	case '#':
		return l.parseRemark(line[1:])
	}
	return l.parseCounter(line)
}

func (l *Line) parseRemark(line []byte) Reason {
	end := bytes.IndexAny(line, " \t")
	if end < 0 {
		end = len(line)
	}
	l.Form, l.Key, l.Text = Remark, line[:end], bytes.TrimLeft(line[end:], " \t")
	return ""
}

// maxFields is how many fields the longest line has: a name, and a bucket.
const maxFields = 7

func (l *Line) parseCounter(line []byte) Reason {
	var fields [maxFields][]byte
	n := text.Fields(line, fields[:])
	l.Name = fields[0]
	name := l.Name
	if l.Event = name[0] == '*'; l.Event {
		name = name[1:]
	}
	if len(name) == 0 {
		return BadName // a * alone
	}
	if n > maxFields {
		return Malformed
	}
	if reason := l.parseNumbers(fields[1:n]); reason != "" {
		return reason
	}
	return l.expand(name)
}

// parseNumbers reads what follows the name.
func (l *Line) parseNumbers(fields [][]byte) Reason {
	l.Form, l.Time, l.Now = Value, 0, len(fields) == 1
	switch len(fields) {
	case 1:
	case 2, maxFields - 1:
		var ok bool
		if l.Time, ok = text.Seconds(fields[0]); !ok {
			return BadTime
		}
		fields = fields[1:]
	default:
		return Malformed
	}
	if len(fields) > 1 {
		return l.parseBucket(fields)
	}
	var ok bool
	if l.Value, ok = text.Float(fields[0]); !ok {
		return BadValue
	}
	return ""
}

// expand finds the counters that a name stands for: base^x^y is base.x and
// base.y, and a ^ at the end adds base itself. Empty parts are ignored.
func (l *Line) expand(field []byte) Reason {
	if len(field) > series.MaxValueBytes {
		return BadName
	}
	base, suffixes, several := bytes.Cut(field, []byte{'^'})
	if len(base) == 0 {
		return BadName
	}
	if !several || field[len(field)-1] == '^' {
		if reason := l.addName(base, nil); reason != "" {
			return reason
		}
	}
	for len(suffixes) > 0 {
		var suffix []byte
		suffix, suffixes, _ = bytes.Cut(suffixes, []byte{'^'})
		if len(suffix) == 0 {
			continue
		}
		if reason := l.addName(base, suffix); reason != "" {
			return reason
		}
	}
	return ""
}

// addName cleans and adds one name; one that is already there stays alone.
// Earlier names stay valid when the buffer behind them grows: the old one is
// neither written again nor freed before the next Parse.
func (l *Line) addName(base, suffix []byte) Reason {
	start := len(l.name)
	l.name = appendClean(l.name, base)
	if suffix != nil {
		l.name = append(l.name, '.')
		l.name = appendClean(l.name, suffix)
	}
	name := text.String(l.name[start:])
	if slices.Contains(l.Names, name) {
		return ""
	}
	if len(l.Names) == MaxNames {
		return TooManyNames
	}
	l.Names = append(l.Names, name)
	return ""
}

// appendClean writes a name as istatd stores it: lower case, and _ for all that
// could not stand in the path of a file there.
func appendClean(dst, name []byte) []byte {
	for _, c := range name {
		switch {
		case c < 33 || c > 126, c == '/', c == ':', c == '\\', c == '"', c == '\'':
			c = '_'
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}
