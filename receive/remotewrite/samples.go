package remotewrite

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// Samples are those of one series, in order:
//
//	for samples := scanner.Samples(ts); samples.Next(); {
//		use(samples.Time, samples.Value)
//	}
//
// and samples.Err() behind it.
type Samples struct {
	Time  int64 // milliseconds since the epoch, as sent
	Value float64

	rest  cursor
	plain bool
	err   error
}

// Samples begins the samples of a series.
func (s *Scanner) Samples(ts *Series) Samples {
	if ts.plain {
		return Samples{rest: cursor{s.body, ts.samples, ts.end}, plain: true}
	}
	return Samples{rest: cursor{s.body, ts.start, ts.end}}
}

// Err is what ended the samples, nil if they are read to their end: a
// *SyntaxError.
func (s *Samples) Err() error { return s.err }

// Next reads a sample, and is false at the end and on an error.
func (s *Samples) Next() bool {
	if s.plain && s.rest.more() {
		if time, value, size := usual(s.rest.body, s.rest.at); size > 0 {
			s.Time, s.Value = time, value
			s.rest.at += size
			return true
		}
	}
	return s.any()
}

// The usual sample, as every sender writes it:
//
//	12 len 09 value(8) 10 varint(1 to 8)
const (
	tagValue   = 1<<3 | wireFixed64
	tagTime    = 2<<3 | wireVarint
	beforeTime = 12 // bytes of the usual sample up to its time
)

// usual reads the sample that starts at a place of the body, if it is of the usual
// form and eight bytes stand behind the start of its time, which all but the last
// few have; size is 0 if not.
func usual(body []byte, at int) (milliseconds int64, value float64, size int) {
	if at+beforeTime+8 > len(body) {
		return 0, 0, 0
	}
	b := body[at : at+beforeTime+8]
	if b[0] != tagSample || b[2] != tagValue || b[11] != tagTime {
		return 0, 0, 0
	}
	milliseconds, n := varint(binary.LittleEndian.Uint64(b[beforeTime:]))
	if n == 0 || int(b[1]) != beforeTime-2+n {
		return 0, 0, 0
	}
	return milliseconds, math.Float64frombits(binary.LittleEndian.Uint64(b[3:])), beforeTime + n
}

// varint decodes a varint that ends within eight bytes; n is its length, 0 if it
// does not. The groups of seven bits are pushed together in three steps: pairs
// of them, pairs of pairs, halves.
func varint(x uint64) (value int64, n int) {
	ends := ^x & 0x8080808080808080
	if ends == 0 {
		return 0, 0
	}
	n = bits.TrailingZeros64(ends)/8 + 1
	x &= ends ^ (ends - 1) // up to the end
	x = x&0x007f007f007f007f | x&0x7f007f007f007f00>>1
	x = x&0x00003fff00003fff | x&0x3fff00003fff0000>>2
	x = x&0x000000000fffffff | x&0x0fffffff00000000>>4
	return int64(x), n
}

// any reads the next sample, whatever it and what stands before it look like.
func (s *Samples) any() bool {
	for s.err == nil && s.rest.more() {
		var f field
		if f, s.err = s.rest.next(); s.err == nil && f.number == fieldSample {
			s.err = s.sample(&f)
			return s.err == nil
		}
	}
	return false
}

func (s *Samples) sample(f *field) error {
	message, err := s.rest.message(f)
	if err != nil {
		return err
	}
	s.Time, s.Value = 0, 0
	for message.more() {
		f, err := message.next()
		switch {
		case err != nil:
		case f.number == 1:
			err = f.double(&s.Value)
		case f.number == 2:
			err = f.int64(&s.Time)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
