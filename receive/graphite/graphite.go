// Package graphite reads the Graphite plaintext protocol: name[;tag=value…]
// value time. One line without its end comes in; a value and a time go out, with
// the bytes of the name (Split) or its labels (Parse), or the reason why the line is
// refused. The line server of package receive calls it; it holds no state but its
// own buffers and does no I/O.
package graphite

import (
	"bytes"
	"unicode/utf8"

	"carillon/receive/text"
	"carillon/series"
)

// Reason says why a line is refused; the empty one means that it is not.
type Reason string

const (
	Malformed Reason = "malformed" // not three fields
	NotUTF8   Reason = "not_utf8"  // name or tags
	BadName   Reason = "bad_name"  // empty, or with control characters
	BadTag    Reason = "bad_tag"   // not key=value, twice the same key, or too many
	BadValue  Reason = "bad_value" // not a number
	BadTime   Reason = "bad_time"  // neither a time nor N nor -1
)

// Line is one parsed line, used again and again. What it points to stands in the
// line and lives as long as it.
type Line struct {
	Name   []byte         // the name with its tags, as sent
	Labels []series.Label // the same taken apart, unsorted; only of Parse
	Value  float64
	Time   int64 // milliseconds since the epoch; unchecked, and 0 if Now
	Now    bool  // the sender left the time to the receiver
}

// Split reads a line that is written the usual way, with single spaces, but for
// what its name means: Parse may still refuse the line for its name. False says
// nothing: Parse knows.
func (l *Line) Split(line []byte) bool {
	var rest, value []byte
	l.Name, rest = text.Cut(text.TrimCR(line))
	value, rest = text.Cut(rest)
	return l.parseNumbers(value, rest) == ""
}

// Parse reads one line, without its LF. An empty line has no Labels and is fine.
func (l *Line) Parse(line []byte) Reason {
	l.Name, l.Labels = nil, l.Labels[:0]
	var fields [3][]byte
	switch text.Fields(line, fields[:]) {
	case 0:
		return ""
	case 3:
	default:
		return Malformed
	}
	l.Name = fields[0]
	if reason := l.parseName(fields[0]); reason != "" {
		return reason
	}
	return l.parseNumbers(fields[1], fields[2])
}

func (l *Line) parseNumbers(value, time []byte) Reason {
	var ok bool
	if l.Value, ok = text.Float(value); !ok {
		return BadValue
	}
	return l.parseTime(time)
}

func (l *Line) parseTime(field []byte) Reason {
	l.Time, l.Now = 0, false
	if string(field) == "N" {
		l.Now = true
		return ""
	}
	milliseconds, ok := text.Seconds(field)
	if !ok {
		return BadTime
	}
	if milliseconds == -1000 {
		l.Now = true
		return ""
	}
	l.Time = milliseconds
	return ""
}

func (l *Line) parseName(field []byte) Reason {
	if !utf8.Valid(field) {
		return NotUTF8
	}
	name, tags, tagged := bytes.Cut(field, []byte{';'})
	if len(name) == 0 || hasControl(name) {
		return BadName
	}
	l.Labels = append(l.Labels, series.Label{Name: series.MetricName, Value: text.String(name)})
	for tagged {
		var tag []byte
		tag, tags, tagged = bytes.Cut(tags, []byte{';'})
		if reason := l.addTag(tag); reason != "" {
			return reason
		}
	}
	return ""
}

// addTag keeps to Graphite's rules for tags: neither side empty, no ! or ^ in
// the key, no ~ at the start of the value.
func (l *Line) addTag(tag []byte) Reason {
	key, value, ok := bytes.Cut(tag, []byte{'='})
	if !ok || len(key) == 0 || len(value) == 0 || value[0] == '~' || bytes.ContainsAny(key, "!^") || hasControl(tag) {
		return BadTag
	}
	if len(l.Labels) == series.MaxLabels {
		return BadTag
	}
	for i := range l.Labels {
		if l.Labels[i].Name == string(key) {
			return BadTag
		}
	}
	l.Labels = append(l.Labels, series.Label{Name: text.String(key), Value: text.String(value)})
	return ""
}

// hasControl finds ASCII control characters, and those of Latin-1 in UTF-8 (C2
// 80 to C2 9F).
func hasControl(s []byte) bool {
	for i, c := range s {
		if c < 0x20 || c == 0x7f || (c == 0xc2 && i+1 < len(s) && s[i+1] < 0xa0) {
			return true
		}
	}
	return false
}
