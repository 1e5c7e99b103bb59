package remotewrite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"carillon/receive/text"
)

// SyntaxError says where a body stops being a WriteRequest.
type SyntaxError struct {
	Offset int // bytes from the start of the decompressed body: where the field starts
	Err    error
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("byte %d: %v", e.Offset, e.Err) }
func (e *SyntaxError) Unwrap() error { return e.Err }

var (
	errFieldNumber = errors.New("field number is 0 or too large")
	errWireType    = errors.New("field has the wrong wire type")
	errGroup       = errors.New("field has an unknown wire type")
	errVarint      = errors.New("varint is cut off or too long")
	errCutOff      = errors.New("field is longer than what is left")
)

// Wire types of https://protobuf.dev/programming-guides/encoding/.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

const maxFieldNumber = 1<<29 - 1

// cursor walks the fields of one message: body[at:end].
type cursor struct {
	body    []byte
	at, end int
}

// field is one field of a message. Offsets are those of the body.
type field struct {
	number   int
	wire     int
	start    int    // where its tag stands
	from, to int    // the contents, if wire is wireBytes
	value    uint64 // else
}

// more tells whether the message has another field.
func (c *cursor) more() bool { return c.at < c.end }

// next reads a field. The error is a *SyntaxError.
func (c *cursor) next() (f field, err error) {
	f.start = c.at
	tag, err := c.varint(&f)
	if err != nil {
		return f, err
	}
	if tag>>3 == 0 || tag>>3 > maxFieldNumber {
		return f, f.malformed(errFieldNumber)
	}
	f.number, f.wire = int(tag>>3), int(tag&7)
	switch f.wire {
	case wireVarint:
		f.value, err = c.varint(&f)
		return f, err
	case wireFixed64:
		if c.end-c.at < 8 {
			return f, f.malformed(errCutOff)
		}
		f.value = binary.LittleEndian.Uint64(c.body[c.at:])
		c.at += 8
	case wireFixed32:
		if c.end-c.at < 4 {
			return f, f.malformed(errCutOff)
		}
		c.at += 4 // no field of the message has this type
	case wireBytes:
		size, err := c.varint(&f)
		if err != nil {
			return f, err
		}
		if size > uint64(c.end-c.at) {
			return f, f.malformed(errCutOff)
		}
		f.from, f.to = c.at, c.at+int(size)
		c.at = f.to
	default:
		return f, f.malformed(errGroup)
	}
	return f, nil
}

func (c *cursor) varint(f *field) (uint64, error) {
	value, n := binary.Uvarint(c.body[c.at:c.end])
	if n <= 0 {
		return 0, f.malformed(errVarint)
	}
	c.at += n
	return value, nil
}

// malformed blames the field as a whole.
func (f *field) malformed(err error) error { return &SyntaxError{f.start, err} }

// The contents of a field of the type that the message has for it, or a
// *SyntaxError.

func (c *cursor) message(f *field) (cursor, error) {
	if f.wire != wireBytes {
		return cursor{}, f.malformed(errWireType)
	}
	return cursor{c.body, f.from, f.to}, nil
}

func (c *cursor) string(f *field, place *string) error {
	if f.wire != wireBytes {
		return f.malformed(errWireType)
	}
	*place = text.String(c.body[f.from:f.to])
	return nil
}

func (f *field) int64(place *int64) error {
	if f.wire != wireVarint {
		return f.malformed(errWireType)
	}
	*place = int64(f.value)
	return nil
}

func (f *field) double(place *float64) error {
	if f.wire != wireFixed64 {
		return f.malformed(errWireType)
	}
	*place = math.Float64frombits(f.value)
	return nil
}
