// Package remotewrite reads the body of a Prometheus remote write 1.0 request, a
// prometheus.WriteRequest in protobuf. Bytes come in; series with their samples,
// and metadata, go to a visitor. The remote write handler of package receive
// calls it; it copies nothing, allocates nothing a sample, and does no I/O.
//
// The message is that of prompb/remote.proto and prompb/types.proto in
// Prometheus's sources. Unknown fields are skipped, as protobuf asks for.
package remotewrite

import (
	"errors"
	"fmt"

	"github.com/VictoriaMetrics/easyproto"

	"carillon/series"
)

// Visitor takes what Scan finds. All strings stand in the scanned body and live
// as long as it.
type Visitor interface {
	// Series announces a time series; its samples follow if it returns true. It
	// may sort labels, which are valid until the next series. There is at most one
	// label more than series.MaxLabels, however many were sent.
	Series(labels []series.Label, has Counts) bool
	// Sample is one sample of the series announced last; the time is in
	// milliseconds since the epoch, as sent.
	Sample(milliseconds int64, value float64)
	// Metadata describes one metric family.
	Metadata(series.Metadata)
}

// Counts is how much a time series carries.
type Counts struct{ Samples, Exemplars, Histograms int }

// SyntaxError says where a body stops being a WriteRequest.
type SyntaxError struct {
	Offset int // bytes from the start of the decompressed body
	Err    error
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("byte %d: %v", e.Offset, e.Err) }
func (e *SyntaxError) Unwrap() error { return e.Err }

var (
	errFieldNumber = errors.New("field number 0")
	errWireType    = errors.New("field has the wrong wire type")
)

// Scanner holds what Scan uses again. The zero Scanner is ready.
type Scanner struct {
	labels []series.Label
}

// Scan walks the body. On a *SyntaxError the visitor has seen what stood before
// the error, and should forget it: the sender meant something else.
func (s *Scanner) Scan(body []byte, visitor Visitor) error {
	return walk(body, func(field easyproto.FieldContext) error {
		switch field.FieldNum {
		case 1:
			return s.timeSeries(field, visitor)
		case 3:
			return metadata(field, visitor)
		}
		return nil
	})
}

// walk calls visit for each field of a message. An error of visit concerns the
// field as a whole, or is the *SyntaxError of a message inside it.
func walk(message []byte, visit func(easyproto.FieldContext) error) error {
	for rest := message; len(rest) > 0; {
		var field easyproto.FieldContext
		tail, err := field.NextField(rest)
		if err == nil && field.FieldNum == 0 {
			err = errFieldNumber
		}
		if err == nil {
			err = visit(field)
		}
		if err != nil {
			var inner *SyntaxError
			if !errors.As(err, &inner) {
				return &SyntaxError{len(message) - len(rest), err}
			}
			data, _ := field.MessageData() // ends where the tail starts
			inner.Offset += len(message) - len(tail) - len(data)
			return inner
		}
		rest = tail
	}
	return nil
}

// timeSeries reads labels first and samples second: protobuf does not promise
// that they come in this order.
func (s *Scanner) timeSeries(field easyproto.FieldContext, visitor Visitor) error {
	message, ok := field.MessageData()
	if !ok {
		return errWireType
	}
	counts, err := s.readLabels(message)
	if err != nil {
		return err
	}
	if !visitor.Series(s.labels, counts) || counts.Samples == 0 {
		return nil
	}
	return walk(message, func(field easyproto.FieldContext) error {
		if field.FieldNum != 2 {
			return nil
		}
		return sample(field, visitor)
	})
}

// readLabels collects the labels of a TimeSeries and counts the rest.
func (s *Scanner) readLabels(message []byte) (counts Counts, err error) {
	s.labels = s.labels[:0]
	err = walk(message, func(field easyproto.FieldContext) error {
		switch field.FieldNum {
		case 1:
			return s.label(field)
		case 2:
			counts.Samples++
		case 3:
			counts.Exemplars++
		case 4:
			counts.Histograms++
		}
		return nil
	})
	return counts, err
}

func (s *Scanner) label(field easyproto.FieldContext) error {
	message, ok := field.MessageData()
	if !ok {
		return errWireType
	}
	var label series.Label
	err := walk(message, func(field easyproto.FieldContext) error {
		switch field.FieldNum {
		case 1:
			return into(&label.Name)(field.String())
		case 2:
			return into(&label.Value)(field.String())
		}
		return nil
	})
	if len(s.labels) <= series.MaxLabels { // one too many tells the visitor enough
		s.labels = append(s.labels, label)
	}
	return err
}

func sample(field easyproto.FieldContext, visitor Visitor) error {
	message, ok := field.MessageData()
	if !ok {
		return errWireType
	}
	var milliseconds int64
	var value float64
	err := walk(message, func(field easyproto.FieldContext) error {
		switch field.FieldNum {
		case 1:
			return into(&value)(field.Double())
		case 2:
			return into(&milliseconds)(field.Int64())
		}
		return nil
	})
	if err == nil {
		visitor.Sample(milliseconds, value)
	}
	return err
}

// types are the names of prometheus.MetricMetadata.MetricType, by number.
var types = [...]string{"unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset"}

func metadata(field easyproto.FieldContext, visitor Visitor) error {
	message, ok := field.MessageData()
	if !ok {
		return errWireType
	}
	var m series.Metadata
	var kind int32
	err := walk(message, func(field easyproto.FieldContext) error {
		switch field.FieldNum {
		case 1:
			return into(&kind)(field.Enum())
		case 2:
			return into(&m.Family)(field.String())
		case 4:
			return into(&m.Help)(field.String())
		case 5:
			return into(&m.Unit)(field.String())
		}
		return nil
	})
	if kind < 0 || int(kind) >= len(types) {
		kind = 0
	}
	m.Type = types[kind]
	if err == nil {
		visitor.Metadata(m)
	}
	return err
}

// into keeps the value of a field of the right wire type in place.
func into[T any](place *T) func(value T, ok bool) error {
	return func(value T, ok bool) error {
		if !ok {
			return errWireType
		}
		*place = value
		return nil
	}
}
