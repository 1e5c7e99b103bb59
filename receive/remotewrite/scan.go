// Package remotewrite reads the body of a Prometheus remote write 1.0 request, a
// prometheus.WriteRequest in protobuf. Bytes come in; series go to a visitor in
// batches, first as bytes only, and as labels and samples when it asks for them;
// metadata goes there too. The remote write handler of package receive calls it;
// it copies nothing, allocates nothing a sample, and does no I/O.
//
// The message is that of prompb/remote.proto and prompb/types.proto in
// Prometheus's sources. Unknown fields are skipped, as protobuf asks for.
package remotewrite

import "carillon/series"

// BatchSeries is how many series a visitor gets at a time, at most.
const BatchSeries = 128

// Visitor takes what Scan finds, in the order of the body. Everything it is given
// lives as long as the body.
type Visitor interface {
	// TimeSeries takes some series that follow one another. The list is valid during
	// the call, in which the scanner may be asked about them. An error ends the scan.
	TimeSeries(batch []Series) error
	// Metadata describes one metric family. An error ends the scan.
	Metadata(series.Metadata) error
}

// Series is a time series that was found and not yet looked into. Offsets are
// those of the body.
type Series struct {
	start, end int
	samples    int // where the labels end and the samples start, if plain
	// plain says that the message is some labels, then some samples of less than 128
	// bytes, and nothing else, as every sender writes it. What is inside the labels
	// was not looked at.
	plain bool
	// single says that it is plain and has one sample, of the usual form: this one.
	single bool
	time   int64
	value  float64
}

// Single is the sample of a series that has exactly one, nearly always.
func (ts *Series) Single() (milliseconds int64, value float64, ok bool) {
	return ts.time, ts.value, ts.single
}

// Counts is how much a time series carries.
type Counts struct{ Samples, Exemplars, Histograms int }

// Scanner holds what Scan uses again. The zero Scanner is ready.
type Scanner struct {
	body   []byte
	batch  [BatchSeries]Series
	labels []series.Label
}

const (
	fieldTimeSeries = 1 // of a WriteRequest
	fieldMetadata   = 3

	fieldLabel     = 1 // of a TimeSeries
	fieldSample    = 2
	fieldExemplar  = 3
	fieldHistogram = 4

	tagTimeSeries = fieldTimeSeries<<3 | wireBytes
	tagLabel      = fieldLabel<<3 | wireBytes
	tagSample     = fieldSample<<3 | wireBytes
)

// Scan walks the body. The error is a *SyntaxError, or the visitor's; the visitor
// has seen what stood before it, and should forget a body that is malformed: the
// sender meant something else.
func (s *Scanner) Scan(body []byte, visitor Visitor) error {
	s.body = body
	c := cursor{body, 0, len(body)}
	n := 0 // series in the batch
	for c.more() {
		if body[c.at] == tagTimeSeries && n < len(s.batch) {
			if size, next, ok := length(body, c.at+1); ok && size <= len(body)-next {
				inspect(body, next, next+size, &s.batch[n])
				c.at = next + size
				n++
				continue
			}
		}
		if n > 0 { // hand out what stands before this field first
			if err := visitor.TimeSeries(s.batch[:n]); err != nil {
				return err
			}
			n = 0
			continue
		}
		if err := s.rareField(&c, visitor); err != nil {
			return err
		}
	}
	if n == 0 {
		return nil
	}
	return visitor.TimeSeries(s.batch[:n])
}

// rareField reads one field of the request that is no TimeSeries, or is written
// in an unusual way, or is wrong.
func (s *Scanner) rareField(c *cursor, visitor Visitor) error {
	f, err := c.next()
	if err != nil {
		return err
	}
	switch f.number {
	case fieldTimeSeries:
		message, err := c.message(&f)
		if err != nil {
			return err
		}
		inspect(c.body, message.at, message.end, &s.batch[0])
		return visitor.TimeSeries(s.batch[:1])
	case fieldMetadata:
		return metadata(c, &f, visitor)
	}
	return nil
}

// length reads a length of at most two bytes, which is up to 16 KiB; next is
// where it ends.
func length(body []byte, at int) (size, next int, ok bool) {
	if at+1 >= len(body) {
		return 0, 0, false
	}
	low, high := int(body[at]), int(body[at+1])
	if low < 0x80 {
		return low, at + 1, true
	}
	return low&0x7f | high<<7, at + 2, high < 0x80
}

// inspect finds where the labels of body[start:end] end, by their lengths only, and
// what follows them.
func inspect(body []byte, start, end int, ts *Series) {
	*ts = Series{start: start, end: end}
	message := body[:end] // what checks every index against the end
	at := start
	for at+1 < len(message) && message[at] == tagLabel {
		size, next := int(message[at+1]), at+2
		if size >= 0x80 {
			var ok bool
			if size, next, ok = length(message, at+1); !ok {
				return
			}
		}
		at = next + size // beyond the end, if the label is cut off: then it is not plain
	}
	ts.samples = at
	time, value, size := usual(body, at)
	if size > 0 && at+size == end {
		ts.time, ts.value, ts.single, ts.plain = time, value, true, true
		return
	}
	for at+1 < len(message) && message[at] == tagSample && message[at+1] < 0x80 {
		at += 2 + int(message[at+1])
	}
	ts.plain = at == end
}

// Spelling is the bytes that say whose series it is: its label fields as they
// stand. Equal spellings are equal labels in equal order, or equally malformed. It
// is nil if the series has no labels, or anything but labels and samples behind
// them; then only Labels can tell.
func (s *Scanner) Spelling(ts *Series) []byte {
	if !ts.plain || ts.samples == ts.start {
		return nil
	}
	return s.body[ts.start:ts.samples]
}

// Labels reads the labels of a series, and counts the rest. There is at most one
// label more than series.MaxLabels, however many were sent; the labels may be
// sorted and are valid until the next call. The error is a *SyntaxError.
func (s *Scanner) Labels(ts *Series) (labels []series.Label, has Counts, err error) {
	s.labels = s.labels[:0]
	for c := (cursor{s.body, ts.start, ts.end}); c.more(); {
		f, err := c.next()
		if err != nil {
			return nil, has, err
		}
		switch f.number {
		case fieldLabel:
			if err := s.label(&c, &f); err != nil {
				return nil, has, err
			}
		case fieldSample:
			has.Samples++
		case fieldExemplar:
			has.Exemplars++
		case fieldHistogram:
			has.Histograms++
		}
	}
	return s.labels, has, nil
}

func (s *Scanner) label(in *cursor, f *field) error {
	message, err := in.message(f)
	if err != nil {
		return err
	}
	var label series.Label
	for message.more() {
		f, err := message.next()
		switch {
		case err != nil:
		case f.number == 1:
			err = message.string(&f, &label.Name)
		case f.number == 2:
			err = message.string(&f, &label.Value)
		}
		if err != nil {
			return err
		}
	}
	if len(s.labels) <= series.MaxLabels { // one too many tells the visitor enough
		s.labels = append(s.labels, label)
	}
	return nil
}

// types are the names of prometheus.MetricMetadata.MetricType, by number.
var types = [...]string{"unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset"}

func metadata(in *cursor, f *field, visitor Visitor) error {
	message, err := in.message(f)
	if err != nil {
		return err
	}
	var m series.Metadata
	var kind int64
	for message.more() {
		f, err := message.next()
		switch {
		case err != nil:
		case f.number == 1:
			err = f.int64(&kind)
		case f.number == 2:
			err = message.string(&f, &m.Family)
		case f.number == 4:
			err = message.string(&f, &m.Help)
		case f.number == 5:
			err = message.string(&f, &m.Unit)
		}
		if err != nil {
			return err
		}
	}
	if kind := int32(kind); kind >= 0 && int(kind) < len(types) {
		m.Type = types[kind]
	} else {
		m.Type = types[0]
	}
	return visitor.Metadata(m)
}
