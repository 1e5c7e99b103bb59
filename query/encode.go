package query

import (
	"encoding/json"
	"io"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
)

// flushBytes is how much of an answer is gathered before it is sent on.
const flushBytes = 64 << 10

// encoder writes JSON, to the byte as Prometheus does, in pieces of flushBytes.
// After the first error of the writer it does nothing more.
type encoder struct {
	w   io.Writer
	buf []byte
	err error
}

func (e *encoder) raw(s string) { e.buf = append(e.buf, s...) }

// value writes anything that encoding/json can.
func (e *encoder) value(v any) {
	encoded, err := json.Marshal(v)
	if err != nil && e.err == nil {
		e.err = err
	}
	e.buf = append(e.buf, encoded...)
	e.maybeFlush()
}

func (e *encoder) maybeFlush() {
	if len(e.buf) >= flushBytes {
		e.flush()
	}
}

func (e *encoder) flush() error {
	if e.err == nil && len(e.buf) > 0 {
		_, e.err = e.w.Write(e.buf)
	}
	e.buf = e.buf[:0]
	return e.err
}

// array writes n elements.
func (e *encoder) array(n int, element func(i int)) {
	e.raw("[")
	for i := range n {
		if i > 0 {
			e.raw(",")
		}
		element(i)
	}
	e.raw("]")
}

func (e *encoder) labels(set labels.Labels) {
	separator := "{"
	set.Range(func(l labels.Label) {
		e.raw(separator)
		e.buf = appendString(e.buf, l.Name)
		e.raw(":")
		e.buf = appendString(e.buf, l.Value)
		separator = ","
	})
	if separator == "{" {
		e.raw("{")
	}
	e.raw("}")
}

// point writes [1435781451.781,"1.234"].
func (e *encoder) point(time int64, value float64) {
	e.raw("[")
	e.buf = appendSeconds(e.buf, time)
	e.raw(`,"`)
	e.buf = appendFloat(e.buf, value)
	e.raw(`"]`)
	e.maybeFlush()
}

// result writes what the engine found, as the data of an answer.
func (e *encoder) result(value parser.Value) {
	switch v := value.(type) {
	case promql.Matrix:
		e.raw(`{"resultType":"matrix","result":`)
		e.array(len(v), func(i int) { e.series(&v[i]) })
	case promql.Vector:
		e.raw(`{"resultType":"vector","result":`)
		e.array(len(v), func(i int) {
			e.raw(`{"metric":`)
			e.labels(v[i].Metric)
			e.raw(`,"value":`)
			e.point(v[i].T, v[i].F)
			e.raw("}")
		})
	case promql.Scalar:
		e.raw(`{"resultType":"scalar","result":`)
		e.point(v.T, v.V)
	case promql.String:
		e.raw(`{"resultType":"string","result":[`)
		e.buf = appendSeconds(e.buf, v.T)
		e.raw(",")
		e.buf = appendString(e.buf, v.V)
		e.raw("]")
	}
	e.raw("}")
}

func (e *encoder) series(s *promql.Series) {
	e.raw(`{"metric":`)
	e.labels(s.Metric)
	if len(s.Floats) > 0 {
		e.raw(`,"values":`)
		e.array(len(s.Floats), func(i int) { e.point(s.Floats[i].T, s.Floats[i].F) })
	}
	e.raw("}")
}

// appendSeconds writes milliseconds as seconds, with three decimals or none.
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

// appendFloat writes a value as Prometheus does, without quotes: the shortest
// digits that mean it, an exponent only below 1e-6 and from 1e21, NaN, +Inf, -Inf.
func appendFloat(dst []byte, value float64) []byte {
	format := byte('f')
	if abs := math.Abs(value); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, value, format, -1, 64)
}

// appendNumber writes a value as a JSON number, or as a string where JSON has no
// number for it.
func appendNumber(dst []byte, value float64) []byte {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		dst = append(dst, '"')
		return append(appendFloat(dst, value), '"')
	}
	return appendFloat(dst, value)
}

// appendString quotes for JSON. Only what must be escaped is, and bytes that are
// not UTF-8 become U+FFFD.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\r':
			dst = append(dst, `\r`...)
		case r == '\t':
			dst = append(dst, `\t`...)
		case r < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}
